"""Losses of the tasks: masked, in float32, over the whole global batch.

All are called as `loss(pred, target, mask)` with raw predictions and return a scalar. `mask` has
the labels' shape, True where the label exists; masked labels and predictions may hold NaN and get
exactly zero gradient. Without any label a loss is 0 with zero gradient. Half precision is computed
in float32 (float64 stays, where JAX has it on).

One value a dimension is `by_dimension(loss, ...)`, one value a row `jax.vmap(loss)`: of clips, the
rows of `jax.vmap(ce)` are -log p[target].

Only sums over whole arrays occur, so under jit the values on arrays sharded over devices are those
of one device.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp

from affect_jax.metrics import arrays
from affect_jax.metrics.moments import centred, power_of_two
from data_pipelines.errors import UserError

_CCC_EPS = 1e-8
_LARGE = 2.0**30


def mse(pred: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean squared error: sum of (pred - target)^2 over the labelled entries / their number.

    Args:
        pred: predictions [..., K], label units.
        target: labels [..., K].
        mask: bool [..., K].

    Raises:
        ValueError: shapes differ (also in the other losses).
    """
    pred, target, mask = arrays.checked("mse loss", pred, target, mask)
    p, t = _labelled(mask, pred, target)
    error = p - t
    return (error * error).sum() / _count(mask)


def ce(pred: jax.Array, target: jax.Array, mask: jax.Array, *, smoothing: float = 0.0) -> jax.Array:
    """Softmax cross entropy, in nats: mean of -log p[target] over the labelled positions.

    With smoothing e the label is the class with the share 1 - e and all C classes with e / C each:
    (1 - e) (-log p[target]) + e mean_c(-log p[c]).

    Args:
        pred: logits [..., C].
        target: class numbers [...]. An unmasked one outside 0..C-1 gives NaN: a run must not go on
            with it. Or shares of the classes [..., C], as a mixture of clips has them.
        mask: bool [...].
        smoothing: e from 0 to below 1.

    Source: Szegedy et al., "Rethinking the Inception architecture", CVPR 2016, section 7.
    """
    if getattr(target, "ndim", 0) == getattr(pred, "ndim", None):  # of arrays; lists are numbers
        return _ce_of_shares(pred, target, mask, smoothing)
    pred, target, mask = arrays.checked("ce loss", pred, target, mask, logits=True)
    return _ce_entries(pred, target, mask, smoothing).sum() / _count(mask)


def _ce_of_shares(
    pred: jax.Array, target: jax.Array, mask: jax.Array, smoothing: float
) -> jax.Array:
    entries = jnp.broadcast_to(jnp.asarray(mask)[..., None], jnp.shape(pred))
    pred, target, _ = arrays.checked("ce loss", pred, target, entries)
    logits, shares = _labelled(mask[..., None], pred, target)
    shares = (1 - smoothing) * shares + smoothing / pred.shape[-1]
    terms = jnp.where(entries, -shares * jax.nn.log_softmax(logits), 0)
    return terms.sum() / _count(mask)


def balanced_ce(
    pred: jax.Array, target: jax.Array, mask: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross entropy, in nats, in which rare classes count for more.

    Mean of -log p[target] over the labelled positions, weighted by 1 / sqrt(n_c) with n_c the
    positions of class c in the whole batch: between the plain mean, in which a class counts as
    often as it occurs, and one in which all classes count alike. For scores that are means over
    classes. Arguments as `ce`.
    """
    pred, target, mask = arrays.checked("balanced_ce loss", pred, target, mask, logits=True)
    entries = _ce_entries(pred, target, mask, smoothing)
    one_hot = jax.nn.one_hot(jnp.where(mask, target, -1), jnp.shape(pred)[-1], dtype=entries.dtype)
    weights = (one_hot * _rarity(one_hot)).sum(-1)
    total = weights.sum()
    return (weights * entries).sum() / jnp.where(total > 0, total, 1)


def _ce_entries(pred: jax.Array, target: jax.Array, mask: jax.Array, smoothing: float) -> jax.Array:
    """-log p[target] [...], smoothed, 0 where masked."""
    classes = jnp.shape(pred)[-1]
    (logits,) = _labelled(mask[..., None], pred)
    log_p = jax.nn.log_softmax(logits)
    index = jnp.where(mask, target, 0).astype(jnp.int32)
    # Negative numbers would count from the end; beyond the end the gather fills in NaN.
    index = jnp.where(index < 0, classes, index)
    chosen = jnp.take_along_axis(log_p, index[..., None], axis=-1, mode="fill")[..., 0]
    if smoothing:
        chosen = (1 - smoothing) * chosen + smoothing * log_p.mean(-1)
    return jnp.where(mask, -chosen, 0)


def _rarity(one_hot: jax.Array) -> jax.Array:
    """1 / sqrt(number of positions) of each class, [C] of [..., C]; 1 of a class that is absent."""
    return jax.lax.rsqrt(jnp.maximum(one_hot.sum(tuple(range(one_hot.ndim - 1))), 1))


def bce(
    pred: jax.Array, target: jax.Array, mask: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Binary cross entropy from logits, in nats: mean over the labelled entries.

    -(y log s(x) + (1 - y) log s(-x)) with the logistic function s; exact for logits of any size,
    with a gradient s(x) - y that does not fade where the prediction is certain and wrong. With
    smoothing e the label y is (1 - e) y + e / 2.

    Args:
        pred: logits x [..., K].
        target: labels y [..., K], 0 or 1 (or between).
        mask: bool [..., K].
        smoothing: e from 0 to below 1.
    """
    pred, target, mask = arrays.checked("bce loss", pred, target, mask)
    return _bce_entries(pred, target, mask, smoothing)[0].sum() / _count(mask)


def balanced_bce(
    pred: jax.Array, target: jax.Array, mask: jax.Array, *, smoothing: float = 0.0
) -> jax.Array:
    """Binary cross entropy from logits, in nats, in which the rarer answer counts for more.

    For each label as `balanced_ce` of its two classes; the mean over the labels that occur in the
    batch. Arguments as `bce`.
    """
    pred, target, mask = arrays.checked("balanced_bce loss", pred, target, mask)
    entries, y = _bce_entries(pred, target, mask, smoothing)
    yes, no = jnp.where(mask, y, 0), jnp.where(mask, 1 - y, 0)
    weights = yes * _rarity(yes) + no * _rarity(no)
    leading = tuple(range(weights.ndim - 1))
    total = weights.sum(leading)
    means = (weights * entries).sum(leading) / jnp.where(total > 0, total, 1)
    return means.sum() / _count(total > 0)


def _bce_entries(
    pred: jax.Array, target: jax.Array, mask: jax.Array, smoothing: float
) -> tuple[jax.Array, jax.Array]:
    """(loss [..., K], smoothed; labels as they are), both 0 where masked."""
    x, y = _labelled(mask, pred, target)
    share = (1 - smoothing) * y + smoothing / 2 if smoothing else y
    entries = -(share * jax.nn.log_sigmoid(x) + (1 - share) * jax.nn.log_sigmoid(-x))
    return jnp.where(mask, entries, 0), y


def ccc(pred: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - CCC in [0, 2], the mean over the dimensions that have labels.

    CCC = 2 cov / (var_p + var_t + (mean_p - mean_t)^2 + 1e-8), with population moments over the
    whole batch, not clip by clip. The constant, in squared label units, makes the loss of constant
    and equal predictions 1 and bounds its gradient.

    Args:
        pred: predictions [..., K], label units.
        target: labels [..., K].
        mask: bool [..., K].

    Source: Lin, Biometrics 45(1), 1989, 255-268.
    """
    pred, target, mask = arrays.checked("ccc loss", pred, target, mask)
    p, t = _labelled(mask, pred, target)
    # Values whose squares would be inf come near 1 first. A power of two takes no digit, and 1
    # changes nothing.
    largest = jax.lax.stop_gradient(
        jnp.maximum(jnp.abs(p).max(initial=0), jnp.abs(t).max(initial=0))
    )
    unit = jnp.where(largest > _LARGE, power_of_two(largest), 1)
    p, t = p * unit, t * unit
    zero = jnp.zeros((), p.dtype)
    moments = functools.partial(centred, origin=(zero, zero), block=None)
    m, gap = jax.vmap(moments, in_axes=-1)(p, t, mask)
    n = jnp.maximum(m.n, 1)
    spread = (m.m2_p + m.m2_t) / n + gap**2
    losses_k = 1 - 2 * m.c / n / (spread + _CCC_EPS)
    return jnp.where(m.n > 0, losses_k, 0).sum() / _count(m.n > 0)


def ccc_by_row(pred: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - CCC of each row and dimension, the mean over those that have labels.

    As `ccc`, with the moments of one row, a segment or window, in the place of the whole batch's.
    Arguments as `ccc`, with two or more axes before the last.

    Raises:
        UserError: there are no rows of frames.

    Source: arXiv 2603.13056, the released code; a row without labels counts as 1 there.
    """
    pred, target, mask = arrays.checked("ccc_by_row loss", pred, target, mask)
    if pred.ndim < 3:
        raise UserError(
            f"loss ccc_by_row: predictions {pred.shape} are no rows of frames; use ccc."
        )
    losses_bk = jax.vmap(functools.partial(by_dimension, ccc))(pred, target, mask)
    labelled_bk = mask.any(tuple(range(1, mask.ndim - 1)))
    return losses_bk.sum() / _count(labelled_bk)


def _labelled(mask: jax.Array, *xs: jax.Array) -> tuple[jax.Array, ...]:
    """In float32, 0 where masked: 0 * NaN would still be NaN, in the gradient too."""
    return tuple(jnp.where(mask, x, 0) for x in arrays.floats(*xs))


def _count(mask: jax.Array) -> jax.Array:
    """Number of labelled entries, at least 1."""
    return jnp.maximum(mask.sum(dtype=jnp.int32), 1)


def by_dimension(
    loss: Callable[..., jax.Array], pred: jax.Array, target: jax.Array, mask: jax.Array
) -> jax.Array:
    """The loss of each dimension alone: [K], 0 of one without labels.

    Args:
        loss: one of this module, with its options bound.
        pred: predictions [..., K], or logits [..., K, C] for `ce`.
        target, mask: labels [..., K].
    """
    if jnp.ndim(pred) > jnp.ndim(target):
        return jax.vmap(loss, in_axes=(-2, -1, -1))(pred, target, mask)

    def one(*columns: jax.Array) -> jax.Array:
        return loss(*(column[..., None] for column in columns))

    return jax.vmap(one, in_axes=-1)(pred, target, mask)


def terms_of(text: str) -> tuple[tuple[float, str], ...]:
    """(coefficient, name) of each term of a sum of losses: "ccc+0.1*mse".

    Raises:
        ValueError: a coefficient is no number above 0, or a name is missing.
    """
    terms = []
    for term in text.split("+"):
        coefficient, times, name = (part.strip() for part in term.rpartition("*"))
        try:
            value = float(coefficient) if times else 1.0
        except ValueError:
            value = 0.0
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{coefficient!r} is no number above 0")
        if not name:
            raise ValueError("the name of a loss is missing")
        terms.append((value, name))
    return tuple(terms)


@dataclasses.dataclass(frozen=True)
class Loss:
    """One entry of LOSSES, called like its function.

    Attributes:
        function: (pred, target, mask) -> scalar; with `smoothing` where labels are discrete.
        kinds: the task kinds that can have it; it takes predictions and labels of the first. Those
            of bins are both (tasks.loss).
    """

    function: Callable[..., jax.Array]
    kinds: tuple[str, ...]

    def __call__(
        self, pred: jax.Array, target: jax.Array, mask: jax.Array, **options: float
    ) -> jax.Array:
        return self.function(pred, target, mask, **options)


LOSSES: Mapping[str, Loss] = MappingProxyType(
    {
        "mse": Loss(mse, kinds=("values", "bins")),
        "ce": Loss(ce, kinds=("classes", "bins")),
        "balanced_ce": Loss(balanced_ce, kinds=("classes",)),
        "bce": Loss(bce, kinds=("labels",)),
        "balanced_bce": Loss(balanced_bce, kinds=("labels",)),
        "ccc": Loss(ccc, kinds=("values", "bins")),
        "ccc_by_row": Loss(ccc_by_row, kinds=("values", "bins")),
    }
)
