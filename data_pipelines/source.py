"""The data that batches are made of: streams and labels of a store, and what falls into a row.

A stream stands on the labels' frames, at a rate of its own, or is a table whose rows have spans. A
row takes of each what falls into its time: sample k of a stream at r Hz is at k / r seconds, frame
number n is shown from (n - 1) / fps to n / fps seconds, and a table's row is taken where its span
overlaps the row. A clip takes all of its streams, or the first `Rows.seconds` of them.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.gather import Shape, gather
from data_pipelines.join import Aligned
from data_pipelines.plan import FILLING, generator
from data_pipelines.rows import Rows, everywhere, middles, rate_of
from data_pipelines.spread import SPREADS, Spread, covering, require_order
from data_pipelines.statistics import Statistics, normalised
from data_pipelines.store import AnyStore

AT_ONCE = 1 << 16  # rows that are looked at together


class _Fed(NamedTuple):
    """Rows that are fed, [...] each: number, track, and the track's first and last frame + 1."""

    row: np.ndarray
    track: np.ndarray
    start: np.ndarray
    stop: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
    """Streams and labels that are taken of a store.

    Attributes:
        store: where from.
        features: names of streams.
        labels: names of label kinds, empty for prediction.
        by_track: give the mean and deviation of each track's own rows with its batches.
        delay: seconds by which labels follow what they rate: the features of a frame are read so
            much earlier (those of the track's first frame where it has no earlier one).
        spread: {table: "nearest" or "mean"}: tables that are spread over the frames
            (data_pipelines/spread.py); others are fed as they are.
        gap: seconds, the largest over which "nearest" reaches.
        times: batches hold the seconds from the beginning of a row to the middle of each frame.
    """

    store: AnyStore
    features: tuple[str, ...]
    labels: tuple[str, ...] = ()
    by_track: bool = False
    delay: float = 0.0
    spread: Mapping[str, str] = dataclasses.field(default_factory=dict)
    gap: float = 0.0
    times: bool = False

    def __post_init__(self) -> None:
        self.store.require_features(self.features)
        self._check_spread()
        # Every file is opened now: damage shall not be found after an hour.
        _ = self.store.frames
        for name in self.features:
            self.store.feature(name)
            self.store.feature_mask(name)
            if self.store.features[name].axis == "table":
                require_order(self.store, name)
        for name in self.labels:
            self.store.label(name)
        if self.delay:
            if self.own:
                raise UserError(
                    f"{self.store.path}: config.data.label_delay moves features of frames; "
                    f"{self.own[0]!r} has rows of its own. Set 0."
                )
            for track in range(len(self.store.tracks)):
                rate_of(self.store, track, "config.data.label_delay is in seconds")

    def _check_spread(self) -> None:
        for name, how in self.spread.items():
            tables = [n for n in self.features if self.store.features[n].axis == "table"]
            if name not in tables:
                hint = nearest(name, tables) or "None here is; leave it out."
                raise UserError(f"config.data.spread: {name!r} is no table that is fed. {hint}")
            if how not in SPREADS:
                raise UserError(f"config.data.spread: {name}:{how}. {nearest(how, SPREADS)}")
        if self.gap and "nearest" not in self.spread.values():
            where = f"config.data.spread_gap = {self.gap}"
            advice = "Set 0, or name one in config.data.spread."
            raise UserError(f"{where}: no table is spread by nearest. {advice}")

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: it opens the arrays anew."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @functools.cached_property
    def own(self) -> tuple[str, ...]:
        """Streams that are fed with rows of their own, not on the frames."""
        features = self.store.features
        return tuple(
            n for n in self.features if features[n].axis != "frame" and n not in self.spread
        )

    @functools.cached_property
    def arrays(self) -> dict[str, Any]:
        """Flat arrays for `gather`, read where they are indexed."""
        arrays: dict[str, Any] = {"inputs": {}, "inputs_mask": {}, "labels": {}, "label_mask": {}}
        for name in self.features:
            array, mask = self.store.feature(name), self.store.feature_mask(name)
            if name in self.spread:
                rows = covering(self.store, name, self.spread[name], self.delay, self.gap)
                array = Spread(array, rows, mean=self.spread[name] == "mean")
                mask = array.mask
            elif self.delay and self.store.features[name].axis == "frame":
                array = Aligned(array, self._earlier)
                mask = None if mask is None else Aligned(mask, self._earlier)
            if not _rows_in(array):
                array = np.zeros((1, *self.store.features[name].shape), array.dtype)
            arrays["inputs"][name] = array
            if mask is not None:
                arrays["inputs_mask"][name] = mask if _rows_in(mask) else np.zeros(1, bool)
        for name in self.labels:
            arrays["labels"][name], arrays["label_mask"][name] = self.store.label(name)
        arrays["times"] = {"frames": middles(self.store)} if self.times else {}
        names = normalised(self.store, self.features) if self.by_track else ()
        arrays["moments"] = {
            name: {kind: _OfTracks(self, name, kind) for kind in ("mean", "std")} for name in names
        }
        return arrays

    @functools.cached_property
    def _earlier(self) -> np.ndarray:
        """int64 [N]: the row of the store that the features of each frame are read from."""
        index = np.zeros(self.store.frames_total, np.int64)
        for i, track in enumerate(self.store.tracks):
            # By image number: the frames of a track may be a sample.
            number = np.asarray(self.store.frames[track.span], np.float64)
            earlier = number - self.delay * float(rate_of(self.store, i, ""))
            index[track.span] = track.offset + np.maximum(
                np.searchsorted(number, earlier, side="right") - 1, 0
            )
        return index

    @functools.cached_property
    def _statistics(self) -> dict[tuple[str, int], Statistics]:
        return {}

    def statistics_of(self, name: str, track: int) -> Statistics:
        """Mean and deviation of a track's own rows; 0 and 1 where it has none."""
        if (name, track) not in self._statistics:
            mask, rows = self.store.feature_mask(name), self.store.rows(name, track)
            if rows.stop > rows.start and (mask is None or np.asarray(mask[rows]).any()):
                own = Statistics.of(self.store, [name], [track])
            else:
                zero = np.zeros(self.store.features[name].shape, np.float32)
                own = Statistics({name: zero}, {name: zero + 1})
            self._statistics[name, track] = own
        return self._statistics[name, track]

    @functools.cached_property
    def tracks(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{"frames" or stream: int64 [tracks] each, (first row, rows) in the flat arrays}."""
        tracks = self.store.tracks
        table = {"frames": [track.span for track in tracks]}
        table |= {n: [self.store.rows(n, t) for t in range(len(tracks))] for n in self.own}
        return {
            name: (
                np.array([rows.start for rows in spans], np.int64),
                np.array([rows.stop - rows.start for rows in spans], np.int64),
            )
            for name, spans in table.items()
        }

    @functools.cached_property
    def _rates(self) -> tuple[np.ndarray, np.ndarray]:
        """int64 [tracks]: numerators and denominators of the frames a second; 1 / 1 of clips."""
        rates = [Fraction(track.fps or 1).as_integer_ratio() for track in self.store.tracks]
        return tuple(np.array(rates, np.int64).reshape(-1, 2).T)

    def require_time(self, rows: Rows) -> None:
        """UserError where a stream with rows of its own cannot be put beside the frames."""
        if self.own and not rows.clip:
            for track in np.unique(rows.track):
                rate_of(self.store, int(track), f"feature {self.own[0]!r} has rows of its own")

    def places(
        self, rows: Rows, ids: np.ndarray, draws: np.ndarray | None = None
    ) -> dict[str, Any]:
        """Places of the data of some rows in the flat arrays, as `gather` takes them.

        Args:
            ids: int32 [...], row ids; below 0 for an empty place.
            draws: [R] in [0, 1), where between its first and its last place each row is fed from
                in this epoch; None: as the table has it.
        """
        real = ids >= 0
        row = np.where(real, ids, 0)
        if not len(rows):
            zero = np.zeros(ids.shape, np.int64)
            at = {"row": ids, "start": real, "track": zero, "begin": zero.astype(np.float32)}
            return at | {name: (zero, zero) for name in ("frames", *self.own)}
        track = rows.track[row].astype(np.int64)
        start, stop = rows.start[row].astype(np.int64), rows.stop[row].astype(np.int64)
        base, frames = self.tracks["frames"]
        u = None if draws is None else draws[row]
        if u is not None and not rows.clip:
            moved = np.floor(u * (frames[track] - (stop - start) + 1)).astype(np.int64)
            start, stop = moved, stop - start + moved
        at: dict[str, Any] = {
            "row": np.asarray(ids, np.int32),
            "start": real & rows.first[row],
            "frames": (base[track] + start, np.where(real, -(-(stop - start) // rows.stride), 0)),
        }
        if self.by_track:
            at["track"] = track
        fed = _Fed(row, track, start, stop)
        if self.times:
            at["begin"] = np.divide(*self._seconds(rows, fed)[0]).astype(np.float32)
        for name in self.own:
            if rows.clip:
                low, high = self._of_clip(rows.seconds, name, track, u)
            elif self.store.features[name].axis == "rate":
                low, high = self._of_rate(rows, name, fed)
            else:
                low, high = self._of_table(rows, name, fed)
            first, count = (part[track] for part in self.tracks[name])
            low, high = np.clip(low, 0, count), np.clip(high, 0, count)
            at[name] = first + low, np.where(real, high - low, 0)
        return at

    def _shown(self, fed: _Fed) -> tuple[np.ndarray, np.ndarray]:
        """(begin, end) of what is fed, in frames as they are shown, from 0."""
        numbers, offset = self.store.frames, self.tracks["frames"][0][fed.track]
        ends = fed.start, fed.stop - 1
        begin, last = (np.asarray(numbers[offset + at], np.int64) for at in ends)
        return begin - 1, last

    def _seconds(self, rows: Rows, fed: _Fed) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Begin and end of what is fed, each (numerator, denominator) of seconds in its track."""
        if rows.begin is not None:
            length, unit = rows.seconds.as_integer_ratio()
            seconds, parts = rows.begin[fed.row, 0], rows.begin[fed.row, 1]
            return (seconds, parts), (seconds * unit + length * parts, parts * unit)
        fps, per = (part[fed.track] for part in self._rates)
        return tuple((frame * per, fps) for frame in self._shown(fed))

    def _of_rate(self, rows: Rows, name: str, fed: _Fed) -> tuple[np.ndarray, np.ndarray]:
        """(first, stop) of the rows of a stream at its own rate; exact, in whole numbers."""
        rate, per = self.store.features[name].rate.as_integer_ratio()
        return tuple(
            (-(-seconds * rate // (parts * per))).astype(np.int64)
            for seconds, parts in self._seconds(rows, fed)
        )

    def _of_table(self, rows: Rows, name: str, fed: _Fed) -> tuple[np.ndarray, np.ndarray]:
        """(first, stop) of the rows of a table whose spans overlap the row's time."""
        if rows.begin is not None:
            fps, per = (part[fed.track] for part in self._rates)
            time, parts = rows.begin[fed.row, 0] * fps, rows.begin[fed.row, 1] * per
            begin = (time / parts).astype(np.float64)
            end = begin + float(rows.seconds) * fps / per
        else:
            begin, end = self._shown(fed)
        track = fed.track
        low, high = (np.zeros(track.shape, np.int64) for _ in range(2))
        spans, (first, count) = self.store.spans(name), self.tracks[name]
        order = np.argsort(track, axis=None, kind="stable")
        of_tracks = np.split(order, np.flatnonzero(np.diff(track.ravel()[order])) + 1)
        for places in of_tracks if order.size else ():
            index = np.unravel_index(places, track.shape)
            t = track[index][0]
            own = spans[first[t] : first[t] + count[t]]
            low[index] = np.searchsorted(own[:, 1], begin[index], side="right")
            high[index] = np.searchsorted(own[:, 0], end[index], side="left")
        return low, high

    def _of_clip(
        self, seconds: Fraction | None, name: str, track: np.ndarray, u: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(first, stop) of the rows of a stream that a clip feeds."""
        count, rate = self.tracks[name][1][track], self.store.features[name].rate
        low = np.zeros_like(count)
        if seconds is None or rate is None:
            return low, count
        if u is not None:
            # All streams of a clip begin together: at a row of the finest one.
            unit = max(r for r in (self.store.features[n].rate for n in self.own) if r)
            finest = next(n for n in self.own if self.store.features[n].rate == unit)
            room = np.maximum(self.tracks[finest][1][track] - math.ceil(seconds * unit), 0)
            times, parts = (rate / unit).as_integer_ratio()
            low = -(-np.floor(u * (room + 1)).astype(np.int64) * times // parts)
        return low, low + math.ceil(seconds * rate)

    def shape(self, rows: Rows, *, moved: bool = False) -> Shape:
        """Static sizes of batches of these rows, which are those of all tracks.

        Args:
            moved: rows are fed from anywhere in their track.
        """
        if moved and not rows.clip:
            rows = everywhere(rows, self.tracks["frames"][1])
        sizes = dict.fromkeys(self.own, 1)
        for start in range(0, len(rows) if self.own else 0, AT_ONCE):
            at = self.places(rows, np.arange(start, min(start + AT_ONCE, len(rows))))
            sizes = {n: max(size, int(at[n][1].max())) for n, size in sizes.items()}
        return Shape(rows.length, rows.stride, rows.clip, sizes)

    def batch(
        self, rows: Rows, shape: Shape, ids: np.ndarray, draws: np.ndarray | None = None
    ) -> dict[str, Any]:
        """The batch of the rows `ids` (int32 [B]) as numpy arrays: `gather` of their `places`."""
        return gather(self.arrays, self.places(rows, ids, draws), shape)

    def example(self, rows: Rows, shape: Shape, width: int) -> dict[str, Any]:
        """A batch of empty places."""
        return self.batch(rows, shape, np.full(width, FILLING, np.int32))


def draws(seed: int, epoch: int, rows: int) -> np.ndarray:
    """float64 [R] in [0, 1): where each row is fed from in an epoch; a row keeps its own."""
    return generator(seed, "start", epoch).random(rows)


def _rows_in(array: Any) -> int:
    return array.shape[0] if hasattr(array, "shape") else len(array)


class _OfTracks:
    """Means, or deviations, of the tracks' own rows [tracks, *item]."""

    def __init__(self, source: Source, name: str, kind: str):
        self._source, self._name, self._kind = source, name, kind

    def __getitem__(self, tracks: np.ndarray) -> np.ndarray:
        own = (self._source.statistics_of(self._name, int(t)) for t in tracks.ravel())
        values = np.stack([getattr(one, self._kind)[self._name] for one in own])
        return values.reshape(*tracks.shape, *values.shape[1:])
