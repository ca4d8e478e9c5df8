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
A folder of this form is a store, whoever wrote it; `StoreWriter` is the easy way.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest

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
        self.path = pathlib.Path(path).expanduser()
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


class StoreWriter:
    """Writes a store track by track; the folder appears, complete, when the block ends.

        with StoreWriter("mine", name="mine", features={"face": dict(size=512)},
                         labels={"valence": dict(kind="values", size=1)}) as writer:
            writer.add(track="a", split="train", features={"face": x}, labels={"valence": v})

    An exception inside the block leaves an existing store as it was.
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
        self.path = pathlib.Path(path).expanduser()
        if self.path.exists() and not (self.path / "manifest.json").is_file():
            if not self.path.is_dir() or any(self.path.iterdir()):
                raise UserError(f"{self.path} exists and is no store. Give another --store.")
        self._folder = self.path.with_name(f"{self.path.name}.writing-{os.getpid()}")
        self._old = self.path.with_name(f"{self.path.name}.old-{os.getpid()}")
        self._features = {k: Feature(name=k, **v) for k, v in features.items()}
        self._labels = {k: Label(name=k, **v) for k, v in labels.items()}
        for label in self._labels.values():
            if label.kind not in LABEL_DTYPES:
                hint = nearest(label.kind, LABEL_DTYPES)
                raise UserError(f"label {label.name!r}: kind {label.kind!r}. {hint}")
        self._provenance = provenance
        self._name = name
        self._tracks: list[dict[str, Any]] = []
        self._names: set[str] = set()

    def __enter__(self) -> StoreWriter:
        # Process numbers come again: a killed process may have left folders of these names.
        for leftover in (self._folder, self._old):
            shutil.rmtree(leftover, ignore_errors=True)
        (self._folder / "features").mkdir(parents=True)
        (self._folder / "labels").mkdir()
        self._files = {"frames": _Growing(self._folder / "frames.npy", np.int32, ())}
        for f in self._features.values():
            file = self._folder / "features" / f"{f.name}.npy"
            self._files[f"features/{f.name}"] = _Growing(file, np.float32, (f.size,))
            file = self._folder / "features" / f"{f.name}.mask.npy"
            self._files[f"features/{f.name}.mask"] = _Growing(file, np.bool_, ())
        for label in self._labels.values():
            tail = () if label.kind == "classes" else (label.size,)
            file = self._folder / "labels" / f"{label.name}.npy"
            self._files[f"labels/{label.name}"] = _Growing(file, LABEL_DTYPES[label.kind], tail)
            file = self._folder / "labels" / f"{label.name}.mask.npy"
            self._files[f"labels/{label.name}.mask"] = _Growing(file, np.bool_, tail)
        return self

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

        Args:
            features: {name: [T, D]} in the units of the extractor; one left out becomes a gap.
            labels: {name: [T, K] or [T]} or (labels, mask); NaN in float labels means missing;
                one left out is missing in every frame.
            feature_masks: {name: bool [T]}, False where the feature does not exist.
            frames: int [T], 1-based image numbers, ascending; default 1..T.
            group: what must not be split; default the track's name.
        """
        labels, masks = labels or {}, feature_masks or {}
        if track in self._names:
            raise UserError(f"track {track!r} comes twice. Names must be unique in a store.")
        if "+" in split:
            raise UserError(f"split {split!r}: a + joins splits, it cannot be in a name.")
        for given, known, what in (
            (features, self._features, "feature"),
            (labels, self._labels, "label"),
            (masks, self._features, "feature (of a mask)"),
        ):
            for name in given:
                if name not in known:
                    raise UserError(
                        f"track {track!r}: unknown {what} {name!r}. {nearest(name, known)}"
                    )
        total = self._length(track, frames, features, labels)
        if total == 0:
            raise UserError(f"track {track!r}: has no frames.")
        numbers = np.arange(1, total + 1) if frames is None else np.asarray(frames)
        if numbers.shape != (total,) or (np.diff(numbers) <= 0).any() or (numbers < 1).any():
            raise UserError(f"track {track!r}: frames must be {total} ascending numbers from 1.")

        entry = {"name": track, "split": split, "group": group or track, "frames": total}
        if fps is not None:
            entry["fps"] = float(fps)
        arrays = {"frames": numbers}
        for f in self._features.values():
            x = features.get(f.name)
            rows = total if f.axis == "frame" else (0 if x is None else len(x))
            present = np.full(rows, x is not None)
            x = np.zeros((rows, f.size), np.float32) if x is None else np.asarray(x, np.float32)
            if x.shape != (rows, f.size):
                raise UserError(
                    f"track {track!r}, feature {f.name!r}: shape {x.shape}, expected "
                    f"{(rows, f.size)} ({total} labelled frames)."
                )
            if f.name in masks:
                mask = np.asarray(masks[f.name], bool)
                if mask.shape != (rows,):
                    raise UserError(
                        f"track {track!r}, mask of feature {f.name!r}: shape {mask.shape}, "
                        f"expected {(rows,)}."
                    )
                present &= mask
                x = np.where(present[:, None], x, np.float32(0))
            if f.axis != "frame":
                entry.setdefault("rows", {})[f.name] = rows
            arrays[f"features/{f.name}"], arrays[f"features/{f.name}.mask"] = x, present
        for label in self._labels.values():
            values, mask = _label_arrays(track, label, labels.get(label.name), total)
            arrays[f"labels/{label.name}"], arrays[f"labels/{label.name}.mask"] = values, mask
        for key, array in arrays.items():
            self._files[key].append(array)
        self._names.add(track)
        self._tracks.append(entry)

    def _length(self, track: str, frames: Any, features: Mapping, labels: Mapping) -> int:
        if frames is not None:
            return len(frames)
        for value in labels.values():
            return len(value[0] if isinstance(value, tuple) else value)
        for name, x in features.items():
            if self._features[name].axis == "frame":
                return len(x)
        raise UserError(f"track {track!r}: no frames, labels or frame-wise features to count.")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._commit()
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        for file in self._files.values():
            file.abandon()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _commit(self) -> None:
        hashes = {key: file.close() for key, file in self._files.items()}
        features, labels = {}, {}
        for f in self._features.values():
            mask = self._folder / "features" / f"{f.name}.mask.npy"
            gaps = not np.load(mask).all()
            if not gaps:
                mask.unlink()
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
        if self.path.exists():
            self.path.rename(self._old)
        self._folder.rename(self.path)
        shutil.rmtree(self._old, ignore_errors=True)


def _entry(spec: Feature | Label) -> dict[str, Any]:
    entry = dataclasses.asdict(spec)
    entry.pop("name")
    return {k: v for k, v in entry.items() if v not in (None, "", ())}


def _label_arrays(
    track: str, label: Label, value: Any, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """(labels, mask) of the store's dtype and shape; zeros where there is no label."""
    shape = (total,) if label.kind == "classes" else (total, label.size)
    dtype = LABEL_DTYPES[label.kind]
    if value is None:
        return np.zeros(shape, dtype), np.zeros(shape, bool)
    values, mask = value if isinstance(value, tuple) else (value, None)
    values = np.asarray(values)
    if values.shape == (total,) and shape == (total, 1):
        values = values[:, None]
    mask = np.ones(values.shape, bool) if mask is None else np.asarray(mask, bool)
    if mask.shape == (total,) and len(shape) == 2:
        mask = np.broadcast_to(mask[:, None], shape)
    if values.shape != shape or mask.shape != shape:
        raise UserError(
            f"track {track!r}, label {label.name!r}: labels {values.shape} and mask {mask.shape}, "
            f"expected {shape}."
        )
    if np.issubdtype(values.dtype, np.floating):
        mask = mask & ~np.isnan(values)
    values = np.where(mask, values, 0)
    # Before the cast, which would wrap 256 to 0 and cut 1.5 to 1.
    if label.kind == "values":
        wrong, expected = ~np.isfinite(values), "a finite number"
    else:
        limit = label.size if label.kind == "classes" else 2
        wrong = (values < 0) | (values >= limit) | (values % 1 != 0)
        expected = f"0 to {limit - 1}"
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise UserError(
            f"track {track!r}, label {label.name!r}, row {place[0]}: {values[place]}, "
            f"expected {expected}."
        )
    return values.astype(dtype), mask


class _Growing:
    """A .npy file that grows along its first axis; numpy reserves room to rewrite the header."""

    def __init__(self, path: pathlib.Path, dtype: Any, tail: tuple[int, ...]):
        self.dtype, self.tail, self.rows = np.dtype(dtype), tail, 0
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._hash = hashlib.sha256()
        self._header()

    def _header(self) -> None:
        self._file.seek(0)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.tail)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array, self.dtype)
        raw = data.tobytes()
        self._file.write(raw)
        self._hash.update(raw)
        self.rows += len(data)

    def abandon(self) -> None:
        """Close without caring what is on disk, which may be full."""
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> str:
        """Write the final header; the SHA-256 of the array's bytes."""
        if not self._file.closed:
            self._header()
            self._file.close()
        return self._hash.hexdigest()
