"""From row ids to arrays: the one place where a batch is put together on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.plan import Rows
from data_pipelines.store import Store

NORMALISATIONS = ("none", "train", "track")


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each column of each feature: {feature: float32 [D]}."""

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, store: Store, features: Sequence[str], tracks: Sequence[int]) -> Statistics:
        """Over all frames of the tracks where the feature exists, in float64; std 0 becomes 1.

        Raises:
            UserError: no such frame, or one that is not finite.
        """
        mean, std = {}, {}
        for name in features:
            array, mask = store.feature(name), store.feature_mask(name)
            count, total, square = 0, 0.0, 0.0
            shift = None  # the first track's mean: keeps the sum of squares small and exact
            for index in tracks:
                rows = _track_rows(store, index)
                x = np.asarray(array[rows], np.float64)
                there = np.ones(len(x), bool) if mask is None else np.asarray(mask[rows])
                wrong = there & ~np.isfinite(x).all(1)
                if wrong.any():
                    image = store.frames[rows][np.argmax(wrong)]
                    raise UserError(
                        f"{store.path}: feature {name!r} of track {store.tracks[index].name!r}, "
                        f"image {image}: not finite, so nothing can be normalised by it. Check "
                        "the store with python -m data_pipelines.verify."
                    )
                x = x[there]
                if not len(x):
                    continue
                shift = x.mean(0) if shift is None else shift
                count, total, square = (
                    count + len(x),
                    total + (x - shift).sum(0),
                    square + ((x - shift) ** 2).sum(0),
                )
            if not count:
                raise UserError(f"{store.path}: feature {name!r} exists in no training frame.")
            variance = np.maximum(square / count - (total / count) ** 2, 0)
            mean[name] = (shift + total / count).astype(np.float32)
            deviation = np.sqrt(variance).astype(np.float32)
            std[name] = np.where(deviation > 0, deviation, 1).astype(np.float32)
        return cls(mean, std)


def _track_rows(store: Store, index: int) -> slice:
    track = store.tracks[index]
    return slice(track.offset, track.offset + track.frames)


@dataclasses.dataclass(frozen=True)
class Source:
    """What a batch is made of: features and labels of a store, normalised.

    Attributes:
        store: where from.
        features: names of frame-wise features.
        labels: names of label kinds, empty for prediction.
        normalise: "none"; "train" by `statistics`; "track" by each track's own frames.
        statistics: of the training split; needed for "train".
        delay: seconds by which labels follow what they rate: the features of a frame are read so
            much earlier (those of the track's first frame where it has no earlier one).
    """

    store: Store
    features: tuple[str, ...]
    labels: tuple[str, ...] = ()
    normalise: str = "none"
    statistics: Statistics | None = None
    delay: float = 0.0
    _of_track: dict[tuple[str, int], Statistics] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        self.store.require_features(self.features)
        # Every file is opened now: damage shall not be found after an hour.
        _ = self.store.frames
        for name in self.features:
            if self.store.features[name].axis != "frame":
                raise UserError(
                    f"{self.store.path}: feature {name!r} has rows of its own (axis "
                    f"{self.store.features[name].axis!r}); segments need one row a frame."
                )
            self.store.feature(name)
            self.store.feature_mask(name)
        for name in self.labels:
            self.store.label(name)
        if self.delay:
            for track in self.store.tracks:
                if not track.fps:
                    raise UserError(
                        f"{self.store.path}: config.data.label_delay is in seconds, but track "
                        f"{track.name!r} has no frames per second."
                    )
        if self.statistics is not None:
            for name in self.features:
                size, expected = self.store.features[name].size, len(self.statistics.mean[name])
                if size != expected:
                    raise UserError(
                        f"{self.store.path}: feature {name!r} has {size} columns, the run was "
                        f"trained with {expected}."
                    )

    def feature(self, name: str, track: int, frames: slice | np.ndarray) -> np.ndarray:
        """float32 [n, D]: normalised frames of one track; zero where the feature has a gap."""
        mask = self.feature_mask(name, track, frames)
        x = np.asarray(self.store.feature(name)[self._read(track, frames)], np.float32)
        if self.normalise == "train":
            x = (x - self.statistics.mean[name]) / self.statistics.std[name]
        elif self.normalise == "track" and self._any(name, track):
            if (name, track) not in self._of_track:
                self._of_track[name, track] = Statistics.of(self.store, [name], [track])
            own = self._of_track[name, track]
            x = (x - own.mean[name]) / own.std[name]
        return x if mask is None else np.where(mask[:, None], x, np.float32(0))

    def feature_mask(self, name: str, track: int, frames: slice | np.ndarray) -> np.ndarray | None:
        """bool [n]: where `feature` exists; None where it does in every frame."""
        mask = self.store.feature_mask(name)
        return None if mask is None else np.asarray(mask[self._read(track, frames)])

    def _read(self, track: int, frames: slice | np.ndarray) -> slice | np.ndarray:
        """Rows of the store that the features of these frames of a track stand in."""
        entry, own = self.store.tracks[track], _track_rows(self.store, track)
        if not self.delay:
            return np.arange(own.start, own.stop)[frames]
        # By image number: the frames of a track may be a sample.
        number = np.asarray(self.store.frames[own], np.float64)
        earlier = number[frames] - float(self.delay * entry.fps)
        return own.start + np.maximum(np.searchsorted(number, earlier, side="right") - 1, 0)

    def _any(self, name: str, track: int) -> bool:
        mask = self.store.feature_mask(name)
        return mask is None or bool(mask[_track_rows(self.store, track)].any())

    @property
    def gaps(self) -> tuple[str, ...]:
        """Features that do not exist in every frame: the batch has an inputs_mask for them."""
        return tuple(n for n in self.features if self.store.features[n].gaps)


def assemble(source: Source, rows: Rows, ids: np.ndarray) -> dict[str, Any]:
    """The batch of the rows `ids` (int32 [B], FILLING for an empty place), as numpy arrays.

    Returns the batch contract: inputs {feature: [B, T, D]}, mask [B, T], inputs_mask, labels,
    label_mask, row [B], start [B]. Everything behind a row's end is zero and masked.
    """
    store, size, length = source.store, len(ids), rows.length
    sizes, first = rows.sizes, rows.first
    batch: dict[str, Any] = {
        "inputs": {
            n: np.zeros((size, length, store.features[n].size), np.float32) for n in source.features
        },
        "mask": np.zeros((size, length), bool),
        "inputs_mask": {n: np.zeros((size, length), bool) for n in source.gaps},
        "labels": {},
        "label_mask": {},
        "row": np.asarray(ids, np.int32),
        "start": np.zeros(size, bool),
    }
    for name in source.labels:
        values, _ = store.label(name)
        batch["labels"][name] = np.zeros((size, length, *values.shape[1:]), values.dtype)
        batch["label_mask"][name] = np.zeros((size, length, *values.shape[1:]), bool)
    for b, row in enumerate(ids):
        if row < 0:
            continue
        track, n, frames = int(rows.track[row]), int(sizes[row]), rows.frames(row)
        batch["mask"][b, :n] = True
        batch["start"][b] = first[row]
        where = store.tracks[track].offset + frames
        for name in source.features:
            batch["inputs"][name][b, :n] = source.feature(name, track, frames)
        for name in source.gaps:
            batch["inputs_mask"][name][b, :n] = source.feature_mask(name, track, frames)
        for name in source.labels:
            values, mask = store.label(name)
            batch["labels"][name][b, :n] = values[where]
            batch["label_mask"][name][b, :n] = mask[where]
    return batch
