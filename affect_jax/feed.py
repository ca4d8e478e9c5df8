"""Two feeders with one result: batches from the device's own memory, or streamed from disk.

Both turn the plan's row ids into the same batches in the same order, by one function
(data_pipelines/gather.py). *Resident* keeps streams and labels on the device and gathers a batch
inside the compiled scan; *streamed* sends whole batches. A feeder gives `data` (arrays that stay on
the device) and, for a table of ids, `chunks` of what the scan runs over; `fetch(data, x)` is the
batch inside the compiled program.
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
from data_pipelines.errors import UserError
from data_pipelines.gather import Shape, gather
from data_pipelines.rows import Rows
from data_pipelines.source import Source

Batch = dict[str, Any]
Fetch = Callable[[Any, Any], Batch]
FEEDERS = ("auto", "resident", "streamed")
KINDS = ("inputs", "inputs_mask", "labels", "label_mask", "times")
CHUNK_BYTES = 1 << 28  # of streamed batches that are sent at once; one more is held ready
LARGEST_INDEX = 2**31 - 1  # a device counts rows in int32


def batch_bytes(source: Source, rows: Rows, shape: Shape, width: int) -> int:
    """Memory that a batch of `width` rows takes."""
    example = source.example(rows, shape, 1)
    return width * sum(leaf.nbytes for leaf in jax.tree.leaves(example))


def resident_bytes(source: Source, rows: Rows) -> int:
    """Memory that the resident feeder takes on each device."""
    used = np.unique(rows.track)
    total = 0
    for kind in KINDS:
        for name, array in source.arrays[kind].items():
            count = source.tracks[_table(source, kind, name)][1]
            total += int(count[used].sum()) * np.asarray(array[:1]).nbytes
    return total


class Resident:
    """Streams and labels of all tracks in `rows` on the device; batches are gathered there."""

    name = "resident"

    def __init__(self, source: Source, rows: Rows, shape: Shape, mesh: Mesh):
        self._source, self._rows, self._shape, self._mesh = source, rows, shape, mesh
        used = np.unique(rows.track)
        # From the place of a track's rows in the store to that among the tracks used.
        self._shift = {name: _shift(*table, used) for name, table in source.tracks.items()}
        self._order = np.zeros(len(source.store.tracks), np.int64)
        self._order[used] = np.arange(len(used))
        arrays: dict[str, Any] = {
            kind: {
                name: self._taken(array, _table(source, kind, name), used)
                for name, array in named.items()
            }
            for kind, named in source.arrays.items()
            if kind in KINDS
        }
        arrays["moments"] = {
            name: {kind: array[used] for kind, array in parts.items()}
            for name, parts in source.arrays["moments"].items()
        }
        self.data = sharding.put(arrays, sharding.replicated(mesh))

    def _taken(self, array: Any, table: str, used: np.ndarray) -> np.ndarray:
        """Rows of the tracks used, one track behind the other; one row where there is none."""
        begin, count = self._source.tracks[table]
        one = np.asarray(array[:1])
        flat = np.zeros((max(int(count[used].sum()), 1), *one.shape[1:]), one.dtype)
        done = 0
        for track in used:
            rows = slice(done, done + count[track])
            flat[rows] = array[begin[track] : begin[track] + count[track]]
            done += count[track]
        return flat

    def places(self, ids: np.ndarray, draws: np.ndarray | None = None) -> Any:
        """Places of row ids [K, B] on the devices, as `fetch` takes them."""
        local = np.ascontiguousarray(ids[:, sharding.local_columns(ids.shape[1])])
        at = self._source.places(self._rows, local, draws)
        track = self._rows.track[np.maximum(local, 0)] if len(self._rows) else np.zeros_like(local)
        for name, shift in self._shift.items():
            first, count = at[name]
            at[name] = (first + shift[track]).astype(np.int32), count.astype(np.int32)
        if "track" in at:
            at["track"] = self._order[track].astype(np.int32)
        return sharding.put(at, sharding.batched(self._mesh, 1))

    def most_steps(self, width: int) -> int:
        """Steps that one chunk may hold: any number."""
        del width
        return LARGEST_INDEX

    def chunks(
        self, table: np.ndarray, bounds: Sequence[int], draws: np.ndarray | None = None
    ) -> Iterator[Any]:
        """`places` of the pieces of a table that `bounds` cuts."""
        for a, b in itertools.pairwise(bounds):
            yield self.places(table[a:b], draws)

    def fetch(self, data: Any, at: Any) -> Batch:
        """The batch of places [B], gathered from the resident arrays."""
        return gather(data, at, self._shape, jnp)


def _table(source: Source, kind: str, name: str) -> str:
    """The key of `Source.tracks` for an array; a label may be called as a stream is."""
    return name if name in source.own and kind in ("inputs", "inputs_mask") else "frames"


def _shift(begin: np.ndarray, count: np.ndarray, used: np.ndarray) -> np.ndarray:
    """int64 [tracks]: what is added to a row of the store to find it among the tracks used."""
    shift = np.zeros(len(begin), np.int64)
    shift[used] = np.cumsum(count[used]) - count[used] - begin[used]
    return shift


class Streamed:
    """Whole batches from the host, read ahead by Grain and copied while the device computes."""

    name = "streamed"

    def __init__(self, source: Source, rows: Rows, shape: Shape, mesh: Mesh, *, workers: int = 0):
        self._source, self._rows, self._shape = source, rows, shape
        self._mesh, self._workers = mesh, workers
        self.data = ()

    def most_steps(self, width: int) -> int:
        """Steps that one chunk may hold: those of CHUNK_BYTES, at least one."""
        size = batch_bytes(self._source, self._rows, self._shape, width)
        return max(1, CHUNK_BYTES // max(size, 1))

    def chunks(
        self, table: np.ndarray, bounds: Sequence[int], draws: np.ndarray | None = None
    ) -> Iterator[Any]:
        """Stacked batches [K, B, ...] of the pieces that `bounds` cuts, one chunk ahead."""
        from data_pipelines.stream import stream

        if len(bounds) < 2:
            return
        local = table[bounds[0] : bounds[-1], sharding.local_columns(table.shape[1])]
        batches = stream(
            self._source, self._rows, self._shape, local, draws=draws, workers=self._workers
        )
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
    source: Source,
    rows: Rows,
    shape: Shape,
    mesh: Mesh,
    *,
    how: str,
    resident_gib: float,
    workers: int,
) -> Resident | Streamed:
    """The feeder that `config.data.feeder` asks for: resident, streamed, or auto (what fits)."""
    size = resident_bytes(source, rows)
    longest = max(int(count.sum()) for _, count in source.tracks.values())
    if how == "auto":
        fits = size <= resident_gib * 2**30 and longest <= LARGEST_INDEX
        how = "resident" if fits else "streamed"
    if how == "streamed":
        return Streamed(source, rows, shape, mesh, workers=workers)
    advice = "Take config.data.feeder=streamed."
    memory.require(size, f"{source.store.path}", "its data resident on a device take", advice)
    if longest > LARGEST_INDEX:
        raise UserError(
            f"{source.store.path}: {longest:,} rows of one stream are more than a device counts "
            f"({LARGEST_INDEX:,}). {advice}"
        )
    return Resident(source, rows, shape, mesh)
