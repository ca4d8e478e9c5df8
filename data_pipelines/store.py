"""A store: features and labels of many tracks in one folder of flat, memory-mapped arrays.

    STORE/manifest.json            what is inside: features, labels, tracks, provenance
    STORE/frames.npy               int32 [N]: 1-based image number of each row
    STORE/features/<name>.npy      float32 [N, D], rows of a track together, in manifest order
    STORE/features/<name>.mask.npy bool [N], only where a feature has gaps (rows there are zero)
    STORE/labels/<name>.npy        values float32 [N, K], classes int32 [N], labels int8 [N, K]
    STORE/labels/<name>.mask.npy   bool, same shape: where the label exists
    STORE/references.json          optional scores to print beside ours, {split: {name: {score: x}}}

A feature's axis is "frame" (one row a labelled frame) or "table" (rows of its own, counted per
track in the manifest, with `rate_hz`: windows, clips, audio samples). Labels follow the frames.
A folder of this form is a store, whoever wrote it; `data_pipelines.store_writer` is the easy way.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path

FORMAT = 1
LABEL_DTYPES = {"values": np.float32, "classes": np.int32, "labels": np.int8}


@dataclasses.dataclass(frozen=True)
class Feature:
    """One named input stream. `size`: width D; `rate_hz`: rows a second where axis is "table"."""

    name: str
    size: int
    axis: str = "frame"
    rate_hz: float | None = None
    extractor: str = ""
    trained_on: tuple[str, ...] = ()  # splits or data sets whose labels the extractor has seen
    columns: tuple[str, ...] = ()  # names of the columns: the task, where they are predictions
    gaps: bool = False
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Label:
    """One label kind. `kind`: values [N, K], classes [N] (size = C) or labels [N, K] of 0/1."""

    name: str
    kind: str
    size: int
    names: tuple[str, ...] = ()
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Track:
    """One person in a video: rows [offset, offset + frames) of every frame-wise array."""

    name: str
    split: str
    group: str  # what must not be split: the video, the speaker
    frames: int
    offset: int
    fps: float | None = None
    rows: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)  # table features


class Store:
    """A store opened for reading. Arrays are memory maps, opened at first use (so it pickles)."""

    def __init__(self, path: str | os.PathLike):
        self.path = user_path(path)
        file = self.path / "manifest.json"
        if not file.is_file():
            raise UserError(
                f"{self.path} is no store (no manifest.json). Fill one with: python -m "
                f"data_pipelines.prepare --source=NAME --input=FOLDER --store={self.path}"
            )
        try:
            self.manifest = json.loads(file.read_text())
            self._read(self.manifest)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{file}: not a store manifest ({error!r}). Prepare it again."
            ) from None

    def _read(self, manifest: dict[str, Any]) -> None:
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format {manifest.get('format')!r}, expected {FORMAT}")
        self.name: str = manifest["name"]
        known = {field.name for field in dataclasses.fields(Feature)}
        self.features = {
            name: Feature(name=name, **{k: _tuple(v) for k, v in f.items() if k in known})
            for name, f in manifest["features"].items()
        }
        known = {field.name for field in dataclasses.fields(Label)}
        self.labels = {
            name: Label(name=name, **{k: _tuple(v) for k, v in f.items() if k in known})
            for name, f in manifest["labels"].items()
        }
        for label in self.labels.values():
            if label.kind not in LABEL_DTYPES:
                raise ValueError(f"label {label.name!r} of kind {label.kind!r}")
        self.tracks: list[Track] = []
        offset, table = 0, dict.fromkeys(self.features, 0)
        for entry in manifest["tracks"]:
            rows = {}
            for name, count in entry.get("rows", {}).items():
                rows[name] = (table[name], int(count))
                table[name] += int(count)
            self.tracks.append(
                Track(
                    name=entry["name"],
                    split=entry["split"],
                    group=entry.get("group", entry["name"]),
                    frames=int(entry["frames"]),
                    offset=offset,
                    fps=entry.get("fps"),
                    rows=rows,
                )
            )
            offset += int(entry["frames"])
        self.frames_total = offset

    def __getstate__(self) -> dict[str, Any]:
        cached = {"frames", "_arrays"}
        return {k: v for k, v in self.__dict__.items() if k not in cached}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _array(self, relative: str) -> np.ndarray:
        if relative not in self._arrays:
            file = self.path / relative
            try:
                self._arrays[relative] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise UserError(f"{file}: cannot be read ({error}). Prepare it again.") from None
        return self._arrays[relative]

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """int32 [N]: 1-based image number of each row."""
        return self._array("frames.npy")

    def feature(self, name: str) -> np.ndarray:
        """float32 [N, D] memory map (rows of its own for a "table" feature)."""
        self.require_features([name])
        array = self._array(f"features/{name}.npy")
        self._check_shape(
            f"features/{name}.npy", array, self._rows_of(name), self.features[name].size
        )
        return array

    def feature_mask(self, name: str) -> np.ndarray | None:
        """bool [N], or None where the feature has no gaps."""
        self.require_features([name])
        return self._array(f"features/{name}.mask.npy") if self.features[name].gaps else None

    def label(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels, mask) memory maps of one shape; labels are zero where the mask is False."""
        if name not in self.labels:
            raise UserError(f"{self.path} has no label {name!r}. {nearest(name, self.labels)}")
        values, mask = self._array(f"labels/{name}.npy"), self._array(f"labels/{name}.mask.npy")
        self._check_shape(f"labels/{name}.npy", values, self.frames_total)
        if values.shape != mask.shape:
            raise UserError(
                f"{self.path}/labels/{name}.mask.npy: shape {mask.shape}, expected {values.shape}."
            )
        return values, mask

    def require_features(self, names: Sequence[str]) -> None:
        """UserError naming the nearest feature for the first name that is not there."""
        for name in names:
            if name not in self.features:
                raise UserError(
                    f"{self.path} has no feature {name!r}. {nearest(name, self.features)}"
                )

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order of first appearance."""
        return tuple(dict.fromkeys(track.split for track in self.tracks))

    def split(self, name: str) -> np.ndarray:
        """int32: indices into `tracks` of one split, or of several joined by "+"."""
        wanted = name.split("+")
        for part in wanted:
            if part not in self.splits:
                raise UserError(f"{self.path} has no split {part!r}. {nearest(part, self.splits)}")
        return np.array([i for i, t in enumerate(self.tracks) if t.split in wanted], np.int32)

    def with_splits(self, split_of: Mapping[str, str]) -> Store:
        """The same store with tracks in other splits, {track: split}; the rest stay."""
        view = copy.copy(self)
        view.tracks = [
            dataclasses.replace(t, split=split_of.get(t.name, t.split)) for t in self.tracks
        ]
        return view

    def references(self, split: str) -> dict[str, dict[str, float]]:
        """{name: {score: value}} to print beside ours: an upper bound, a baseline."""
        file = self.path / "references.json"
        return json.loads(file.read_text()).get(split, {}) if file.is_file() else {}

    def _rows_of(self, feature: str) -> int:
        if self.features[feature].axis == "frame":
            return self.frames_total
        return sum(track.rows.get(feature, (0, 0))[1] for track in self.tracks)

    def _check_shape(
        self, file: str, array: np.ndarray, rows: int, size: int | None = None
    ) -> None:
        if array.shape[0] != rows or (size is not None and array.shape[1:] != (size,)):
            expected = (rows,) if size is None else (rows, size)
            raise UserError(
                f"{self.path / file}: shape {array.shape}, the manifest says {expected}. "
                "Prepare it again."
            )


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
