"""Metrics of continuous predictions, as functions: jitted, differentiable, vmappable, masked.

    from affect_jax.metrics import ccc
    ccc(pred, target)                                  # NumPy, lists or JAX arrays of one shape
    ccc(pred, target, mask)                            # only where the mask is True
    jax.vmap(ccc, in_axes=-1)(pred_btk, target_btk)    # one value a dimension

All take arrays of one shape, whatever it is, and reduce all axes. All compute in float32 (float64
for float64 arrays where JAX has it on). Masked entries may hold NaN and get zero gradient. Empty
input and input without any spread give 0, with zero gradient, and never NaN. `ccc` and `pearson`
hold for values of any size that float32 has; squares that it has not are rescaled first.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.metrics import arrays
from affect_jax.metrics.moments import Moments, scaled_moments


def ccc(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Concordance correlation coefficient, in [-1, 1]; 1 means equal, not only proportional.

    CCC = 2 cov / (var_p + var_t + (mean_p - mean_t)^2), with population moments (divide by n).
    If only one side is constant it is 0 by the formula; if both are, it is 0 by definition, even
    if they are equal. 10 million float32 frames are within 1e-5 of float64 at any mean.

    Args:
        pred: predictions, any shape.
        target: labels of the same shape and unit; any value, NaN too, where masked.
        mask: same shape, True where the label counts; None: everywhere.

    Returns:
        A scalar.

    Raises:
        ValueError: shapes differ.

    Source: Lin, Biometrics 45(1), 1989, 255-268.
    """
    return _ccc(*arrays.checked("ccc", pred, target, mask))


def pearson(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Pearson's r, in [-1, 1]: cov / sqrt(var_p var_t); 0 if one side is constant. As `ccc`."""
    return _pearson(*arrays.checked("pearson", pred, target, mask))


def mse(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Mean squared error over the unmasked entries, in squared label units. Arguments as `ccc`."""
    return _mse(*arrays.checked("mse", pred, target, mask))


def rmse(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Root of the mean squared error, in label units; at 0 its gradient is 0. As `ccc`."""
    return _rmse(*arrays.checked("rmse", pred, target, mask))


@jax.jit
def _ccc(p: jax.Array, t: jax.Array, mask: jax.Array | None) -> jax.Array:
    m, gap, _ = scaled_moments(p, t, mask, True)
    whole = m.m2_p + m.m2_t + m.n * gap**2
    # Both sides over the same constant: the derivative of a quotient squares the denominator,
    # which must not vanish for small units.
    unit = jax.lax.stop_gradient(jnp.where(whole > 0, whole, 1))
    return 2 * (m.c / unit) / jnp.where(whole > 0, whole / unit, 1)


@jax.jit
def _pearson(p: jax.Array, t: jax.Array, mask: jax.Array | None) -> jax.Array:
    m, _, _ = scaled_moments(p, t, mask, False)
    varies = (m.m2_p > 0) & (m.m2_t > 0)
    spread_p, spread_t = (jnp.sqrt(jnp.where(varies, m2, 1)) for m2 in (m.m2_p, m.m2_t))
    return jnp.where(varies, jnp.clip(m.c / spread_p / spread_t, -1, 1), 0)


@jax.jit
def _mse(p: jax.Array, t: jax.Array, mask: jax.Array | None) -> jax.Array:
    mask = None if mask is None else jnp.asarray(mask, bool)
    p, t = (arrays.fill(x, mask) for x in arrays.floats(p, t))
    error = p - t
    n = error.size if mask is None else mask.sum(dtype=jnp.int32)
    return (error * error).sum() / jnp.maximum(n, 1)


@jax.jit
def _rmse(p: jax.Array, t: jax.Array, mask: jax.Array | None) -> jax.Array:
    square = _mse(p, t, mask)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


class Errors(NamedTuple):
    """Squared errors of n pairs: a pytree of [K] arrays, one entry a dimension.

    Attributes:
        n: number of pairs, int64.
        squares: sum of squared errors, float64.
    """

    n: np.ndarray
    squares: np.ndarray

    @classmethod
    def zero(cls, size: int) -> Errors:
        """Nothing seen yet, for `size` dimensions."""
        return cls(np.zeros(size, np.int64), np.zeros(size))

    @classmethod
    def of(
        cls,
        pred: np.ndarray,
        target: np.ndarray,
        mask: np.ndarray,
        size: int,
        groups: arrays.Groups | None = None,
    ) -> Errors:
        """Errors of arrays [..., K], K = size; `mask` has their shape.

        Args:
            groups: of arrays [N, K]; the errors are [groups, K] then.
        """
        p, t, mask = arrays.float64_columns(pred, target, mask, size)
        return cls(arrays.sums(mask, groups), arrays.sums((p - t) ** 2, groups))

    def merge(self, other: Errors) -> Errors:
        """Errors of both together."""
        return Errors(self.n + other.n, self.squares + other.squares)


def ccc_of(m: Moments) -> float:
    """`ccc` from merged moments: the mean over the dimensions that have labels."""
    whole = m.m2_p + m.m2_t + m.n * (m.mean_p - m.mean_t) ** 2
    return _mean(2 * m.c / (whole + (whole == 0)), m.n)


def ccc_mixed_of(m: Moments) -> float:
    """The CCC of the A-VB code's loss: covariance divided by n, variances by n - 1.

    A perfect answer of n pairs has (n - 1) / n. One pair has no variance: 0.

    Source: the released code of arXiv 2209.07384.
    """
    n = np.maximum(m.n, 1)
    whole = (m.m2_p + m.m2_t) / np.maximum(n - 1, 1) + (m.mean_p - m.mean_t) ** 2
    return _mean(2 * m.c / n / (whole + (whole == 0)), m.n)


def pearson_of(m: Moments) -> float:
    """`pearson` from merged moments: the mean over the dimensions that have labels."""
    spread = np.sqrt(m.m2_p) * np.sqrt(m.m2_t)
    return _mean(np.clip(m.c / (spread + (spread == 0)), -1, 1), m.n)


def mse_of(errors: Errors) -> float:
    """`mse` from merged errors: the mean over the dimensions that have labels."""
    return _mean(errors.squares / np.maximum(errors.n, 1), errors.n)


def rmse_of(errors: Errors) -> float:
    """`rmse` of every dimension from merged errors: the mean over those that have labels."""
    return _mean(np.sqrt(errors.squares / np.maximum(errors.n, 1)), errors.n)


def _mean(values: np.ndarray, n: np.ndarray) -> float:
    return float(values[n > 0].mean()) if (n > 0).any() else 0.0
