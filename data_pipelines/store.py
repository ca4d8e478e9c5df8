"""A store: features and labels of many tracks in one folder of flat, memory-mapped arrays.

    STORE/manifest.json             what is inside: features, labels, tracks, provenance
    STORE/frames.npy                int32 [N]: 1-based image number of each labelled frame
    STORE/features/<name>.npy       [rows, *shape], rows of a track together, in manifest order
    STORE/features/<name>.mask.npy  bool [rows], only where a feature has gaps (zeros there)
    STORE/features/<name>.spans.npy float64 [rows, 2] of a table: start and stop in frames
    STORE/labels/<name>.npy         values float32 [N, K], classes int32 [N], labels int8 [N, K]
    STORE/labels/<name>.mask.npy    bool, same shape: where the label exists
    STORE/references.json           optional scores beside ours: {split: {name: {score: x}}}

A feature has the shape of an item, a dtype (float32, float16, int16, uint8; a float is the stored
number times the feature's scale) and an axis: "frame", one row a labelled frame; "rate", so many
rows a second (`rate_hz`: audio samples, a faster or slower stream); or "table", rows that each
have a span: start and stop (excluded) in frames of the video, from 0 for its first image, ascending
by start. The rows of a track on the last two are counted in the manifest (`rows` of the track).
Rates may be fractions, "30000/1001". Labels follow the frames. Tracks, splits, groups, features and
labels have names that a file can have, and that are no paths; an output of a run (`run` of the
feature) is called <run>/<output>. A folder of this form is a store, whoever wrote it;
`data_pipelines.store_writer` is the easy way.
"""

from __future__ import annotations

import bisect
import copy
import dataclasses
import functools
import json
import math
import os
import pathlib
import shlex
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from data_pipelines.chunks import chunks
from data_pipelines.errors import UserError, nearest
from data_pipelines.files import forget, open_npy, readable, reason
from data_pipelines.paths import require_name, user_path
from data_pipelines.replace_folder import restore_folder
from data_pipelines.store_specs import (
    LABEL_DTYPES,
    LARGEST_FRAME,
    Feature,
    Label,
    Track,
    rate,
    read_specs,
    whole,
)

FORMAT = 1


class AnyStore:
    """Tracks, features and labels of a store: one folder (Store), or several joined.

    Attributes:
        path: the folder, or the folders joined by commas.
        features, labels: {name: what is said of it}.
        tracks: in the order of the frame-wise arrays.
        frames_total: rows N of the frame-wise arrays.
        frames: int32 [N], 1-based image numbers.
    """

    path: pathlib.Path
    name: str
    manifest: dict[str, Any]
    features: dict[str, Feature]
    labels: dict[str, Label]
    tracks: list[Track]
    frames_total: int
    frames: np.ndarray
    _parts: Mapping[str, Set[str]] = {}  # split that `with_splits` took apart: its parts

    def place(self, row: int) -> str:
        """Track, row in it and image of a row of the frame-wise arrays, for messages."""
        track = self.tracks[bisect.bisect_right(self.tracks, row, key=lambda t: t.offset) - 1]
        return f"track {track.name!r}, row {row - track.offset} (image {self.frames[row]})"

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
        """int32: indices into `tracks` of one split, or of several joined by "+".

        One that `with_splits` took apart is all of its parts.
        """
        wanted, known = set(), self.splits
        for part in name.split("+"):
            if part not in known and part not in self._parts:
                hint = nearest(part, known)
                if part.removeprefix("fold").isdecimal():
                    hint += (
                        " Folds are made of the split config.folds.cut, if the store has it: "
                        "config.folds.count of them, or as many as it has groups."
                    )
                raise UserError(f"{self.path} has no split {part!r}. {hint}")
            wanted |= {part, *self._parts.get(part, ())}
        return np.array([i for i, t in enumerate(self.tracks) if t.split in wanted], np.int32)

    def with_splits(self, split_of: Mapping[str, str]) -> AnyStore:
        """The same store with tracks in other splits, {track: split}; the rest stay."""
        view = copy.copy(self)
        view.tracks = [
            dataclasses.replace(t, split=split_of.get(t.name, t.split)) for t in self.tracks
        ]
        gone = {*self.splits} - {*view.splits}
        pairs = [(old.split, new.split) for old, new in zip(self.tracks, view.tracks)]
        view._parts = {old: {b for a, b in pairs if a == old} for old in gone}
        return view


class Store(AnyStore):
    """A store opened for reading. Arrays are memory maps, opened at first use (so it pickles)."""

    def __init__(self, path: str | os.PathLike):
        self.path = user_path(path)
        restore_folder(self.path)
        file = self.path / "manifest.json"
        with readable(file, "a store manifest", "Prepare it again."):
            self.manifest = json.loads(self._manifest_text(file))
            self._read(self.manifest)
        self._references = _read_references(self.path / "references.json")
        self._in_range: set[str] = set()  # labels that were looked through

    def _manifest_text(self, file: pathlib.Path) -> str:
        try:
            return file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            raise UserError(
                f"{self.path} is no store (no manifest.json). Fill one with: python -m "
                f"data_pipelines.prepare --source=NAME --input=FOLDER "
                f"--store={shlex.quote(str(self.path))}"
            ) from None
        except OSError as error:
            raise UserError(f"{file}: cannot be read: {reason(error)}.") from None

    def _read(self, manifest: dict[str, Any]) -> None:
        _typed(manifest, dict, "the manifest")
        if manifest.get("format") != FORMAT:
            raise ValueError(f"format {manifest.get('format')!r}, expected {FORMAT}")
        self.name: str = _typed(manifest["name"], str, "name")
        _typed(manifest.get("sha256", {}), dict, "sha256")
        where = str(self.path)
        self.features = read_specs(Feature, manifest["features"], where, given=False)
        self.labels = read_specs(Label, manifest["labels"], where, given=False)
        self.tracks: list[Track] = []
        offset, table = 0, dict.fromkeys(self.features, 0)
        names = set()
        for entry in _typed(manifest["tracks"], list, "tracks"):
            name = require_name(str(_typed(entry, dict, "a track")["name"]), f"{where}: track")
            what = f"track {name!r}"
            if name in names:
                raise ValueError(f"{what} comes twice")
            names.add(name)
            rows = {}
            for feature, count in _typed(entry.get("rows", {}), dict, f"{what}: rows").items():
                if feature not in table:
                    raise ValueError(f"{what}: rows of {feature!r}. {nearest(feature, table)}")
                rows[feature] = (table[feature], whole(count, f"{what}: rows", least=0))
                table[feature] += rows[feature][1]
            split, fps = entry["split"], entry.get("fps")
            if "+" in require_name(split, f"{where}: {what}: split"):
                raise ValueError(f"{what}: split {split!r}: a + joins splits")
            track = Track(
                name=name,
                split=split,
                group=require_name(str(entry.get("group", name)), f"{where}: {what}: group"),
                frames=whole(entry["frames"], f"{what}: frames", least=0, most=LARGEST_FRAME),
                offset=offset,
                fps=None if fps is None else rate(fps, f"{what}: fps"),
                rows=rows,
            )
            self.tracks.append(track)
            offset += track.frames
        self.frames_total = offset
        self._counts = table | {n: offset for n, f in self.features.items() if f.axis == "frame"}

    def __getstate__(self) -> dict[str, Any]:
        cached = {"frames", "_arrays"}
        return {k: v for k, v in self.__dict__.items() if k not in cached}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    @functools.cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        return {}

    def _array(self, relative: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        if relative not in self._arrays:
            file = self.path / relative
            array = open_npy(file, hint="Prepare it again.")
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

    @property
    def parts(self) -> tuple[Store, ...]:
        """The stores that this one is joined of; itself where it is not."""
        return (self,)

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """int32 [N]: 1-based image number of each row."""
        return self._array("frames.npy", (self.frames_total,), np.int32)

    def rows(self, name: str, track: int) -> slice:
        """Rows of the track of this index in `feature(name)`; none where it has none."""
        self.require_features([name])
        if self.features[name].axis == "frame":
            return self.tracks[track].span
        start, count = self.tracks[track].rows.get(name, (0, 0))
        return slice(start, start + count)

    def feature(self, name: str) -> np.ndarray:
        """[rows, *shape] memory map of the stored dtype."""
        self.require_features([name])
        feature = self.features[name]
        shape = self._counts[name], *feature.shape
        return self._array(f"features/{name}.npy", shape, np.dtype(feature.dtype))

    def feature_mask(self, name: str) -> np.ndarray | None:
        """bool [rows], or None where the feature has no gaps."""
        self.require_features([name])
        if not self.features[name].gaps:
            return None
        return self._array(f"features/{name}.mask.npy", (self._counts[name],), np.bool_)

    def spans(self, name: str) -> np.ndarray:
        """float64 [rows, 2] of a table: start and stop (excluded) in frames, 0 the first image."""
        self.require_features([name])
        if not self.features[name].spans:
            raise UserError(
                f"{self.path}: feature {name!r} on the axis {self.features[name].axis!r} has no "
                "spans; tables of a StoreWriter have. Prepare the store again as a table."
            )
        return self._array(f"features/{name}.spans.npy", (self._counts[name], 2), np.float64)

    def label(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels, mask) memory maps of one shape; labels are zero where the mask is False."""
        if name not in self.labels:
            raise UserError(f"{self.path} has no label {name!r}. {nearest(name, self.labels)}")
        label = self.labels[name]
        shape = label.rows(self.frames_total)
        values = self._array(f"labels/{name}.npy", shape, LABEL_DTYPES[label.kind])
        mask = self._array(f"labels/{name}.mask.npy", shape, np.bool_)
        if name not in self._in_range:
            self._check_range(label, values, mask)
            self._in_range.add(name)
        return values, mask

    def _check_range(self, label: Label, values: np.ndarray, mask: np.ndarray) -> None:
        """UserError for the first label that is none; at the first use, so before a training."""
        for start, part, part_mask in chunks(values, mask):
            wrong = part_mask & label.wrong(part)
            if wrong.any():
                row = int(np.argwhere(wrong)[0][0])
                raise UserError(
                    f"{self.path}/labels/{label.name}.npy: {part[row]} at "
                    f"{self.place(start + row)}, expected {label.expected}."
                )

    def references(self, split: str) -> dict[str, dict[str, float]]:
        """{name: {score: value}} to print beside ours: an upper bound, a baseline."""
        return self._references.get(split, {})


def _read_references(file: pathlib.Path) -> dict[str, dict[str, dict[str, float]]]:
    if not os.path.lexists(file):
        return {}
    with readable(file, "{split: {name: {score: number}}}", "Mend or delete it."):
        references = json.loads(file.read_text(encoding="utf-8"))
        for split, named in _typed(references, dict, "the file").items():
            for name, scores in _typed(named, dict, repr(split)).items():
                for score, value in _typed(scores, dict, repr(name)).items():
                    if not math.isfinite(_typed(value, (int, float), repr(score))):
                        raise ValueError(f"{score!r} is {value}, expected a number")
    return references


def _typed(value: Any, kind: type | tuple[type, ...], what: str) -> Any:
    """The value, or a ValueError where JSON holds something else."""
    if not isinstance(value, kind):
        named = {dict: "an object", list: "a list", str: "a text"}.get(kind, "a number")
        raise ValueError(f"{what} is {value!r:.50}, expected {named}")
    return value
