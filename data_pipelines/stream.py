"""Batches read from disk as they are needed, through Grain: any size, several workers."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from data_pipelines.gather import Shape
from data_pipelines.rows import Rows
from data_pipelines.source import Source


@dataclasses.dataclass(frozen=True)
class _Batch:
    """`Source.batch` with all but the rows bound; a class, so that workers can unpickle it."""

    source: Source
    rows: Rows
    shape: Shape
    draws: np.ndarray | None

    def __call__(self, ids: np.ndarray) -> dict[str, Any]:
        _end_with_parent()
        return self.source.batch(self.rows, self.shape, ids, self.draws)


@functools.cache
def _end_with_parent() -> None:
    """In a worker: end when the process that reads from it has ended, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)  # it may be waiting for a place in the parent's queue

    threading.Thread(target=watch, daemon=True).start()


def stream(
    source: Source,
    rows: Rows,
    shape: Shape,
    table: np.ndarray,
    *,
    draws: np.ndarray | None = None,
    workers: int = 0,
    prefetch: int = 2,
) -> Iterator[dict[str, Any]]:
    """Yield the batch of every line of `table` (int32 [steps, B]) in that order.

    Args:
        shape: of the batches, `source.shape(rows)`.
        draws: [R], as in `Source.places`.
        workers: processes that read; 0 reads in threads of this process.
        prefetch: batches held ready (a worker).
    """
    batch = _Batch(source, rows, shape, draws)
    data = grain.MapDataset.source(list(np.asarray(table, np.int32))).map(batch)
    if not workers:
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=max(prefetch, 1))
        return iter(data.to_iter_dataset(options))
    from absl import flags

    if not flags.FLAGS.is_parsed():  # Grain's workers read absl flags; notebooks have none
        flags.FLAGS.mark_as_parsed()
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=1)
    return iter(
        data.to_iter_dataset(options).mp_prefetch(
            grain.multiprocessing.MultiprocessingOptions(
                num_workers=workers, per_worker_buffer_size=max(prefetch, 1)
            )
        )
    )
