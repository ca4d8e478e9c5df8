"""The order in which rows are fed: a pure function of (rows, batch size, seed, epoch).

A `Plan` says which rows (data_pipelines/rows.py) stand in which batch of which epoch. Nothing here
holds state, so resuming is asking for batch n.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from data_pipelines.rows import Rows

FILLING = -1  # row id of an empty place in a batch


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers of one purpose, derived from the run's seed by names and numbers."""
    words = [zlib.crc32(n.encode()) if isinstance(n, str) else int(n) for n in names]
    return np.random.default_rng([seed, *words])


@dataclasses.dataclass(frozen=True)
class Plan:
    """Rows of every batch of every epoch.

    Attributes:
        rows: the table.
        batch_size: B, rows a batch over all processes and devices.
        seed: of the order; shuffle: a new order every epoch, else the table's.
        lanes: row b of batch n + 1 continues row b of batch n in its track, and takes the next
            track when one ends; for models that carry state. Without lanes rows are independent.
        multiple_of: batches are widened with empty places to a multiple of this (devices).
    """

    rows: Rows
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    lanes: bool = False
    drop_last: bool = False
    multiple_of: int = 1

    def epoch(self, epoch: int, subset: np.ndarray | None = None) -> np.ndarray:
        """int32 [steps, B]: row ids of every batch; FILLING where a place is empty.

        Args:
            subset: int [n], the rows that are fed, in the order in which they are where nothing is
                shuffled; None: all. Not of lanes, which follow whole tracks.
        """
        rng = generator(self.seed, "plan", epoch)
        if self.lanes:
            if subset is not None:
                raise ValueError("a plan of lanes feeds all rows, got a subset")
            table = self._lanes(rng)
        else:
            order = np.arange(len(self.rows)) if subset is None else np.asarray(subset)
            if self.shuffle:
                order = order[rng.permutation(len(order))]
            if self.drop_last:
                order = order[: len(order) // self.batch_size * self.batch_size]
            table = _cut(order, self.batch_size)
        width = -(-self.batch_size // self.multiple_of) * self.multiple_of
        return np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=FILLING)

    def _lanes(self, rng: np.random.Generator) -> np.ndarray:
        heads = np.flatnonzero(self.rows.first)
        ends = np.append(heads[1:], len(self.rows))
        order = rng.permutation(len(heads)) if self.shuffle else np.arange(len(heads))
        # The lane that is free first takes the next track, as a queue at several counters.
        lanes: list[list[int]] = [[] for _ in range(self.batch_size)]
        for i in order:
            lane = min(lanes, key=len)
            lane.extend(range(heads[i], ends[i]))
        table = np.full((max(map(len, lanes)), self.batch_size), FILLING, np.int32)
        for b, lane in enumerate(lanes):
            table[: len(lane), b] = lane
        return table


def _cut(order: np.ndarray, batch_size: int) -> np.ndarray:
    steps = -(-len(order) // batch_size)
    table = np.full(steps * batch_size, FILLING, np.int32)
    table[: len(order)] = order
    return table.reshape(steps, batch_size)
