"""Writing a store, track by track. What lies in its folder: data_pipelines/store.py."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path
from data_pipelines.store import FORMAT, LABEL_DTYPES, Feature, Label


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
        self.path = user_path(path)
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
        self.not_finite: dict[str, list[str]] = {}

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
            if not np.isfinite(x).all():
                self.not_finite.setdefault(f.name, []).append(track)
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
