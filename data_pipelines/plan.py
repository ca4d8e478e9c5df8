"""Which frames are fed when: a pure function of (rows, batch size, seed, epoch).

A *row* is a piece of one track: frames start, start + stride, ... below stop. `segments` and
`windows` make the table of rows; a `Plan` says which rows stand in which batch of which epoch.
Nothing here holds state, so resuming is asking for batch n. Imports numpy alone.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import UserError

FILLING = -1  # row id of an empty place in a batch


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Random numbers of one purpose, derived from the run's seed by names and numbers."""
    words = [zlib.crc32(n.encode()) if isinstance(n, str) else int(n) for n in names]
    return np.random.default_rng([seed, *words])


@dataclasses.dataclass(frozen=True)
class Rows:
    """A table of rows, each padded to `length` when fed.

    Attributes:
        track: int32 [R], index into the store's tracks.
        start, stop: int32 [R], frames of the track (0-based, stop excluded).
        length: padded length T of every row.
        stride: frames from one fed frame to the next.
    """

    track: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    length: int
    stride: int = 1

    def __len__(self) -> int:
        return len(self.track)

    @property
    def sizes(self) -> np.ndarray:
        """int32 [R]: true number of frames of each row, at most `length`."""
        return (self.stop - self.start + self.stride - 1) // self.stride

    @property
    def first(self) -> np.ndarray:
        """bool [R]: the row has no row of the same track right before it."""
        same = np.zeros(len(self), bool)
        same[1:] = (self.track[1:] == self.track[:-1]) & (
            self.start[1:] == self.start[:-1] + self.length * self.stride
        )
        return ~same

    def frames(self, row: int) -> np.ndarray:
        """int [n]: frames (0-based, of the track) that the row feeds."""
        return np.arange(self.start[row], self.stop[row], self.stride)


def segments(
    frames: Sequence[int], length: int, *, tracks: np.ndarray | None = None, stride: int = 1
) -> Rows:
    """Consecutive segments without overlap; the last one of a track is shorter.

    Args:
        frames: number of frames of every track of the store.
        length: frames fed at once (l of specs/abaw4, section 2).
        tracks: indices of the tracks to cut, in order; default all.
        stride: with k > 1 every k-th frame is fed, and a track is cut once for each of its k
            phases, so that every frame stands in exactly one row.
    """
    _positive(length=length, stride=stride)
    tracks = np.arange(len(frames)) if tracks is None else tracks
    table = [
        (track, start, min(start + length * stride, frames[track]))
        for track in tracks
        for phase in range(min(stride, frames[track]))
        for start in range(phase, frames[track], length * stride)
    ]
    return _rows(table, length, stride)


def windows(
    frames: Sequence[int],
    length: int,
    hop: int,
    *,
    tail: str = "shift",
    tracks: np.ndarray | None = None,
) -> Rows:
    """Overlapping windows at 0, hop, 2 hop, ...; a track shorter than a window gives one row.

    Args:
        tail: what happens to frames behind the last whole window: "shift" adds a window that
            ends with the track, "pad" a shorter one at the next hop, "drop" leaves them out.
    """
    _positive(length=length, hop=hop)
    if tail not in ("shift", "pad", "drop"):
        raise UserError(f"window tail {tail!r}: expected shift, pad or drop.")
    if hop > length:
        raise UserError(f"window hop {hop} is longer than the window ({length}): frames get lost.")
    tracks = np.arange(len(frames)) if tracks is None else tracks
    table = []
    for track in tracks:
        n = int(frames[track])
        starts = list(range(0, max(n - length, 0) + 1, hop))
        if starts[-1] + length < n and tail == "shift":
            starts.append(n - length)
        elif starts[-1] + length < n and tail == "pad":
            starts.append(starts[-1] + hop)
        table += [(track, start, min(start + length, n)) for start in starts]
    return _rows(table, length, 1)


def _rows(table: list[tuple[int, int, int]], length: int, stride: int) -> Rows:
    track, start, stop = np.array(table, np.int32).reshape(-1, 3).T
    return Rows(track, start, stop, length, stride)


def _positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1 frame, got {value}.")


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
    multiple_of: int = 1

    def epoch(self, epoch: int) -> np.ndarray:
        """int32 [steps, B]: row ids of every batch; FILLING where a place is empty."""
        rng = generator(self.seed, "plan", epoch)
        if self.lanes:
            table = self._lanes(rng)
        else:
            order = rng.permutation(len(self.rows)) if self.shuffle else np.arange(len(self.rows))
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


def reconstruct(rows: Rows, ids: np.ndarray, outputs: np.ndarray, total: int) -> np.ndarray:
    """Put the rows of one track together frame by frame.

    A frame that several windows cover gets their mean; segments have one row a frame.

    Args:
        ids: int [n], the rows of the track.
        outputs: [n, T, ...], what was predicted for them (values behind a row's end are ignored).
        total: frames of the track.

    Returns:
        float32 [total, ...]; NaN in frames that no row covers (windows with tail="drop").
    """
    total_sum = np.zeros((total, *outputs.shape[2:]), np.float64)
    count = np.zeros(total, np.int64)
    for row, output in zip(ids, outputs, strict=True):
        frames = rows.frames(row)
        total_sum[frames] += output[: len(frames)]
        count[frames] += 1
    count_shape = (total,) + (1,) * (outputs.ndim - 2)
    with np.errstate(invalid="ignore"):
        return (total_sum / count.reshape(count_shape)).astype(np.float32)
