"""Places of arrays: one mesh axis, `data`, over all devices of all processes."""

from __future__ import annotations

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
