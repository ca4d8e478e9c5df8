"""Steps of a row as values at any times in it: a few steps a window become values of its frames."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def resample_steps(
    steps_bsk: jax.Array, at_bt: jax.Array, mask_bs: jax.Array | None = None
) -> jax.Array:
    """Values at some times from steps that divide the row's time evenly, float32 [B, T, ...].

    Each step stands in the middle of its bin. Between two middles lies a straight line, before the
    first and behind the last one their own value.

    Args:
        steps_bsk: [B, S, ...], one or more steps a row.
        at_bt: [B, T] times as a share of the row's time, 0 to 1: the middles of L frames that fill
            the row are (0.5, 1.5, ...) / L.
        mask_bs: bool [B, S], steps that are there; any other takes the value of the nearest one,
            the earlier of two, and a row without any is 0.

    Source: SMIL-SPCRAS/CVPRW-26, `framewise_eval_callback` (linear, corners not aligned).
    """
    steps = jnp.asarray(steps_bsk, jnp.float32)
    count = steps.shape[1]
    index = jnp.arange(count)
    if mask_bs is not None:
        apart = abs(index[:, None] - index) + jnp.where(mask_bs, 0, count)[:, None, :]
        trailing = [1] * (steps.ndim - 2)
        nearest = apart.argmin(-1).reshape(*mask_bs.shape, *trailing)
        there = jnp.reshape(mask_bs, nearest.shape)
        steps = jnp.take_along_axis(jnp.where(there, steps, 0), nearest, 1)
    place = jnp.clip(jnp.asarray(at_bt, jnp.float32) * count - 0.5, 0, count - 1)
    weight_bts = jnp.maximum(1 - abs(place[..., None] - index), 0)
    return jnp.einsum("bts,bs...->bt...", weight_bts, steps, precision=jax.lax.Precision.HIGHEST)
