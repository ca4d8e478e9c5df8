"""The data of a system: a store, the rows that are fed of its tracks, and batches of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import memory, sharding
from affect_jax.config import require_kind
from affect_jax.feed import FEEDERS, Batch, Resident, Streamed, batch_bytes, feeder
from affect_jax.normalise import beside, standardised
from affect_jax.tasks import Task
from data_pipelines import folds
from data_pipelines.errors import UserError, nearest, shown
from data_pipelines.gather import Shape
from data_pipelines.join import open_store
from data_pipelines.keep import kept_rows
from data_pipelines.overlap import OVERLAPS
from data_pipelines.plan import Plan
from data_pipelines.rows import Rows, clips, in_seconds, segments, windows
from data_pipelines.source import Source, draws
from data_pipelines.statistics import NORMALISATIONS, Statistics, normalised


class Data:
    """Data that `config.data` names, opened.

    Attributes:
        store: with the folds of `config.folds` cut.
        features: names of the streams that the model reads.
        statistics: what they are normalised by with `data.normalise` "train", or else None.
        mesh: the devices that batches are spread over.
    """

    def __init__(
        self,
        config: ConfigDict,
        tasks: Sequence[Task],
        statistics: Statistics | None = None,
        more_labels: Sequence[str] = (),
        times: bool = False,
    ):
        """Open the store and check that it fits.

        Args:
            statistics: those of an existing run; default from the training split.
            more_labels: those that training batches hold beside the tasks'.
            times: batches hold the times of their frames.

        Raises:
            UserError: a key of config.data, or what the store lacks.
        """
        self._config, self._times, data, cut = config, times, config.data, config.folds
        self.mesh = sharding.mesh()
        self.store = folds.cut(open_store(data.root), cut.cut, cut.count, cut.seed)
        require_kind("config.model.features", config.model.features, tuple[str, ...])
        self.features = tuple(config.model.features)
        self.store.require_features(self.features)
        known_of = {"normalise": NORMALISATIONS, "feeder": FEEDERS, "overlap": OVERLAPS}
        for key, known in known_of.items():
            if data[key] not in known:
                raise UserError(f"config.data.{key} = {data[key]!r}: {nearest(data[key], known)}")
        if data.normalise != "train":
            statistics = None
        elif statistics is None:
            train = self.store.split(data.train_split)
            statistics = Statistics.of(self.store, self.features, train)
        self.statistics = statistics
        self._check_statistics()
        self._labels = tuple(dict.fromkeys([*(task.name for task in tasks), *more_labels]))
        self._check_labels(tasks)

    def _check_statistics(self) -> None:
        if self.statistics is None:
            return
        floats = normalised(self.store, self.features)
        for name in self.features:
            mean = self.statistics.mean.get(name)
            then = None if mean is None else np.shape(mean)
            now = self.store.features[name].shape if name in floats else None
            if now != then:
                now, then = ("integers" if x is None else f"floats {list(x)}" for x in (now, then))
                raise UserError(
                    f"{self.store.path}: feature {name!r} is {now}, the run was trained on {then}."
                )

    def _check_labels(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            label = self.store.labels.get(task.name)
            if label is None:
                continue  # prediction on an unlabelled store
            if (label.kind, label.size) != (task.label_kind, task.size):
                raise UserError(
                    f"{self.store.path}: label {task.name!r} is {label.kind} of size {label.size}, "
                    f"config.task.{task.name} says {task.label_kind} of size {task.size}."
                )
            if label.names and task.names and label.names != tuple(task.names):
                raise UserError(
                    f"{self.store.path}: label {task.name!r} has the classes {shown(label.names)}, "
                    f"config.task.{task.name}.names says {shown(tuple(task.names))}."
                )
            self.store.label(task.name)  # refuses damaged files, before anything is predicted

    @functools.lru_cache(maxsize=2)  # noqa: B019 - it lives as long as its training
    def source(self, *, labels: bool = True) -> Source:
        """Streams, and labels of the tasks, as batches hold them."""
        data = self._config.data
        pairs = [_pair("config.data.spread", text) for text in data.spread]
        spread = dict(pairs)
        if len(spread) < len(pairs):
            raise UserError(f"config.data.spread = {shown(data.spread)}: names a table twice.")
        return Source(
            self.store,
            self.features,
            self._labels if labels else (),
            by_track=data.normalise == "track",
            delay=data.label_delay,
            spread=spread,
            gap=data.spread_gap,
            times=self._times,
        )

    @functools.cached_property
    def length(self) -> int:
        """Frames of a row: `data.length`, at most those of the longest track of the store.

        Of all splits, so that what is computed for a track does not depend on the others beside it.
        """
        longest = max((track.frames for track in self.store.tracks), default=1)
        return min(self._config.data.length, -(-longest // self._config.data.stride))

    @functools.cached_property
    def _all_rows(self) -> Rows:
        """Rows of all tracks: clips, overlapping windows, or segments, of frames or of seconds."""
        data, frames = self._config.data, [track.frames for track in self.store.tracks]
        self._check_rows()
        seconds, hop = (Fraction(str(x)) or None for x in (data.seconds, data.hop_seconds))
        if data.clips:
            for track in self.store.tracks:
                if track.frames != 1:
                    raise UserError(
                        f"{self.store.path}: config.data.clips: track {track.name!r} has "
                        f"{track.frames} labelled frames, expected 1. Set false."
                    )
            return clips(frames, seconds)
        if seconds:
            return in_seconds(self.store, seconds, hop)
        if data.hop:
            return windows(frames, self.length, min(data.hop, self.length))
        return segments(frames, self.length, stride=data.stride)

    def _check_rows(self) -> None:
        data = self._config.data
        keys = ("hop", "seconds", "hop_seconds", "clips", "lanes")
        on = {"stride": data.stride > 1} | {key: bool(data[key]) for key in keys}
        excluded = {
            "stride": ("hop", "seconds", "clips"),
            "hop": ("seconds", "clips"),
            "hop_seconds": ("clips",),
            "lanes": ("clips",),
        }
        for a, others in excluded.items():
            for b in others:
                if on[a] and on[b]:
                    raise UserError(f"config.data.{a} and config.data.{b} exclude each other.")
        if data.overlap != "mean" and not (data.hop or data.hop_seconds):
            raise UserError(
                f"config.data.overlap = {data.overlap!r}: rows overlap with config.data.hop or "
                "config.data.hop_seconds alone."
            )
        for hop, whole in (("hop", "length"), ("hop_seconds", "seconds")):
            if data[hop] > data[whole]:
                raise UserError(
                    f"config.data.{hop} = {data[hop]}: is longer than config.data.{whole} = "
                    f"{data[whole]}, so that frames get lost."
                )
        if data.random_start and (data.lanes or (data.seconds and not data.clips)):
            raise UserError(
                "config.data.random_start: not with config.data.lanes, nor with rows in seconds "
                "that are no clips."
            )
        if data.random_start and data.clips and not data.seconds:
            raise UserError(
                "config.data.random_start: clips are fed whole, from their beginning. Say how much "
                "of each with config.data.seconds, or set false."
            )
        frame_wise = [n for n in self.features if self.store.features[n].axis == "frame"]
        still = normalised(self.store, frame_wise)
        if data.clips and data.normalise == "track" and still:
            raise UserError(
                f"config.data.normalise = 'track': feature {still[0]!r} has one row in each clip, "
                "of which nothing but 0 would be left. Take 'train' or 'none'."
            )

    def require_frames(self, model: str, besides: Sequence[str] = ()) -> None:
        """UserError where rows have no frames, or a stream is not on them: a model reads both.

        Args:
            besides: streams that may have rows of their own.
        """
        if self._config.data.clips:
            raise UserError(
                f"config.data.clips: config.model.name = {model!r} reads frames in time, a clip "
                "has none. Set false, or take another config.system."
            )
        own = [name for name in self.source(labels=False).own if name not in besides]
        for name in own[:1]:
            table = self.store.features[name].axis == "table"
            advice = f"Spread it, config.data.spread={name}:nearest" if table else "Leave it out"
            raise UserError(
                f"config.model.features: {name!r} has rows of its own, config.model.name = "
                f"{model!r} reads features of frames. {advice}, or take another config.system."
            )

    @functools.lru_cache(maxsize=8)  # noqa: B019 - as above
    def rows(self, split: str) -> Rows:
        """All rows of the split's tracks."""
        return self._all_rows.of_tracks(self.store.split(split))

    @functools.cached_property
    def training_rows(self) -> Rows:
        """Rows of the training split, or those of them that `data.keep` names."""
        data = self._config.data
        rows = self.rows(data.train_split)
        return rows.chosen(kept_rows(data.keep, self.store, rows)) if data.keep else rows

    @functools.lru_cache(maxsize=2)  # noqa: B019 - as above
    def shape(self, *, training: bool = False) -> Shape:
        """Static sizes of the batches."""
        moved = training and self._config.data.random_start
        return self.source(labels=False).shape(self._all_rows, moved=moved)

    def draws(self, epoch: int) -> np.ndarray | None:
        """[R]: where the training rows are fed from in an epoch; None: from their own start."""
        if not self._config.data.random_start:
            return None
        return draws(self._config.seed, epoch, len(self.training_rows))

    def training_plan(self, *, carries: bool) -> Plan:
        """The order of the training rows.

        Args:
            carries: the model hands its state from a row to the next of the same track.
        """
        data, rows = self._config.data, self.training_rows
        self._check_plan(carries, "batch_size", training=True)
        lanes = carries or data.lanes
        if lanes and data.keep:
            raise UserError("config.data.keep: rows that follow each other cannot be left out.")
        if data.drop_last and (lanes or len(rows) < data.batch_size):
            why = "lanes end with their tracks" if lanes else f"there are {len(rows)} rows"
            raise UserError(f"config.data.drop_last: {why}; set false.")
        return Plan(
            rows,
            data.batch_size,
            seed=self._config.seed,
            shuffle=True,
            lanes=lanes,
            drop_last=data.drop_last,
            multiple_of=jax.device_count(),
        )

    def evaluation_plan(self, rows: Rows, *, carries: bool) -> Plan:
        """All rows once, in order."""
        self._check_plan(carries, "eval_batch_size", training=False)
        return Plan(
            rows,
            self._config.data.eval_batch_size,
            lanes=carries,
            multiple_of=jax.device_count(),
        )

    def _check_plan(self, carries: bool, key: str, *, training: bool) -> None:
        """UserError for rows that overlap or move under a carry, and for too little memory."""
        data, rows = self._config.data, self._config.data[key]
        for name in ("hop", "hop_seconds", "random_start"):
            if carries and data[name]:
                raise UserError(
                    f"config.data.{name} = {data[name]}: an encoder that hands its state on reads "
                    f"a track once; set {'false' if name == 'random_start' else 0}, segments end "
                    "to end."
                )
        source, shape = self.source(labels=training), self.shape(training=training)
        length = "seconds" if data.clips or data.seconds else "length"
        if not data.clips:
            source.require_time(self._all_rows)
        memory.require(
            batch_bytes(source, self._all_rows, shape, rows) / jax.device_count(),
            f"config.data.{key} = {rows}",
            f"a batch of {'clips' if data.clips else f'rows of {shape.length} frames'} takes",
            f"Make it smaller, or the rows shorter: config.data.{length} = {data[length]}.",
        )

    def feeder(self, rows: Rows, *, training: bool, labels: bool = False) -> Resident | Streamed:
        """Feeder of the batches of these rows; labels in training, or where asked for."""
        data = self._config.data
        return feeder(
            self.source(labels=training or labels),
            rows,
            self.shape(training=training),
            self.mesh,
            how=data.feeder,
            resident_gib=data.resident_gib,
            workers=data.workers,
        )

    def example(self, width: int, *, training: bool = False) -> Batch:
        """A batch of `width` empty rows, as it comes from a feeder; labels in training alone."""
        shape = self.shape(training=training)
        return self.source(labels=training).example(self._all_rows, shape, width)

    def floats(self, batch: Batch) -> Batch:
        """The batch with inputs float32: integers times their scale, floats normalised.

        Zero where a row or a stream does not exist.
        """
        moments = batch.get("moments", {})
        if self.statistics is not None:
            names = normalised(self.store, self.features)
            moments = {
                n: {"mean": self.statistics.mean[n], "std": self.statistics.std[n]} for n in names
            }
        inputs = {}
        for name, x in batch["inputs"].items():
            feature = self.store.features[name]
            x = x.astype(jnp.float32)
            if np.dtype(feature.dtype).kind != "f":
                x = x * jnp.float32(feature.scale)
            if name in moments:
                mean, std = (beside(moments[name][k], x, feature.shape) for k in ("mean", "std"))
                mask = batch["mask"] if name not in self.source(labels=False).own else True
                x = standardised(x, mean, std, mask & batch["inputs_mask"].get(name, True))
            inputs[name] = x
        return {k: v for k, v in batch.items() if k != "moments"} | {"inputs": inputs}


def _pair(key: str, text: Any) -> tuple[str, str]:
    """(a, b) of "a:b"."""
    a, colon, b = str(text).rpartition(":")
    if not colon:
        raise UserError(f"{key} = {shown(text)}: expected NAME:HOW.")
    return a, b
