"""Rows: which stretch of which track is fed at once, in frames or in seconds.

`segments`, `windows`, `in_seconds` and `clips` make the table of rows of a store's tracks; which of
them are fed when is the plan's (data_pipelines/plan.py). What of each stream falls into a row:
data_pipelines/source.py.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore


@dataclasses.dataclass(frozen=True)
class Rows:
    """A table of rows, each padded to `length` frames when fed.

    Attributes:
        track: int32 [R], index into the store's tracks.
        start, stop: int32 [R], frames of the track (0-based, stop excluded).
        length: padded length T of every row.
        stride: frames from one fed frame to the next.
        clip: a row is a track of one labelled frame, fed without a time axis.
        seconds: time that a row covers; None where it is that of its frames, or a whole clip.
        begin: whole numbers of Python [R, 2], numerator and denominator of the time in seconds at
            which each row begins, where `seconds` is set and the rows are no clips.
    """

    track: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    length: int
    stride: int = 1
    clip: bool = False
    seconds: Fraction | None = None
    begin: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.track)

    @property
    def sizes(self) -> np.ndarray:
        """int32 [R]: true number of frames of each row, at most `length`."""
        return (self.stop - self.start + self.stride - 1) // self.stride

    @functools.cached_property
    def first(self) -> np.ndarray:
        """bool [R]: the row has no row of the same track right before it."""
        same = np.zeros(len(self), bool)
        same[1:] = (self.track[1:] == self.track[:-1]) & (self.start[1:] == self.stop[:-1])
        return ~same

    def frames(self, row: int) -> np.ndarray:
        """int [n]: frames (0-based, of the track) that the row feeds."""
        return np.arange(self.start[row], self.stop[row], self.stride)

    def chosen(self, rows: np.ndarray) -> Rows:
        """The table of some rows, by number or by mask, in their order."""
        begin = None if self.begin is None else self.begin[rows]
        parts = self.track[rows], self.start[rows], self.stop[rows]
        return dataclasses.replace(
            self, **dict(zip(("track", "start", "stop"), parts, strict=True)), begin=begin
        )

    def of_tracks(self, tracks: np.ndarray) -> Rows:
        """The rows of some tracks."""
        return self.chosen(np.isin(self.track, tracks))


def segments(frames: Sequence[int], length: int, *, stride: int = 1) -> Rows:
    """Consecutive segments without overlap; the last one of a track is shorter.

    Args:
        frames: number of frames of every track of the store.
        length: frames fed at once, as the segments of ABAW4 (arXiv 2207.09373).
        stride: with k > 1 every k-th frame is fed, and a track is cut once for each of its k
            phases, so that every frame stands in exactly one row.
    """
    _positive(length=length, stride=stride)
    table = [
        (track, start, min(start + length * stride, total))
        for track, total in enumerate(frames)
        for phase in range(min(stride, total))
        for start in range(phase, total, length * stride)
    ]
    return Rows(*_columns(table), length, stride)


def windows(frames: Sequence[int], length: int, hop: int, *, tail: str = "shift") -> Rows:
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
    table = []
    for track, total in enumerate(frames):
        starts = list(range(0, max(total - length, 0) + 1, hop))
        if starts[-1] + length < total and tail == "shift":
            starts.append(total - length)
        elif starts[-1] + length < total and tail == "pad":
            starts.append(starts[-1] + hop)
        table += [(track, start, min(start + length, total)) for start in starts]
    return Rows(*_columns(table), length)


def everywhere(rows: Rows, frames: np.ndarray) -> Rows:
    """Rows of the same length from each frame of each track.

    Args:
        frames: number of frames of every track of the store.
    """
    longest = rows.length * rows.stride
    count = np.maximum(frames - longest, 0) + 1
    track = np.repeat(np.arange(len(frames)), count)
    start = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
    stop = np.minimum(start + longest, frames[track])
    parts = (np.asarray(part, np.int32) for part in (track, start, stop))
    return Rows(*parts, rows.length, rows.stride)


def clips(frames: Sequence[int], seconds: Fraction | None = None) -> Rows:
    """A row for each track, which must have one labelled frame.

    Args:
        seconds: what is fed of streams at a rate of their own, from their beginning; None: all.
    """
    count = len(frames)
    track, zeros = np.arange(count, dtype=np.int32), np.zeros(count, np.int32)
    return Rows(track, zeros, zeros + 1, 1, clip=True, seconds=seconds)


def in_seconds(store: AnyStore, seconds: Fraction, hop: Fraction | None = None) -> Rows:
    """Rows of equal time, each with the labelled frames that are shown in it.

    A frame is shown at (image number - 1) / fps seconds. A row without a labelled frame is left
    out.

    Args:
        hop: time from a window to the next; the last one ends with its track. None: segments end to
            end, the last one shorter.

    Raises:
        UserError: a track has no frames a second, or rows begin less than a frame apart.
    """
    table, begins, length = [], [], 1
    apart = hop or seconds
    for track, entry in enumerate(store.tracks):
        fps = rate_of(store, track, "rows are in seconds")
        if apart * fps < 1:
            raise UserError(
                f"{store.path}: rows begin {float(apart):g} seconds apart, a frame of track "
                f"{entry.name!r} takes {float(1 / fps):.2g}. Take more."
            )
        shown = np.asarray(store.frames[entry.span], np.int64) - 1
        last = int(shown[-1]) + 1 if len(shown) else 0
        most = min(math.ceil(seconds * fps), last)
        within = np.searchsorted(shown, shown + most) - np.arange(len(shown))
        length = max(length, int(within.max(initial=1)))
        total = Fraction(last) / fps
        for begin in _starts(total, seconds, hop):
            bounds = math.ceil(begin * fps), min(math.ceil((begin + seconds) * fps), last)
            start, stop = np.searchsorted(shown, bounds)
            if start < stop:
                table.append((track, start, stop))
                begins.append(begin.as_integer_ratio())
    begin = np.array(begins, object).reshape(-1, 2)  # some are longer than 64 bits
    return Rows(*_columns(table), length, seconds=seconds, begin=begin)


def _starts(total: Fraction, seconds: Fraction, hop: Fraction | None) -> Iterator[Fraction]:
    start = Fraction(0)
    if hop is None:
        while start < total:
            yield start
            start += seconds
        return
    last = max(total - seconds, Fraction(0))
    while start <= last:
        yield start
        start += hop
    if start - hop < last:
        yield last


def rate_of(store: AnyStore, track: int, why: str) -> Fraction:
    """Frames a second of a track; UserError where it has none, saying why one is needed."""
    entry = store.tracks[track]
    if not entry.fps:
        raise UserError(f"{store.path}: {why}, but track {entry.name!r} has no frames per second.")
    return Fraction(entry.fps)


def middles(store: AnyStore) -> np.ndarray:
    """float32 [N]: seconds in its track to the middle of each frame, as it is shown.

    Raises:
        UserError: a track has no frames a second.
    """
    seconds = np.zeros(store.frames_total, np.float32)
    for i, track in enumerate(store.tracks):
        number = np.asarray(store.frames[track.span], np.float64)
        seconds[track.span] = (number - 0.5) / float(
            rate_of(store, i, "the times of frames are needed")
        )
    return seconds


def _columns(table: list[tuple[int, int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    track, start, stop = np.array(table, np.int32).reshape(-1, 3).T
    return track, start, stop


def _positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} must be at least 1 frame, got {value}.")
