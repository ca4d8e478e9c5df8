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

from data_pipelines.batch import Source, assemble
from data_pipelines.plan import Rows


@dataclasses.dataclass(frozen=True)
class _Assemble:
    """`assemble` with its source bound; a class, so that worker processes can unpickle it."""

    source: Source
    rows: Rows

    def __call__(self, ids: np.ndarray) -> dict[str, Any]:
        _end_with_parent()
        return assemble(self.source, self.rows, ids)


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
    source: Source, rows: Rows, table: np.ndarray, *, workers: int = 0, prefetch: int = 2
) -> Iterator[dict[str, Any]]:
    """Yield the batch of every line of `table` (int32 [steps, B]) in that order.

    Args:
        workers: processes that read; 0 reads in threads of this process.
        prefetch: batches held ready (a worker).
    """
    data = grain.MapDataset.source(list(np.asarray(table, np.int32))).map(_Assemble(source, rows))
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
