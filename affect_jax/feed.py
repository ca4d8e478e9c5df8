"""Two feeders with one result: batches from the device's own memory, or streamed from disk.

Both turn the plan's row ids into the same batches in the same order. *Resident* keeps features
and labels on the device and gathers a batch inside the compiled scan; *streamed* sends whole
batches. A feeder gives `data` (arrays that stay on the device) and, for a table of ids, `chunks` of
what the scan runs over; `fetch(data, x)` is the batch inside the compiled program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from affect_jax import memory, sharding
from data_pipelines.batch import Source
from data_pipelines.plan import Rows

Batch = dict[str, Any]
Fetch = Callable[[Any, Any], Batch]
FEEDERS = ("auto", "resident", "streamed")


def resident_bytes(source: Source, rows: Rows) -> int:
    """Memory that the resident feeder takes on each device."""
    store = source.store
    return sum(store.tracks[t].frames for t in np.unique(rows.track)) * frame_bytes(source)


def frame_bytes(source: Source) -> int:
    """Memory that the features and labels of one frame take in a batch."""
    store = source.store
    width = sum(4 * store.features[name].size for name in source.features)
    for name in source.labels:
        values, mask = store.label(name)
        width += (values.itemsize + mask.itemsize) * int(np.prod(values.shape[1:], dtype=int))
    return width


class Resident:
    """Features and labels of all tracks in `rows` on the device; batches are gathered there."""

    name = "resident"

    def __init__(self, source: Source, rows: Rows, mesh: Mesh):
        self._mesh, self._length, self._stride = mesh, rows.length, rows.stride
        store, used = source.store, np.unique(rows.track)
        offset, total = np.zeros(len(store.tracks), np.int32), 0
        for t in used:
            offset[t], total = total, total + store.tracks[t].frames
        where = np.concatenate(
            [
                np.arange(store.tracks[t].offset, store.tracks[t].offset + store.tracks[t].frames)
                for t in used
            ]
        )
        arrays: dict[str, Any] = {"inputs": {}, "inputs_mask": {}, "labels": {}, "label_mask": {}}
        for name in source.features:
            flat = np.empty((total, store.features[name].size), np.float32)
            for t in used:
                n = store.tracks[t].frames
                flat[offset[t] : offset[t] + n] = source.feature(name, int(t), slice(None))
            arrays["inputs"][name] = flat
        for name in source.gaps:
            arrays["inputs_mask"][name] = np.concatenate(
                [source.feature_mask(name, int(t), slice(None)) for t in used]
            )
        for name in source.labels:
            values, mask = store.label(name)
            arrays["labels"][name], arrays["label_mask"][name] = values[where], mask[where]
        arrays["row_start"] = offset[rows.track] + rows.start
        arrays["row_size"] = np.asarray(rows.sizes, np.int32)
        arrays["row_first"] = rows.first
        self.data = sharding.put(arrays, sharding.replicated(mesh))

    def xs(self, table: np.ndarray) -> jax.Array:
        """Row ids [K, B] on the devices."""
        local = np.ascontiguousarray(table[:, sharding.local_columns(table.shape[1])])
        return sharding.put(local, sharding.batched(self._mesh, 1))

    def chunks(self, table: np.ndarray, bounds: Sequence[int]) -> Iterator[Any]:
        """`xs` of the pieces of a table that `bounds` cuts."""
        for a, b in itertools.pairwise(bounds):
            yield self.xs(table[a:b])

    def fetch(self, data: Any, ids: jax.Array) -> Batch:
        """The batch of int32 [B] row ids, gathered from the resident arrays."""
        real = ids >= 0
        row = jnp.where(real, ids, 0)
        size = jnp.where(real, data["row_size"][row], 0)
        step = jnp.arange(self._length, dtype=jnp.int32)
        mask = step[None, :] < size[:, None]
        index = jnp.where(mask, data["row_start"][row][:, None] + self._stride * step[None, :], 0)

        def gather(array: jax.Array) -> jax.Array:
            taken = array[index]
            valid = mask.reshape(mask.shape + (1,) * (taken.ndim - 2))
            return jnp.where(valid, taken, jnp.zeros((), taken.dtype))

        kinds = ("inputs", "inputs_mask", "labels", "label_mask")
        batch: Batch = {kind: jax.tree.map(gather, data[kind]) for kind in kinds}
        return batch | {"mask": mask, "row": ids, "start": real & data["row_first"][row]}


class Streamed:
    """Whole batches from the host, read ahead by Grain and copied while the device computes."""

    name = "streamed"

    def __init__(self, source: Source, rows: Rows, mesh: Mesh, *, workers: int = 0):
        self._source, self._rows, self._mesh, self._workers = source, rows, mesh, workers
        self.data = ()

    def chunks(self, table: np.ndarray, bounds: Sequence[int]) -> Iterator[Any]:
        """Stacked batches [K, B, ...] of the pieces that `bounds` cuts, one chunk ahead."""
        from data_pipelines.stream import stream

        if len(bounds) < 2:
            return
        local = table[bounds[0] : bounds[-1], sharding.local_columns(table.shape[1])]
        batches = stream(self._source, self._rows, local, workers=self._workers)
        ahead = None
        for a, b in itertools.pairwise(bounds):
            stacked = jax.tree.map(lambda *x: np.stack(x), *itertools.islice(batches, b - a))
            placed = sharding.put(stacked, sharding.batched(self._mesh, 1))
            if ahead is not None:
                yield ahead
            ahead = placed
        if ahead is not None:
            yield ahead

    def fetch(self, data: Any, batch: Batch) -> Batch:
        """The batch itself."""
        del data
        return batch


def feeder(
    source: Source, rows: Rows, mesh: Mesh, *, how: str, resident_gib: float, workers: int
) -> Resident | Streamed:
    """The feeder that `config.data.feeder` asks for: resident, streamed, or auto (what fits)."""
    size = resident_bytes(source, rows)
    if how == "auto":
        how = "resident" if size <= resident_gib * 2**30 else "streamed"
    if how == "resident":
        advice = "Take config.data.feeder=streamed."
        memory.require(size, f"{source.store.path}", "its data resident on a device take", advice)
    return (
        Resident(source, rows, mesh)
        if how == "resident"
        else Streamed(source, rows, mesh, workers=workers)
    )
