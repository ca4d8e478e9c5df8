"""Prediction files: raw outputs for every frame of a split, one file a task.

    <folder>/<task>.npz    tracks [tracks] names, groups [tracks] names of what must not be split,
                           track int32 [N] (index into tracks), frame int32 [N] (1-based image
                           number), raw float32 [N, ...], and where the split is labelled
                           label and label_mask [N, ...]
    <folder>/scores.json   the scores of a labelled split

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

import numpy as np

from affect_jax.tasks import Task, from_json
from data_pipelines.errors import UserError
from data_pipelines.store import Store

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
        """UserError where the file is no such npz, or its arrays do not belong together."""
        try:
            with np.load(path, allow_pickle=False) as file:
                known = [field.name for field in dataclasses.fields(cls)]
                found = cls(**{name: file[name] for name in known if name in file})
            found._check()
            return found
        except (OSError, EOFError, zipfile.BadZipFile, ValueError, TypeError) as error:
            raise UserError(
                f"{path}: not a file of predictions ({error}). Write it again with --mode=predict."
            ) from None

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
            if not np.isfinite(self.label[self.label_mask]).all():
                raise ValueError("a label that exists is no number")
        if self.groups is not None and len(self.groups) != len(self.tracks):
            raise ValueError(f"{len(self.groups)} groups for {len(self.tracks)} tracks")
        names, counts = np.unique(self.tracks, return_counts=True)
        if (counts > 1).any():
            raise ValueError(f"track {str(names[counts.argmax()])!r} comes twice")
        steps = np.diff(self.track, prepend=0, append=len(self.tracks) - 1)
        if (steps < 0).any():
            raise ValueError("track must ascend, within the number of tracks")

    def write(self, path: pathlib.Path) -> None:
        """Write the file; a kill leaves the old one or the new one."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")  # no *.npz: nobody takes it for one
        try:
            with partial.open("wb") as file:
                np.savez(file, **{name: x for name, x in fields.items() if x is not None})
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @property
    def bounds(self) -> np.ndarray:
        """int [tracks + 1]: the rows of track i are bounds[i] to bounds[i + 1]."""
        counts = np.bincount(self.track, minlength=len(self.tracks))
        return np.concatenate([[0], np.cumsum(counts)])


def splits(folder: str | os.PathLike) -> list[str]:
    """Names of the splits that have predictions below predictions/, sorted."""
    folder = pathlib.Path(folder)
    return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


def read_split(folder: pathlib.Path, tasks: Sequence[Task]) -> dict[Task, Predictions]:
    """The predictions of each task that has a file in the folder."""
    files = {task: folder / f"{task.name}.npz" for task in tasks}
    return {task: Predictions.read(file) for task, file in files.items() if file.is_file()}


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

    Raw outputs go to disk track by track, so memory does not grow with the split. A scores.json
    that is there is of earlier predictions and goes with them.

    Args:
        indices: of all tracks that will come, into `store.tracks`.
        tracks: (index, {task: [frames, ...]}), each track once, in any order.
    """
    chosen = [store.tracks[i] for i in sorted(indices)]
    ends = np.cumsum([track.frames for track in chosen])
    end_of = dict(zip(sorted(map(int, indices)), ends))
    folder.mkdir(parents=True, exist_ok=True)
    # Written, not mapped: a full disk is an OSError in a write, the end of the process in a map.
    spill = {task.name: folder / f".{task.name}.partial" for task in tasks}
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
        where = np.concatenate([np.arange(t.offset, t.offset + t.frames) for t in chosen])
        common = {
            "tracks": np.array([track.name for track in chosen]),
            "groups": np.array([track.group for track in chosen]),
            "track": np.repeat(np.arange(len(chosen), dtype=np.int32), [t.frames for t in chosen]),
            "frame": np.asarray(store.frames[where]),
        }
        (folder / "scores.json").unlink(missing_ok=True)
        for task in tasks:
            labels = {}
            if task.name in store.labels:
                values, mask = store.label(task.name)
                if mask[where].any():
                    labels = {"label": values[where], "label_mask": mask[where]}
            raw = np.memmap(spill[task.name], np.float32, "r", shape=shapes[task.name])
            Predictions(**common, raw=raw, **labels).write(folder / f"{task.name}.npz")
    finally:
        for path in spill.values():
            path.unlink(missing_ok=True)
