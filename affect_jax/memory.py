"""Memory that cannot be had is said in a line, with the key of the config to change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from data_pipelines.errors import UserError
from data_pipelines.files import machine_memory


def device_memory() -> int:
    """Bytes that a device has in all; those of the machine where it computes on the CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or machine_memory()


def require(size: float, where: str, what: str, advice: str) -> None:
    """UserError "WHERE: WHAT .. GiB, .. GiB are there. ADVICE" for more bytes than there are."""
    there = device_memory()
    if size > there:
        raise UserError(
            f"{where}: {what} {size / 2**30:,.1f} GiB, {there / 2**30:,.1f} GiB are there. {advice}"
        )


def size_of(shapes: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes."""

    def size(leaf: Any) -> int:
        # Keys of random numbers have a type of their own, and next to no size.
        return int(np.prod(leaf.shape, dtype=object)) * getattr(leaf.dtype, "itemsize", 4)

    return sum(map(size, jax.tree.leaves(shapes)))


@contextlib.contextmanager
def said(config: ConfigDict) -> Iterator[None]:
    """A block in which running out of memory is a UserError that names what takes it."""
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        text = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in text:
            raise
        data = config.data
        raise UserError(
            f"not enough memory ({text[:120].rstrip('.') or 'MemoryError'}). Smaller values of "
            f"config.data.batch_size ({data.batch_size}), data.eval_batch_size "
            f"({data.eval_batch_size}), data.length ({data.length}) or config.model need less."
        ) from None
