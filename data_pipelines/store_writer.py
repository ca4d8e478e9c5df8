"""Writing a store, track by track. What lies in its folder: data_pipelines/store.py."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.given_arrays import given_frames
from data_pipelines.growing_array import GrowingArray
from data_pipelines.paths import require_name, user_path
from data_pipelines.replace_folder import replace_folder
from data_pipelines.store import FORMAT
from data_pipelines.store_specs import (
    LABEL_DTYPES,
    LARGEST_FRAME,
    Feature,
    Label,
    rate,
    read_specs,
)
from data_pipelines.track_arrays import feature_arrays, given_feature, given_labels, label_arrays

_OWN_KEYS = ("format", "features", "labels", "sha256", "tracks")  # of the manifest


class StoreWriter:
    """Writes a store track by track; the folder appears, complete, when the block ends.

        with StoreWriter("mine", name="mine", features={"face": dict(size=512)},
                         labels={"valence": dict(kind="values", size=1)}) as writer:
            writer.add(track="a", split="train", features={"face": x}, labels={"valence": v})

    An exception inside the block leaves an existing store as it was.

    Attributes:
        not_finite: {feature: tracks in which it holds NaN or infinity}, of those added so far.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        name: str,
        features: Mapping[str, Mapping[str, Any]],
        labels: Mapping[str, Mapping[str, Any]],
        **provenance: Any,
    ):
        self.path = refuse_others(path)
        if not isinstance(name, str):
            raise UserError(f"{self.path}: name is {name!r:.50}, expected a text.")
        try:
            self._features = read_specs(Feature, features, str(self.path), given=True)
            self._labels = read_specs(Label, labels, str(self.path), given=True)
        except ValueError as error:
            raise UserError(f"{self.path}: {str(error).rstrip('.')}.") from None
        for key in (*self._features, *self._labels):
            if key.endswith(".mask"):
                raise UserError(f"{self.path}: {key!r}: files of masks are called so; rename.")
        for key, value in provenance.items():
            _check_provenance(self.path, key, value)
        self._provenance = provenance
        self._name = name
        self._tracks: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self._with_gaps: set[str] = set()
        self.not_finite: dict[str, list[str]] = {}

    def __enter__(self) -> StoreWriter:
        self._replacing = replace_folder(self.path)
        self._folder = self._replacing.__enter__()
        self._files: dict[str, GrowingArray] = {}
        try:
            self._open()
        except BaseException:
            self._discard(*sys.exc_info())
            raise
        return self

    def _open(self) -> None:
        for part in ("features", "labels"):
            (self._folder / part).mkdir()
        self._files = {"frames": GrowingArray(self._folder / "frames.npy", np.int32, ())}
        for f in self._features.values():
            file = self._folder / "features" / f"{f.name}.npy"
            self._files[f"features/{f.name}"] = GrowingArray(file, np.float32, (f.size,))
            file = self._folder / "features" / f"{f.name}.mask.npy"
            self._files[f"features/{f.name}.mask"] = GrowingArray(file, np.bool_, ())
        for label in self._labels.values():
            tail = () if label.kind == "classes" else (label.size,)
            file = self._folder / "labels" / f"{label.name}.npy"
            self._files[f"labels/{label.name}"] = GrowingArray(file, LABEL_DTYPES[label.kind], tail)
            file = self._folder / "labels" / f"{label.name}.mask.npy"
            self._files[f"labels/{label.name}.mask"] = GrowingArray(file, np.bool_, tail)

    def add(
        self,
        *,
        track: str,
        split: str,
        features: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray | tuple[np.ndarray, np.ndarray]] | None = None,
        feature_masks: Mapping[str, np.ndarray] | None = None,
        frames: np.ndarray | None = None,
        group: str | None = None,
        fps: float | None = None,
    ) -> None:
        """Append a track.

        Arrays may be of any real type and byte order, lists, or tables; text is refused. What a
        mask of numpy hides, None and pandas.NA are missing labels, as NaN is.

        Args:
            features: {name: [T, D]} in the units of the extractor; one left out becomes a gap.
            labels: {name: [T, K] or [T]} or (labels, mask); one left out is missing in every
                frame.
            feature_masks: {name: bool [T]}, False where the feature does not exist.
            frames: int [T], 1-based image numbers, ascending; default 1..T.
            group: what must not be split; default the track's name.
            fps: frames a second.

        Raises:
            UserError: what does not fit, by track, argument and row.
        """
        track = _name(track, "track")
        split = _name(split, f"track {track!r}: split")
        group = track if group is None else _name(group, f"track {track!r}: group")
        if track in self._names:
            raise UserError(f"track {track!r} comes twice. Names must be unique in a store.")
        if "+" in split:
            raise UserError(f"split {split!r}: a + joins splits, it cannot be in a name.")
        labels = {} if labels is None else labels
        masks = {} if feature_masks is None else feature_masks
        for given, known, what in (
            (features, self._features, "feature"),
            (labels, self._labels, "label"),
            (masks, self._features, "feature (of a mask)"),
        ):
            if not isinstance(given, Mapping):
                raise UserError(f"track {track!r}: {what}: expected {{name: array}}.")
            for name in given:
                if name not in known:
                    raise UserError(
                        f"track {track!r}: unknown {what} {name!r}. {nearest(name, known)}"
                    )
        x_of = {name: given_feature(track, name, x) for name, x in features.items()}
        y_of = {name: given_labels(track, name, y) for name, y in labels.items()}
        numbers = None
        if frames is not None:
            numbers = given_frames(frames, LARGEST_FRAME, f"track {track!r}: frames")
        total, counted = self._length(track, numbers, x_of, y_of)
        if total == 0:
            raise UserError(f"track {track!r}: has no frames.")

        entry = {"name": track, "split": split, "group": group, "frames": total}
        if fps is not None:
            try:
                entry["fps"] = rate(fps, f"track {track!r}: fps")
            except ValueError as error:
                raise UserError(f"{error}.") from None
        arrays = {"frames": np.arange(1, total + 1) if numbers is None else numbers}
        for f in self._features.values():
            x, present = feature_arrays(
                track, f, x_of.get(f.name), masks.get(f.name), total, counted
            )
            if not np.isfinite(x).all():
                self.not_finite.setdefault(f.name, []).append(track)
            if not present.all():
                self._with_gaps.add(f.name)
            if f.axis != "frame":
                entry.setdefault("rows", {})[f.name] = len(x)
            arrays[f"features/{f.name}"], arrays[f"features/{f.name}.mask"] = x, present
        for label in self._labels.values():
            values, mask = label_arrays(track, label, y_of.get(label.name), total)
            arrays[f"labels/{label.name}"], arrays[f"labels/{label.name}.mask"] = values, mask
        for key, array in arrays.items():
            self._files[key].append(array)
        self._names.add(track)
        self._tracks.append(entry)

    def _length(
        self, track: str, numbers: np.ndarray | None, x_of: Mapping, y_of: Mapping
    ) -> tuple[int, str]:
        """(frames of a track, what they were counted in)."""
        if numbers is not None:
            return len(numbers), f"{len(numbers)} frames"
        for name, (values, _) in y_of.items():
            if values.ndim:
                return len(values), f"label {name!r} has shape {values.shape}"
        for name, x in x_of.items():
            if self._features[name].axis == "frame" and x.ndim:
                return len(x), f"feature {name!r} has shape {x.shape}"
        raise UserError(f"track {track!r}: no frames, labels or frame-wise features to count.")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._discard(kind, error, trace)
            return
        try:
            self._complete()
        except BaseException:
            self._discard(*sys.exc_info())
            raise
        self._replacing.__exit__(None, None, None)

    def _discard(self, *exception: Any) -> None:
        for file in self._files.values():
            file.abandon()
        self._replacing.__exit__(*exception)

    def _complete(self) -> None:
        """Ends the files and writes the manifest."""
        hashes = {key: file.close() for key, file in self._files.items()}
        features, labels = {}, {}
        for f in self._features.values():
            gaps = f.name in self._with_gaps
            if not gaps:
                (self._folder / "features" / f"{f.name}.mask.npy").unlink()
                del hashes[f"features/{f.name}.mask"]
            digest = hashes.pop(f"features/{f.name}")
            features[f.name] = _entry(dataclasses.replace(f, gaps=gaps, sha256=digest))
        for label in self._labels.values():
            digest = hashes.pop(f"labels/{label.name}")
            labels[label.name] = _entry(dataclasses.replace(label, sha256=digest))
        manifest = {
            "format": FORMAT,
            "name": self._name,
            **self._provenance,
            "features": features,
            "labels": labels,
            "sha256": {f"{key}.npy": digest for key, digest in hashes.items()},  # frames, masks
            "tracks": self._tracks,
        }
        (self._folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def refuse_others(path: str | os.PathLike) -> pathlib.Path:
    """The path of a store to be written. UserError for what is there and is no store."""
    path = user_path(path)
    if path.exists() and not (path / "manifest.json").is_file():
        if not path.is_dir() or any(path.iterdir()):
            raise UserError(f"{path} exists and is no store. Give another --store.")
    return path


def _entry(spec: Feature | Label) -> dict[str, Any]:
    entry = dataclasses.asdict(spec)
    entry.pop("name")
    return {k: v for k, v in entry.items() if v not in (None, "", ())}


def _name(name: Any, what: str) -> str:
    """A name that files may have; a number is its digits."""
    if isinstance(name, (int, np.integer)) and not isinstance(name, bool):
        name = str(name)
    return str(require_name(name, what))


def _check_provenance(path: pathlib.Path, key: str, value: Any) -> None:
    if key in _OWN_KEYS:
        raise UserError(f"{path}: {key} is the manifest's own. Give it another name.")
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: {key} cannot be written as JSON ({error}).") from None
