"""Places of arrays: one mesh axis, `data`, over all devices of all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def mesh() -> Mesh:
    """All devices along `data`, axes of type Auto (the compiler places what is between)."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device: state, resident features."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis `axis` split over the devices: the rows of a batch."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def by_rows(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """The function, of arrays [B, ...] row by row, with each device at its own rows alone.

    For what the compiler does not spread over rows: of a fast Fourier transform it makes one of the
    whole batch on every device. Where B is no multiple of the devices, the function as it is.
    """
    rows = PartitionSpec("data")

    def spread(*arrays: Any) -> Any:
        if mesh.size == 1 or len(arrays[0]) % mesh.size:
            return function(*arrays)
        return jax.shard_map(function, mesh=mesh, in_specs=rows, out_specs=rows)(*arrays)

    return spread


def local_columns(width: int) -> slice:
    """The part of the global batch's rows that this process feeds."""
    count = jax.process_count()
    each = width // count
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Global arrays from what each process holds: its own rows, or the same whole array.

    The copy to the device is asynchronous; the host arrays must not change afterwards.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )
