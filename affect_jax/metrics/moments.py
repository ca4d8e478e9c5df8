"""Centred moments of (prediction, target) pairs: what CCC and Pearson's r are made of.

Sums of squares of uncentred float32 numbers lose all digits when the mean is large against the
spread, and long sums lose them in any case. So the device centres blocks of frames, each on its
own mean, and joins them by the pairwise formulas of Chan, Golub and LeVeque ("Algorithms for
computing the sample variance", The American Statistician 37(3), 1983, 242-247). Pieces of a data
set are merged by the same formulas on the host, in float64.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.metrics import arrays

# Frames of a block: its temporaries stay in the cache of one CPU core.
BLOCK = 1 << 15


class Moments(NamedTuple):
    """Population moments of n pairs: a pytree of scalars, or of [K] arrays, one entry a dimension.

    Attributes:
        n: number of pairs, an integer.
        mean_p, mean_t: means of predictions and targets; 0 where n is 0.
        m2_p, m2_t: sums of squared deviations from these means.
        c: sum of the products of the deviations.
    """

    n: jax.Array | np.ndarray
    mean_p: jax.Array | np.ndarray
    mean_t: jax.Array | np.ndarray
    m2_p: jax.Array | np.ndarray
    m2_t: jax.Array | np.ndarray
    c: jax.Array | np.ndarray

    @classmethod
    def zero(cls, size: int) -> Moments:
        """Nothing seen yet, for `size` dimensions."""
        return cls(np.zeros(size, np.int64), *(np.zeros(size) for _ in range(5)))

    @classmethod
    def of(
        cls,
        pred: np.ndarray,
        target: np.ndarray,
        mask: np.ndarray,
        size: int,
        groups: arrays.Groups | None = None,
    ) -> Moments:
        """Moments of arrays [..., K], K = size, in float64 on the host; `mask` has their shape.

        Args:
            groups: of arrays [N, K]; the moments are [groups, K] then.
        """
        p, t, mask = arrays.float64_columns(pred, target, mask, size)
        if not len(mask):
            return cls.zero(size)
        n = arrays.sums(mask, groups)
        first = mask.argmax(0), np.arange(size)  # as on the device: constants stay exact
        mean_p, mean_t = (
            x[first] * (n > 0)
            + arrays.sums(np.where(mask, x - x[first], 0), groups) / np.maximum(n, 1)
            for x in (p, t)
        )
        near = ... if groups is None else groups.of_row
        dev_p, dev_t = (np.where(mask, x - m[near], 0) for x, m in ((p, mean_p), (t, mean_t)))
        seconds = (
            arrays.sums(x * y, groups) for x, y in ((dev_p, dev_p), (dev_t, dev_t), (dev_p, dev_t))
        )
        return cls(n, mean_p, mean_t, *seconds)

    def merge(self, other: Moments) -> Moments:
        """Moments of both together, in float64 on the host; also of what a device returned."""
        a, b = (
            Moments(np.asarray(m[0], np.int64), *np.asarray(m[1:], float)) for m in (self, other)
        )
        n = a.n + b.n
        share = b.n / np.maximum(n, 1)
        gap_p, gap_t, pairs = b.mean_p - a.mean_p, b.mean_t - a.mean_t, a.n * share
        return Moments(
            n,
            a.mean_p + gap_p * share,
            a.mean_t + gap_t * share,
            a.m2_p + b.m2_p + gap_p * gap_p * pairs,
            a.m2_t + b.m2_t + gap_t * gap_t * pairs,
            a.c + b.c + gap_p * gap_t * pairs,
        )


def moments(pred: Any, target: Any, mask: Any = None) -> Moments:
    """Moments of all unmasked entries, on the device.

    Differentiable in both modes, jittable and vmappable. A constant array has exactly m2 = c = 0.
    Merge the results of several calls on the host: `functools.reduce(Moments.merge, results)`.

    Args:
        pred: any shape, any real dtype.
        target: the same shape; NaN or any marker where masked.
        mask: the same shape, True where the pair counts; None: all do.

    Returns:
        Scalars: int32 n, and float32 moments (float64 for float64 arrays, where JAX has it on).
        Sums of squares beyond float32 (a spread of some 1e18) are inf; `METRICS` keeps float64.

    Raises:
        ValueError: shapes differ.
    """
    m, _, (unit_p, unit_t) = scaled_moments(*arrays.checked("moments", pred, target, mask), False)
    return Moments(
        m.n,
        m.mean_p / unit_p,
        m.mean_t / unit_t,
        m.m2_p / unit_p / unit_p,
        m.m2_t / unit_t / unit_t,
        m.c / unit_p / unit_t,
    )


@functools.partial(jax.jit, static_argnums=3)
def scaled_moments(
    pred: jax.Array, target: jax.Array, mask: jax.Array | None, together: bool
) -> tuple[Moments, jax.Array, tuple[jax.Array, jax.Array]]:
    """(`moments` of both sides times their units, mean_p - mean_t of these, the units).

    The difference is lost in float32 means far from zero. A unit is 1, or the power of two that
    brings its side, or with `together` both, near 1 where the squares would leave float32.
    """
    p, t = (x.ravel() for x in arrays.floats(pred, target))
    mask = None if mask is None else jnp.asarray(mask, bool).ravel()
    if not p.size:
        nothing, one = jnp.zeros((), p.dtype), jnp.ones((), p.dtype)
        return Moments(jnp.int32(0), *(nothing,) * 5), nothing, (one, one)
    return _scaled(p, t, mask, together)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _scaled(
    p: jax.Array, t: jax.Array, mask: jax.Array | None, together: bool
) -> tuple[Moments, jax.Array, tuple[jax.Array, jax.Array]]:
    def at(unit_p: jax.Array, unit_t: jax.Array) -> tuple[Moments, jax.Array]:
        x, y = p * unit_p, t * unit_t
        # Relative to an element of its own, every deviation in a constant array is exactly 0.
        first = 0 if mask is None else jnp.argmax(mask)
        origin = tuple(arrays.fill(z[first], None if mask is None else mask[first]) for z in (x, y))
        return centred(x, y, mask, origin, BLOCK)

    def rescaled() -> tuple[Moments, jax.Array, tuple[jax.Array, jax.Array]]:
        largest = [jnp.abs(arrays.fill(x, mask)).max() for x in (p, t)]
        largest = [jnp.maximum(*largest)] * 2 if together else largest
        units = tuple(map(power_of_two, largest))
        return *at(*units), units

    one = jnp.ones((), p.dtype)
    m, gap = at(one, one)
    squares = [m.m2_p + m.m2_t + m.n * gap**2] if together else [m.m2_p, m.m2_t]
    # Derivatives divide by these; NaN is unusual too.
    usual = functools.reduce(jnp.logical_and, [(x > 1e-30) & (x < 1e30) for x in squares])
    return jax.lax.cond(usual, lambda: (m, gap, (one, one)), rescaled)


@_scaled.defjvp
def _scaled_jvp(together: bool, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    p, t, mask = primals
    m, gap, units = _scaled(*primals, together)
    p, t, d_p, d_t = (x * unit for x, unit in zip((p, t, *tangents[:2]), units * 2))
    d_m, d_gap = _tangents(p, t, mask, m, d_p, d_t)
    return (m, gap, units), (d_m, d_gap, tuple(map(jnp.zeros_like, units)))


def power_of_two(largest: jax.Array) -> jax.Array:
    """The factor that brings numbers up to `largest` near 1; 1 for 0, NaN and inf."""
    limit = jnp.finfo(largest.dtype).maxexp - 28
    _, exponent = jnp.frexp(jnp.where(jnp.isfinite(largest), largest, 0))
    return jnp.ldexp(jnp.ones((), largest.dtype), -jnp.clip(exponent, -limit, limit))


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def centred(
    p: jax.Array,
    t: jax.Array,
    mask: jax.Array | None,
    origin: tuple[jax.Array, jax.Array],
    block: int | None,
) -> tuple[Moments, jax.Array]:
    """(`moments`, mean_p - mean_t) of float arrays of one shape, computed relative to `origin`.

    The result does not depend on origin and block but for rounding. With a block the arrays are
    flat and taken in pieces of that many entries: for long arrays on one device. Without, only
    sums over whole arrays occur: the form for arrays that are sharded over devices.
    """
    if block is None or p.size <= block:
        return _join(jax.tree.map(lambda x: x[None], _part(p, t, mask, origin)))
    whole = p.size // block

    # Slices inside the loop, and no reshaped [whole, block] operand: XLA would copy the arrays.
    def one(i: jax.Array) -> _Part:
        cut = (
            None if x is None else jax.lax.dynamic_slice_in_dim(x, i * block, block)
            for x in (p, t, mask)
        )
        return _part(*cut, origin)

    parts = jax.lax.map(one, jnp.arange(whole))
    if whole * block < p.size:
        rest = (None if x is None else x[whole * block :] for x in (p, t, mask))
        parts = jax.tree.map(jnp.append, parts, _part(*rest, origin))
    return _join(parts)


@centred.defjvp
def _centred_jvp(block: int | None, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    m, gap = centred(*primals, block)
    return (m, gap), _tangents(*primals[:3], m, *tangents[:2])


def _tangents(
    p: jax.Array,
    t: jax.Array,
    mask: jax.Array | None,
    m: Moments,
    d_p: jax.Array,
    d_t: jax.Array,
) -> tuple[Moments, jax.Array]:
    """Written out, so that no loop is differentiated and rounding corrections play no part."""
    n = jnp.maximum(m.n, 1).astype(p.dtype)
    d_p, d_t = (arrays.fill(x, mask) for x in (d_p, d_t))
    dev_p, dev_t = arrays.fill(p - m.mean_p, mask), arrays.fill(t - m.mean_t, mask)
    d_mean_p, d_mean_t = d_p.sum() / n, d_t.sum() / n
    d_m = Moments(
        np.zeros(m.n.shape, jax.dtypes.float0),
        d_mean_p,
        d_mean_t,
        2 * (dev_p * d_p).sum(),
        2 * (dev_t * d_t).sum(),
        (dev_t * d_p + dev_p * d_t).sum(),
    )
    return d_m, d_mean_p - d_mean_t


class _Part(NamedTuple):
    """Moments of a block. Its means are mean + rest, more digits than one float32 has."""

    n: jax.Array
    mean_p: jax.Array
    mean_t: jax.Array
    rest_p: jax.Array
    rest_t: jax.Array
    m2_p: jax.Array
    m2_t: jax.Array
    c: jax.Array


def _part(
    p: jax.Array, t: jax.Array, mask: jax.Array | None, origin: tuple[jax.Array, jax.Array]
) -> _Part:
    """Two passes: the means, then the deviations from them."""
    n = jnp.int32(p.size) if mask is None else mask.sum(dtype=jnp.int32)
    count = jnp.maximum(n, 1).astype(p.dtype)
    mean_p, mean_t = (o + arrays.fill(x - o, mask).sum() / count for x, o in zip((p, t), origin))
    dev_p, dev_t = arrays.fill(p - mean_p, mask), arrays.fill(t - mean_t, mask)
    # What rounding left in the means: far below the spread, so nothing cancels here.
    rest_p, rest_t = dev_p.sum() / count, dev_t.sum() / count
    return _Part(
        n,
        mean_p,
        mean_t,
        rest_p,
        rest_t,
        jnp.maximum((dev_p * dev_p).sum() - count * rest_p * rest_p, 0),
        jnp.maximum((dev_t * dev_t).sum() - count * rest_t * rest_t, 0),
        (dev_p * dev_t).sum() - count * rest_p * rest_t,
    )


def _join(parts: _Part) -> tuple[Moments, jax.Array]:
    """The blocks' moments [blocks], all at once: within the blocks, and between their means."""
    w = parts.n.astype(parts.c.dtype)
    total = jnp.maximum(parts.n.sum(), 1).astype(w.dtype)
    base_p, base_t = parts.mean_p[0], parts.mean_t[0]
    off_p, off_t = parts.mean_p - base_p + parts.rest_p, parts.mean_t - base_t + parts.rest_t
    shift_p, shift_t = (w * off_p).sum() / total, (w * off_t).sum() / total
    dev_p, dev_t = off_p - shift_p, off_t - shift_t
    joined = Moments(
        parts.n.sum(),
        base_p + shift_p,
        base_t + shift_t,
        parts.m2_p.sum() + (w * dev_p * dev_p).sum(),
        parts.m2_t.sum() + (w * dev_t * dev_t).sum(),
        parts.c.sum() + (w * dev_p * dev_t).sum(),
    )
    return joined, base_p - base_t + (shift_p - shift_t)
