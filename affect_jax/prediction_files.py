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
import math
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from affect_jax.tasks import Task, from_json, scored
from data_pipelines.errors import UserError
from data_pipelines.files import Npz, forget, readable
from data_pipelines.paths import require_name
from data_pipelines.replace_file import replace_file
from data_pipelines.store import Store, Track

ORIGIN = "origin.json"
PIECE = 1 << 14  # rows that are read together
TOGETHER = 1 << 8  # frames of short tracks that are looked at together

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
            predictions = cls(**{name: file.mapped(name) for name in known if name in file})
            predictions._check()
        predictions.forget()
        where = f"{os.fspath(path)}: track"
        for name in predictions.tracks:
            require_name(str(name), where)
        return predictions

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
            for rows in pieces(len(self.label)):
                if not np.isfinite(self.label[rows][self.label_mask[rows]]).all():
                    raise ValueError("a label that exists is no number")
        if self.groups is not None and len(self.groups) != len(self.tracks):
            raise ValueError(f"{len(self.groups)} groups for {len(self.tracks)} tracks")
        names, counts = np.unique(self.tracks, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"track {str(names[counts.argmax()])!r} comes twice")
        last = 0
        for rows in pieces(len(self.track)):
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
    with replace_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, (shape, dtype, parts) in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
                header = {"descr": descr, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for part in parts:
                    file.write(part if isinstance(part, bytes) else _bytes(part, dtype))


def _bytes(array: np.ndarray, dtype: np.dtype) -> bytes | memoryview:
    x = np.ascontiguousarray(array, dtype)
    return x.tobytes() if x.dtype.kind == "U" or not x.size else memoryview(x).cast("B")


def pieces(rows: int) -> Iterator[slice]:
    """Slices of PIECE rows, the last one shorter."""
    return (slice(start, start + PIECE) for start in range(0, rows, PIECE))


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
    """The tasks of a folder of predictions, by the tasks.json in it or up to two folders above."""
    folder = pathlib.Path(folder).resolve()
    for place in (folder, *folder.parents[:2]):
        file = place / "tasks.json"
        if file.is_file():
            # Bytes that are no text make it no task table, which is what is said then.
            return scored(from_json(file.read_text(errors="replace"), str(file)))
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
    order = sorted(map(int, indices))
    chosen = [store.tracks[i] for i in order]
    ends = np.cumsum([track.frames for track in chosen])
    end_of = dict(zip(order, ends.tolist()))
    folder.mkdir(parents=True, exist_ok=True)
    # Written, not mapped: a full disk is an OSError in a write, the end of the process in a map.
    spill = {task.name: folder / f".{task.name}.raw" for task in tasks}
    shapes: dict[str, tuple[int, ...]] = {}
    try:
        with contextlib.ExitStack() as stack:
            files = {name: stack.enter_context(path.open("wb")) for name, path in spill.items()}
            last, frames = 0, 0  # where the track before ended; frames since memory was given back
            for index, raw in tracks:
                for name, file in files.items():
                    x = np.ascontiguousarray(raw[name], np.float32)
                    shapes[name] = (int(ends[-1]), *x.shape[1:])
                    if last != (start := end_of[index] - len(x)):  # a seek writes the buffer out
                        file.seek(start * math.prod(x.shape[1:]) * x.itemsize)
                    file.write(x)
                last, frames = end_of[index], frames + store.tracks[index].frames
                yield index, raw
                if frames >= TOGETHER:
                    store.forget()
                    frames = 0
        for task in tasks:
            with spill[task.name].open("rb") as raw_file:
                columns = _columns(task, store, chosen, ends)
                columns["raw"] = shapes[task.name], np.dtype(np.float32), _blocks(raw_file)
                names = (field.name for field in dataclasses.fields(Predictions))
                known = {name: columns[name] for name in names if name in columns}
                _save(folder / f"{task.name}.npz", known)
            store.forget()
            spill[task.name].unlink()
    finally:
        for path in spill.values():
            path.unlink(missing_ok=True)


def _columns(
    task: Task, store: Store, tracks: Sequence[Track], ends: np.ndarray
) -> dict[str, Column]:
    """Columns of a file beside the raw outputs, read piece by piece when it is written.

    Args:
        ends: int [tracks], the row of the file after the last one of each track.
    """
    names = np.array([track.name for track in tracks])
    groups = np.array([track.group for track in tracks])
    total, shift = int(ends[-1]), np.array([t.offset + t.frames for t in tracks]) - ends

    def parts(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Iterator[np.ndarray]:
        """`of` (track, row of the store) of the rows of the file."""
        for piece in pieces(total):
            rows = np.arange(*piece.indices(total))
            track = np.searchsorted(ends, rows, side="right")
            yield of(track, shift[track] + rows)

    def taken(array: np.ndarray) -> Column:
        return (total, *array.shape[1:]), array.dtype, parts(lambda _, rows: array[rows])

    columns: dict[str, Column] = {
        "tracks": (names.shape, names.dtype, [names]),
        "groups": (groups.shape, groups.dtype, [groups]),
        "track": ((total,), np.dtype(np.int32), parts(lambda track, _: track)),
        "frame": taken(store.frames),
    }
    if task.name in store.labels:
        values, mask = store.label(task.name)
        if any(parts(lambda _, rows: mask[rows].any())):
            columns |= {"label": taken(values), "label_mask": taken(mask)}
    return columns


def _blocks(file: BinaryIO, size: int = 1 << 18) -> Iterator[bytes]:
    while block := file.read(size):
        yield block
