"""Arrays normalised by moments that are given."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def standardised(x: jax.Array, mean: jax.Array, std: jax.Array, mask: jax.Array) -> jax.Array:
    """(x - mean) / std, and 0 where masked.

    Args:
        x: [..., *item]; mean and std fit its last axes.
        mask: bool, of x's first axes.
    """
    mask = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    return jnp.where(mask, (x - mean) / std, 0)


def beside(values: Any, x: jax.Array, item: tuple[int, ...]) -> jax.Array:
    """Moments [*item], or [B, *item] of the rows' tracks, with the axes of [B, ..., *item]."""
    values = jnp.asarray(values)
    if values.ndim == len(item):
        return values
    between = (1,) * (x.ndim - values.ndim)
    return values.reshape(values.shape[0], *between, *values.shape[1:])
