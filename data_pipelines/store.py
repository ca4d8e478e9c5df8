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
import pathlib
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.files import forget
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
        except (OSError, KeyError, TypeError, ValueError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else error
            raise UserError(f"{file}: not a store manifest ({why}). Prepare it again.") from None
        self._references = _read_references(self.path / "references.json")
        self._in_range: set[str] = set()  # labels that were looked through

    def _read(self, manifest: dict[str, Any]) -> None:
        _typed(manifest, dict, "the manifest")
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format {manifest.get('format')!r}, expected {FORMAT}")
        self.name: str = _typed(manifest["name"], str, "name")
        _typed(manifest.get("sha256", {}), dict, "sha256")
        self.features = _specs(manifest["features"], Feature, "features")
        self.labels = _specs(manifest["labels"], Label, "labels")
        for label in self.labels.values():
            if label.kind not in LABEL_DTYPES:
                raise ValueError(f"label {label.name!r} of kind {label.kind!r}")
        self.tracks: list[Track] = []
        offset, table = 0, dict.fromkeys(self.features, 0)
        names = set()
        for entry in _typed(manifest["tracks"], list, "tracks"):
            name = str(_typed(entry, dict, "a track")["name"])
            if name in names:
                raise ValueError(f"track {name!r} comes twice")
            names.add(name)
            rows = {}
            given = _typed(entry.get("rows", {}), dict, f"track {name!r}: rows")
            for feature, count in given.items():
                count = _count(count, 0, f"track {name!r}: rows of {feature!r}")
                rows[feature] = (table[feature], count)
                table[feature] += count
            track = Track(
                name=name,
                split=_typed(entry["split"], str, f"track {name!r}: split"),
                group=str(entry.get("group", name)),
                frames=_count(entry["frames"], 0, f"track {name!r}: frames"),
                offset=offset,
                fps=_typed(entry.get("fps"), (int, float, type(None)), f"track {name!r}: fps"),
                rows=rows,
            )
            self.tracks.append(track)
            offset += track.frames
        self.frames_total = offset

    def __getstate__(self) -> dict[str, Any]:
        cached = {"frames", "_arrays"}
        return {k: v for k, v in self.__dict__.items() if k not in cached}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _array(self, relative: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        if relative not in self._arrays:
            file = self.path / relative
            try:
                array = np.lib.format.open_memmap(file, mode="r")
            except (OSError, ValueError, OverflowError, SyntaxError, tokenize.TokenError) as error:
                raise UserError(f"{file}: cannot be read ({error}). Prepare it again.") from None
            if (array.shape, array.dtype) != (shape, dtype):
                raise UserError(
                    f"{file}: {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape}. "
                    "Prepare it again."
                )
            self._arrays[relative] = array
        return self._arrays[relative]

    def forget(self) -> None:
        """Give back the memory that reading the arrays has filled."""
        forget(*self._arrays.values())

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """int32 [N]: 1-based image number of each row."""
        return self._array("frames.npy", (self.frames_total,), np.int32)

    def feature(self, name: str) -> np.ndarray:
        """float32 [N, D] memory map (rows of its own for a "table" feature)."""
        self.require_features([name])
        shape = self._rows_of(name), self.features[name].size
        return self._array(f"features/{name}.npy", shape, np.float32)

    def feature_mask(self, name: str) -> np.ndarray | None:
        """bool [N], or None where the feature has no gaps."""
        self.require_features([name])
        if not self.features[name].gaps:
            return None
        return self._array(f"features/{name}.mask.npy", (self._rows_of(name),), np.bool_)

    def label(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels, mask) memory maps of one shape; labels are zero where the mask is False."""
        if name not in self.labels:
            raise UserError(f"{self.path} has no label {name!r}. {nearest(name, self.labels)}")
        label, total = self.labels[name], self.frames_total
        shape = (total,) if label.kind == "classes" else (total, label.size)
        values = self._array(f"labels/{name}.npy", shape, LABEL_DTYPES[label.kind])
        mask = self._array(f"labels/{name}.mask.npy", shape, np.bool_)
        if name not in self._in_range:
            self._check_range(label, values, mask)
            self._in_range.add(name)
        return values, mask

    def _check_range(self, label: Label, values: np.ndarray, mask: np.ndarray) -> None:
        """UserError for the first class, or 0/1 label, that is none; the first use of a label."""
        if label.kind == "values":
            return
        limit = label.size if label.kind == "classes" else 2
        for start in range(0, len(values), 1 << 14):  # in pieces: memory does not grow with them
            piece = values[start : start + (1 << 14)]
            wrong = mask[start : start + (1 << 14)] & ((piece < 0) | (piece >= limit))
            if wrong.any():
                row = start + int(np.argwhere(wrong)[0][0])
                raise UserError(
                    f"{self.path}/labels/{label.name}.npy: {values[row]} at {self.place(row)}, "
                    f"expected 0 to {limit - 1}."
                )

    def place(self, row: int) -> str:
        """Track and row in it of a row of the frame-wise arrays, for messages."""
        track = next(t for t in self.tracks if t.offset <= row < t.offset + t.frames)
        return f"track {track.name!r}, row {row - track.offset}"

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
        return self._references.get(split, {})

    def _rows_of(self, feature: str) -> int:
        if self.features[feature].axis == "frame":
            return self.frames_total
        return sum(track.rows.get(feature, (0, 0))[1] for track in self.tracks)


def _specs(table: Any, kind: type, what: str) -> dict[str, Any]:
    """{name: Feature or Label} of a table in the manifest; keys that we do not know are left."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    specs = {}
    for name, entry in _typed(table, dict, what).items():
        known = {k: v for k, v in _typed(entry, dict, repr(name)).items() if k in fields}
        for key, value in known.items():
            if fields[key].default == ():
                value = [value] if isinstance(value, str) else value
                known[key] = tuple(_typed(value, list, f"{name!r}: {key}"))
        specs[name] = kind(name=name, **known)
        _count(specs[name].size, 1, f"{name!r}: size")
    return specs


def _read_references(file: pathlib.Path) -> dict[str, dict[str, dict[str, float]]]:
    if not file.is_file():
        return {}
    try:
        references = json.loads(file.read_text())
        for split, named in _typed(references, dict, "the file").items():
            for name, scores in _typed(named, dict, repr(split)).items():
                for score, value in _typed(scores, dict, repr(name)).items():
                    _typed(value, (int, float), repr(score))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file}: expected {{split: {{name: {{score: number}}}}}} ({error}). Mend or delete it."
        ) from None
    return references


def _typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, or a ValueError where JSON holds something else."""
    if not isinstance(value, kind):
        named = {dict: "an object", list: "a list", str: "a text"}.get(kind, "a number")
        raise ValueError(f"{what} is {value!r:.50}, expected {named}")
    return value


def _count(value: Any, least: int, what: str) -> int:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{what} is {value!r:.50}, expected a whole number from {least}")
    return value
