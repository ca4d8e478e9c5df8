"""Prediction files: raw outputs for every frame of a split, one file a task.

    <folder>/<task>.npz    tracks [tracks] names, groups [tracks] names of what must not be split,
                           track int32 [N] (index into tracks), frame int32 [N] (1-based image
                           number), raw float32 [N, ...], and where the split is labelled
                           label and label_mask [N, ...]
    <folder>/scores.json   the scores of a labelled split
    <folder>/origin.json   which step of which run, and which data (affect_jax/places.py)

Frames of a track are together and ascending, tracks are in the order of their store. In a run the
folder is predictions/<split>, and tasks.json, which says what `raw` means, lies two folders above.
A folder that is handed on alone has its tasks.json inside.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from affect_jax.tasks import Task, from_json
from data_pipelines.errors import UserError
from data_pipelines.files import Npz, forget, readable
from data_pipelines.paths import require_name
from data_pipelines.store import Store, Track

ORIGIN = "origin.json"

# {array: (kinds of dtype, what they are, number of axes or 0 where that is the task's)}
ARRAYS = {
    "tracks": ("U", "names", 1),
    "track": ("iu", "whole numbers", 1),
    "frame": ("iu", "whole numbers", 1),
    "raw": ("fiu", "numbers", 0),
    "label": ("fiub", "numbers", 0),
    "label_mask": ("b", "True and False", 0),
    "groups": ("U", "names", 1),
}


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Raw predictions of one task for all frames of a split.

    Attributes:
        tracks: names of the tracks.
        track: int32 [N], index into `tracks`.
        frame: int32 [N], 1-based image number.
        raw: float32 [N, ...] as the model returned it.
        label, label_mask: [N, ...] of the store, or None where the split has no labels.
        groups: group of each track, or None in a file that does not say.
    """

    tracks: np.ndarray
    track: np.ndarray
    frame: np.ndarray
    raw: np.ndarray
    label: np.ndarray | None = None
    label_mask: np.ndarray | None = None
    groups: np.ndarray | None = None

    @classmethod
    def read(cls, path: str | os.PathLike) -> Predictions:
        """Predictions of a file, its arrays read only and mapped: memory holds what is used.

        UserError where it is no such npz, its arrays do not belong together, or a track has a
        name that no file can have.
        """
        about = path, "a file of predictions", "Write it again with --mode=predict."
        with Npz(*about) as file, readable(*about):
            known = {field.name: field.default for field in dataclasses.fields(cls)}
            for name, default in known.items():
                if default is dataclasses.MISSING and name not in file:
                    raise ValueError(f"it has no array {name!r}")
            found = cls(**{name: file.mapped(name) for name in known if name in file})
            found._check()
        found.forget()
        for name in found.tracks:
            require_name(str(name), f"{os.fspath(path)}: track")
        return found

    def _check(self) -> None:
        """ValueError where the arrays are not of their kinds or do not belong together."""
        for name, (kinds, expected, ndim) in ARRAYS.items():
            x = getattr(self, name)
            if x is None:
                continue
            if x.dtype.kind not in kinds:
                raise ValueError(f"{name} holds {x.dtype}, expected {expected}")
            if ndim and x.ndim != ndim:
                raise ValueError(f"{name} has {x.ndim} axes, expected {ndim}")
        for name in ("frame", "raw", "label", "label_mask"):
            x = getattr(self, name)
            if x is not None and len(x) != len(self.track):
                raise ValueError(f"{name} has {len(x)} rows, track {len(self.track)}")
        if (self.label is None) != (self.label_mask is None):
            raise ValueError("label and label_mask come together")
        if self.label is not None:
            if self.label_mask.shape != self.label.shape:
                raise ValueError(f"label_mask is {self.label_mask.shape}, label {self.label.shape}")
            for rows in _slices(len(self.label)):
                if not np.isfinite(self.label[rows][self.label_mask[rows]]).all():
                    raise ValueError("a label that exists is no number")
        if self.groups is not None and len(self.groups) != len(self.tracks):
            raise ValueError(f"{len(self.groups)} groups for {len(self.tracks)} tracks")
        names, counts = np.unique(self.tracks, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"track {str(names[counts.argmax()])!r} comes twice")
        last = 0
        for rows in _slices(len(self.track)):
            here = np.concatenate([[last], self.track[rows]])
            if (here[1:] < here[:-1]).any():
                raise ValueError("track must ascend, within the number of tracks")
            last = int(here[-1])
        if last > max(len(self.tracks) - 1, 0) or (len(self.track) and not len(self.tracks)):
            raise ValueError("track must ascend, within the number of tracks")

    def write(self, path: pathlib.Path) -> None:
        """Write the file; a kill leaves the old one or the new one."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        path.parent.mkdir(parents=True, exist_ok=True)
        _save(path, {k: (x.shape, x.dtype, [x]) for k, x in fields.items() if x is not None})

    def forget(self) -> None:
        """Give back the memory that reading the arrays has filled."""
        forget(self.track, self.frame, self.raw, self.label, self.label_mask)

    @property
    def bounds(self) -> np.ndarray:
        """int [tracks + 1]: the rows of track i are bounds[i] to bounds[i + 1]."""
        tracks = np.arange(len(self.tracks), dtype=self.track.dtype)
        return np.append(np.searchsorted(self.track, tracks), len(self.track))


Column = tuple[tuple[int, ...], np.dtype, Iterable[Any]]  # shape, type, its bytes in pieces


def _save(path: pathlib.Path, columns: Mapping[str, Column]) -> None:
    """Write what np.savez writes, piece by piece, so that memory holds one of them."""
    partial = path.with_name(f".{path.name}.partial")  # no *.npz: nobody takes it for one
    try:
        with zipfile.ZipFile(partial, "w") as archive:
            for name, (shape, dtype, pieces) in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
                    header = {"descr": descr, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, header)
                    for piece in pieces:
                        file.write(piece if isinstance(piece, bytes) else _bytes(piece, dtype))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _bytes(array: np.ndarray, dtype: np.dtype) -> bytes | memoryview:
    x = np.ascontiguousarray(array, dtype)
    return x.tobytes() if x.dtype.kind == "U" or not x.size else memoryview(x).cast("B")


def _slices(rows: int, size: int = 1 << 14) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, rows, size))


def splits(folder: str | os.PathLike) -> list[str]:
    """Names of the splits that have predictions below predictions/, sorted."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        return []
    # NAME.writing-XXXXXXXX is being written.
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and ".writing-" not in p.name)


def read_split(folder: pathlib.Path, tasks: Sequence[Task]) -> dict[Task, Predictions]:
    """The predictions of each task that has a file in the folder."""
    files = {task: folder / f"{task.name}.npz" for task in tasks}
    return {task: Predictions.read(file) for task, file in files.items() if file.is_file()}


def groups_of(predictions: Iterable[Predictions]) -> dict[str, str]:
    """{track: group}; a track of a file without groups is one by itself."""
    groups = {}
    for p in predictions:
        names = p.tracks if p.groups is None else p.groups
        groups |= {str(track): str(group) for track, group in zip(p.tracks, names)}
    return groups


def find_tasks(folder: str | os.PathLike) -> tuple[Task, ...]:
    """The task table of a folder of predictions: tasks.json in it, or up to two folders above."""
    folder = pathlib.Path(folder).resolve()
    for place in (folder, *folder.parents[:2]):
        file = place / "tasks.json"
        if file.is_file():
            # Bytes that are no text make it no task table, which is what is said then.
            return from_json(file.read_text(errors="replace"), str(file))
    raise UserError(
        f"{folder}: no tasks.json here or up to two folders above, so nobody knows what the "
        "predictions mean. Copy it from the run that made them."
    )


def write_split(
    folder: pathlib.Path,
    tasks: Sequence[Task],
    store: Store,
    indices: Sequence[int],
    tracks: Iterable[tuple[int, Mapping[str, np.ndarray]]],
) -> Iterator[tuple[int, Mapping[str, np.ndarray]]]:
    """Pass the tracks on and write <folder>/<task>.npz when they have all gone through.

    Raw outputs go to disk track by track, so memory does not grow with the split.

    Args:
        indices: of all tracks that will come, into `store.tracks`.
        tracks: (index, {task: [frames, ...]}), each track once, in any order.
    """
    chosen = [store.tracks[i] for i in sorted(indices)]
    ends = np.cumsum([track.frames for track in chosen])
    end_of = dict(zip(sorted(map(int, indices)), ends))
    folder.mkdir(parents=True, exist_ok=True)
    # Written, not mapped: a full disk is an OSError in a write, the end of the process in a map.
    spill = {task.name: folder / f".{task.name}.raw" for task in tasks}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(path.open("wb")) for name, path in spill.items()}
            for index, raw in tracks:
                for name, file in files.items():
                    x = np.ascontiguousarray(raw[name], np.float32)
                    shapes[name] = (int(ends[-1]), *x.shape[1:])
                    file.seek((end_of[index] - len(x)) * x[:1].nbytes)
                    file.write(x)
                yield index, raw
                store.forget()
        for task in tasks:
            with spill[task.name].open("rb") as raw_file:
                columns = _columns(task, store, chosen)
                columns["raw"] = shapes[task.name], np.dtype(np.float32), _blocks(raw_file)
                order = (field.name for field in dataclasses.fields(Predictions))
                known = {name: columns[name] for name in order if name in columns}
                _save(folder / f"{task.name}.npz", known)
            store.forget()
            spill[task.name].unlink()
    finally:
        for path in spill.values():
            path.unlink(missing_ok=True)


def _columns(task: Task, store: Store, tracks: Sequence[Track]) -> dict[str, Column]:
    """Columns of a file beside the raw outputs, read track by track when it is written."""
    rows = [slice(track.offset, track.offset + track.frames) for track in tracks]
    total = sum(track.frames for track in tracks)
    names = np.array([track.name for track in tracks])
    groups = np.array([track.group for track in tracks])
    index = (np.full(track.frames, i, np.int32) for i, track in enumerate(tracks))
    columns: dict[str, Column] = {
        "tracks": (names.shape, names.dtype, [names]),
        "groups": (groups.shape, groups.dtype, [groups]),
        "track": ((total,), np.dtype(np.int32), index),
        "frame": ((total,), store.frames.dtype, (store.frames[r] for r in rows)),
    }
    if task.name in store.labels:
        values, mask = store.label(task.name)
        if any(mask[r].any() for r in rows):
            shape = (total, *values.shape[1:])
            columns["label"] = shape, values.dtype, (values[r] for r in rows)
            columns["label_mask"] = shape, mask.dtype, (mask[r] for r in rows)
    return columns


def _blocks(file: BinaryIO, size: int = 1 << 18) -> Iterator[bytes]:
    while block := file.read(size):
        yield block
