"""Pooling: the frames of a clip in, one vector out; padding has no say."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from data_pipelines.errors import nearest

# Added to the variance: the root of 0 has no gradient.
_VARIANCE_EPS = 1e-5


class Pool(nn.Module):
    """One vector a clip, from its valid frames.

    Attributes:
        kind: "attention", the mean weighted by softmax_t(w x_t), the one kind with a parameter;
            "mean"; "max"; "last", the last valid frame; or "statistics", mean and standard
            deviation side by side (Snyder et al., ICASSP 2018, section 3).
    """

    kind: str

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pooling(self.kind)

    @nn.compact
    def __call__(self, x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
        """(batch, time, dim), bool (batch, time) -> (batch, dim), or (batch, 2 dim) of statistics.

        A row without a valid frame gives a finite vector that means nothing.
        """
        if self.kind != "attention":
            return POOLINGS[self.kind](x_btd, mask_bt)
        # The scores in float32: bfloat16 loses the tail of long clips.
        score = nn.Dense(1, use_bias=False, dtype=jnp.float32, name="score")(x_btd)[..., 0]
        weight = jax.nn.softmax(jnp.where(mask_bt, score, -1e30), axis=-1)
        return jnp.einsum("bt,btd->bd", weight.astype(x_btd.dtype), x_btd)


def mean(x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
    """float32 sum over the valid frames / their number, in the dtype of x."""
    count = jnp.maximum(mask_bt.sum(1, dtype=jnp.int32), 1)[:, None]
    valid = jnp.where(mask_bt[..., None], x_btd.astype(jnp.float32), 0)
    return (valid.sum(1) / count).astype(x_btd.dtype)


def _maximum(x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
    most = jnp.where(mask_bt[..., None], x_btd, -jnp.inf).max(1)
    return jnp.where(mask_bt.any(1)[:, None], most, 0)


def _last(x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
    index = x_btd.shape[1] - 1 - jnp.argmax(mask_bt[:, ::-1], axis=1)
    return jnp.take_along_axis(x_btd, index[:, None, None], axis=1)[:, 0]


def _statistics(x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
    x = x_btd.astype(jnp.float32)
    centre = mean(x, mask_bt)
    deviation = jnp.sqrt(mean((x - centre[:, None]) ** 2, mask_bt) + _VARIANCE_EPS)
    return jnp.concatenate([centre, deviation], -1).astype(x_btd.dtype)


POOLINGS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "mean": mean,
    "max": _maximum,
    "last": _last,
    "statistics": _statistics,
}


def require_pooling(kind: str) -> None:
    """ValueError unless `Pool` has this kind."""
    known = ("attention", *POOLINGS)
    if kind not in known:
        raise ValueError(f"pooling = {kind!r}: no such pooling. {nearest(kind, known)}")
