"""Writing a store, track by track. What lies in its folder: data_pipelines/store.py."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.given_arrays import given_frames
from data_pipelines.paths import require_name, user_path
from data_pipelines.replace_folder import replace_folder
from data_pipelines.store import FORMAT
from data_pipelines.store_files import StoreFiles
from data_pipelines.store_specs import (
    LARGEST_FRAME,
    Feature,
    Label,
    entry_of,
    rate,
    rate_entry,
    read_specs,
)
from data_pipelines.track_arrays import (
    feature_pieces,
    given_feature,
    given_labels,
    given_spans,
    label_arrays,
)

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
        where = str(self.path)
        try:
            self._features = {
                name: dataclasses.replace(f, spans=f.axis == "table")
                for name, f in read_specs(Feature, features, where, given=True).items()
            }
            self._labels = read_specs(Label, labels, where, given=True)
        except ValueError as error:
            raise UserError(f"{self.path}: {str(error).rstrip('.')}.") from None
        for key in (*self._features, *self._labels):
            if key.endswith((".mask", ".spans")):
                raise UserError(
                    f"{self.path}: {key!r}: files of masks and spans are called so; rename."
                )
        for key, value in provenance.items():
            _check_provenance(self.path, key, value)
        self._provenance = provenance
        self._name = name
        self._tracks: list[dict[str, Any]] = []
        self._names: set[str] = set()
        self.not_finite: dict[str, list[str]] = {}

    def __enter__(self) -> StoreWriter:
        self._replacing = replace_folder(self.path)
        self._folder = self._replacing.__enter__()
        try:
            self._files = StoreFiles(self._folder, self._features, self._labels)
        except BaseException:
            self._replacing.__exit__(*sys.exc_info())
            raise
        return self

    def add(
        self,
        *,
        track: str,
        split: str,
        features: Mapping[str, np.ndarray | Iterator[np.ndarray]],
        labels: Mapping[str, np.ndarray | tuple[np.ndarray, np.ndarray]] | None = None,
        feature_masks: Mapping[str, np.ndarray] | None = None,
        spans: Mapping[str, np.ndarray] | None = None,
        frames: np.ndarray | None = None,
        group: str | None = None,
        fps: float | str | Fraction | None = None,
    ) -> None:
        """Append a track. One that is refused leaves nothing of itself in the store.

        Arrays may be of any real type and byte order, lists, or tables; text is refused. What a
        mask of numpy hides, None and pandas.NA are missing labels, as NaN is.

        Args:
            features: {name: [T, *shape]}, or [rows, *shape] on another axis than "frame", in the
                units of the extractor or, of integers, as they are stored. Or an iterator of such
                arrays, which are joined: each is written before the next is asked for. Of one left
                out, frames are a gap and other rows not there.
            labels: {name: [T, K] or [T]} or (labels, mask); one left out is missing in every
                frame.
            feature_masks: {name: bool [rows]}, False where the feature does not exist.
            spans: {name: [rows, 2]} of every table: start and stop (excluded) in frames, 0 for the
                first image, ascending by start.
            frames: int [T], 1-based image numbers, ascending; default 1..T.
            group: what must not be split; default the track's name.
            fps: frames a second; 29.97 and its like are exact, as is "30000/1001".

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
        spans = {} if spans is None else spans
        tables = {name: f for name, f in self._features.items() if f.spans}
        for given, known, what in (
            (features, self._features, "feature"),
            (labels, self._labels, "label"),
            (masks, self._features, "feature (of a mask)"),
            (spans, tables, "table (of spans)"),
        ):
            if not isinstance(given, Mapping):
                raise UserError(f"track {track!r}: {what}: expected {{name: array}}.")
            for name in given:
                if name not in known:
                    raise UserError(
                        f"track {track!r}: unknown {what} {name!r}. {nearest(name, known)}"
                    )
        entry: dict[str, Any] = {"name": track, "split": split, "group": group}
        if fps is not None:
            try:
                rate(fps, f"track {track!r}: fps")
            except ValueError as error:
                raise UserError(f"{error}.") from None
            entry["fps"] = rate_entry(fps)
        x_of = {name: given_feature(track, name, x) for name, x in features.items()}
        y_of = {name: given_labels(track, name, y) for name, y in labels.items()}
        numbers = None
        if frames is not None:
            numbers = given_frames(frames, LARGEST_FRAME, f"track {track!r}: frames")

        with self._files.track():
            not_finite = self._append(entry, numbers, x_of, y_of, masks, spans)
        for name in not_finite:
            self.not_finite.setdefault(name, []).append(track)
        self._names.add(track)
        self._tracks.append(entry)

    def _append(
        self,
        entry: dict[str, Any],
        numbers: np.ndarray | None,
        x_of: Mapping[str, Any],
        y_of: Mapping[str, Any],
        masks: Mapping[str, Any],
        spans: Mapping[str, Any],
    ) -> list[str]:
        """Append the track, its frames and rows to the entry; the features that are not finite."""
        track, counts, not_finite = entry["name"], {}, []
        total, counted = self._length(track, numbers, x_of, y_of)

        def append(f: Feature) -> None:
            pieces = feature_pieces(track, f, x_of.get(f.name), masks.get(f.name), total, counted)
            counts[f.name], finite = self._files.append_feature(f.name, pieces)
            if not finite:
                not_finite.append(f.name)

        if total is None:
            append(self._features[counted])
            total, counted = counts[counted], f"feature {counted!r} has {counts[counted]} rows"
        if total == 0:
            raise UserError(f"track {track!r}: has no frames.")
        self._files.append("frames", np.arange(1, total + 1) if numbers is None else numbers)
        for f in self._features.values():
            if f.name not in counts:
                append(f)
            if f.spans and (counts[f.name] or f.name in spans):
                rows = given_spans(track, f.name, spans.get(f.name), counts[f.name])
                self._files.append(f"features/{f.name}.spans", rows)
        for label in self._labels.values():
            values, mask = label_arrays(track, label, y_of.get(label.name), total)
            self._files.append(f"labels/{label.name}", values)
            self._files.append(f"labels/{label.name}.mask", mask)
        entry["frames"] = total
        rows = {n: counts[n] for n, f in self._features.items() if f.axis != "frame"}
        if rows:
            entry["rows"] = rows
        return not_finite

    def _length(
        self, track: str, numbers: np.ndarray | None, x_of: Mapping, y_of: Mapping
    ) -> tuple[int | None, str]:
        """(frames of a track, what they were counted in); (None, a feature): count its pieces."""
        if numbers is not None:
            return len(numbers), f"{len(numbers)} frames"
        for name, (values, _) in y_of.items():
            if values.ndim:
                return len(values), f"label {name!r} has shape {values.shape}"
        frame_wise = {n: x for n, x in x_of.items() if self._features[n].axis == "frame"}
        for name, x in frame_wise.items():
            if not isinstance(x, Iterator) and x.ndim:
                return len(x), f"feature {name!r} has shape {x.shape}"
        for name, x in frame_wise.items():
            if isinstance(x, Iterator):
                return None, name
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
        self._files.abandon()
        self._replacing.__exit__(*exception)

    def _complete(self) -> None:
        """Ends the files and writes the manifest."""
        hashes = self._files.close()
        features, labels = {}, {}
        for name, f in self._features.items():
            gaps, digest = f"features/{name}.mask" in hashes, hashes.pop(f"features/{name}")
            features[name] = entry_of(dataclasses.replace(f, gaps=gaps, sha256=digest))
        for name, label in self._labels.items():
            digest = hashes.pop(f"labels/{name}")
            labels[name] = entry_of(dataclasses.replace(label, sha256=digest))
        manifest = {
            "format": FORMAT,
            "name": self._name,
            **self._provenance,
            "features": features,
            "labels": labels,
            # Of frames, masks and spans.
            "sha256": {f"{key}.npy": digest for key, digest in hashes.items()},
            "tracks": self._tracks,
        }
        (self._folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def refuse_others(path: str | os.PathLike) -> pathlib.Path:
    """The path of a store to be written. UserError for what is there and is no store."""
    path = user_path(path)
    if path.exists() and not (path / "manifest.json").is_file():
        if not path.is_dir() or any(path.iterdir()):
            raise UserError(f"{path} exists and is no store. Name another folder.")
    return path


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
