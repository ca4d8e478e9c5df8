"""Streams of a batch, as models read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.errors import UserError, nearest


def stream(
    batch: Mapping[str, Any], name: str, key: str = "config.model.features"
) -> tuple[jax.Array, jax.Array]:
    """(a stream [B, ...], zero where it does not exist; the bool mask of that, its first axes).

    Args:
        key: the key of the config that names the stream, for the error.

    Raises:
        UserError: the batch lacks it.
    """
    if name not in batch["inputs"]:
        raise UserError(f"{key}: the data has no {name!r}. {nearest(name, batch['inputs'])}")
    x = batch["inputs"][name]
    mask = batch.get("inputs_mask", {}).get(name, batch["mask"])
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, 0), mask
