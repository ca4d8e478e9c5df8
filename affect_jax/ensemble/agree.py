"""Tasks, frames and labels that members must share; counts that break ties of votes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from affect_jax.ensemble.member import Member
from affect_jax.prediction_files import Predictions, groups_of
from affect_jax.tasks import Task
from data_pipelines.errors import UserError, nearest
from data_pipelines.store import AnyStore

SAME_LABEL = 1e-5  # texts of labels may be rounded


def common_tasks(
    members: Sequence[Member], wanted: str | None, store: AnyStore | None
) -> tuple[Task, ...]:
    """The tasks of the first member, which all others must have too."""
    tables = [{task.name: task for task in member.tasks(store)} for member in members]
    names = list(tables[0]) if wanted is None else [n.strip() for n in wanted.split(",")]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise UserError(f"--tasks names {name!r} twice.")
        if name not in tables[0]:
            raise UserError(
                f"--tasks: member {members[0].name} has no task {name!r}. "
                + nearest(name, tables[0])
            )
    for member, table in zip(members[1:], tables[1:]):
        if wanted is None and set(table) != set(names):
            odd = sorted(set(table) ^ set(names))[0]
            who, other = (member, members[0]) if odd in table else (members[0], member)
            raise UserError(
                f"member {who.name} has task {odd!r}, member {other.name} has not. Name those to "
                "combine: --tasks=A,B."
            )
        for name in names:
            whose = f"member {members[0].name}"
            require_same_task(member.name, table.values(), tables[0][name], whose)
    return tuple(tables[0][name] for name in names)


def require_same_task(name: str, own: Iterable[Task], task: Task, whose: str) -> None:
    """UserError where a member has no such task among its own, or means another by it."""
    mine = next((one for one in own if one.name == task.name), None)
    if mine is None:
        raise UserError(f"member {name} has no task {task.name!r}.")
    a, b = ((t.kind, t.size, tuple(t.names)) for t in (task, mine))
    if a != b:
        raise UserError(
            f"task {task.name!r} of member {name} is {b[0]} of size {b[1]} {b[2]}, of {whose} "
            f"{a[0]} of size {a[1]} {a[2]}."
        )


def require_labels(task: Task, labelled: Predictions, whose: str) -> None:
    """UserError naming the first label that is none of the task; none at all is right."""
    label = labelled.label
    if label is None:
        return
    shape = (len(labelled.track), *[task.size] * (task.kind != "classes"))
    if label.shape != shape:
        raise UserError(
            f"{whose}, task {task.name}: labels {label.shape}, expected "
            f"{shape} of {task.size} {task.kind}."
        )
    if task.kind == "values":
        return
    numbers = range(task.size if task.kind == "classes" else 2)
    wrong = labelled.label_mask & ~np.isin(label, numbers)
    if wrong.any():
        row = int(np.argwhere(wrong)[0, 0])
        raise UserError(
            f"{whose}, task {task.name}: label {label[wrong][0]} at track "
            f"{str(labelled.tracks[labelled.track[row]])!r}, image {labelled.frame[row]}; expected "
            f"0 to {numbers[-1]}."
        )


def require_same_frames(name: str, own: Predictions, reference: Predictions, whose: str) -> None:
    """UserError naming the first track or frame of a member that differs from the reference."""
    mine, theirs = own.tracks.tolist(), reference.tracks.tolist()
    for a, b in zip(mine, theirs):
        if a != b:
            raise UserError(f"member {name} has track {a!r} where {whose} has {b!r}.")
    if len(mine) != len(theirs):
        only = max(mine, theirs, key=len)[min(len(mine), len(theirs))]
        raise UserError(
            f"member {name} has {len(mine)} tracks, {whose} {len(theirs)}; the first that is not "
            f"in both is {only!r}."
        )
    rows, wanted = own.bounds, reference.bounds
    for i, track in enumerate(mine):
        a = own.frame[rows[i] : rows[i + 1]]
        b = reference.frame[wanted[i] : wanted[i + 1]]
        if not np.array_equal(a, b):
            unequal = [x != y for x, y in zip(a, b)]
            at = unequal.index(True) if any(unequal) else len(unequal)
            frame = (a if at < len(a) else b)[at]
            raise UserError(
                f"member {name}, track {track!r}: frames differ from those of {whose}, first at "
                f"image {frame} ({len(a)} frames here, {len(b)} there)."
            )


def together(task: Task, names: Sequence[str], owns: Sequence[Predictions]) -> Predictions:
    """All tracks, frames and labels that any member has, as predictions without any output.

    UserError where a frame has another label in one member than in those before.
    """
    # What says nothing of groups comes first, so that the others have the last word.
    groups = groups_of(sorted(owns, key=lambda own: own.groups is not None))
    starts = [dict(zip(own.tracks.tolist(), zip(own.bounds, own.bounds[1:]))) for own in owns]
    tracks = list(dict.fromkeys(track for one in starts for track in one))
    frames = [
        np.unique(
            np.concatenate(
                [own.frame[slice(*one[t])] for own, one in zip(owns, starts) if t in one]
            )
        )
        for t in tracks
    ]
    every = Predictions(
        tracks=np.array(tracks),
        track=np.repeat(np.arange(len(tracks), dtype=np.int32), [len(f) for f in frames]),
        frame=np.concatenate(frames),
        raw=np.zeros((sum(map(len, frames)), 0), np.float32),
        groups=np.array([groups[track] for track in tracks]),
    )
    label = mask = None
    for name, own in zip(names, owns):
        require_labels(task, own, f"member {name}")
        if own.label is None:
            continue
        if label is None:
            shape = (len(every.track), *own.label.shape[1:])
            label, mask = np.zeros(shape, own.label.dtype), np.zeros(shape, bool)
        rows = rows_in(own, every)
        both = mask[rows] & own.label_mask
        other = both & ~np.isclose(label[rows], own.label, rtol=0, atol=SAME_LABEL)
        if other.any():
            at = int(np.argwhere(other)[0, 0])
            raise UserError(
                f"task {task.name}: member {name} has the label {own.label[other][0]:g} at track "
                f"{str(own.tracks[own.track[at]])!r}, image {own.frame[at]}, another member "
                f"{label[rows][other][0]:g}. Members must be of the same data."
            )
        label[rows] = np.where(own.label_mask, own.label, label[rows])
        mask[rows] |= own.label_mask
    return dataclasses.replace(every, label=label, label_mask=mask)


def rows_in(own: Predictions, reference: Predictions) -> np.ndarray:
    """int [n]: the row of the reference that has each frame of a member, -1 where none has it."""
    index = {track: i for i, track in enumerate(reference.tracks.tolist())}
    track = np.array([index.get(track, -1) for track in own.tracks.tolist()], np.int64)[own.track]
    keys = reference.track.astype(np.int64) << 32 | reference.frame
    wanted = track << 32 | own.frame
    order = np.argsort(keys, kind="stable")
    found = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    return np.where(keys[found] == wanted, found, -1)


def on_frames_of(name: str, own: Predictions, reference: Predictions, whose: str) -> np.ndarray:
    """[N, ...]: raw predictions of a member on the frames of the reference, NaN where it has none.

    UserError naming the first frame that the reference has not.
    """
    rows = rows_in(own, reference)
    if (rows < 0).any():
        first = int(np.argmax(rows < 0))
        raise UserError(
            f"member {name} predicts image {own.frame[first]} of track "
            f"{str(own.tracks[own.track[first]])!r}, which {whose} has not."
        )
    raw = np.full((len(reference.track), *own.raw.shape[1:]), np.nan, np.float32)
    raw[rows] = own.raw
    return raw


def reference_of(task: Task, split: str, store: AnyStore) -> Predictions:
    """Tracks, frames and labels of a split of a store, as predictions without any output."""
    tracks = [store.tracks[i] for i in store.split(split)]
    rows = np.concatenate([np.arange(t.span.start, t.span.stop) for t in tracks])
    labels = {}
    if task.name in store.labels:
        label = store.labels[task.name]
        if (label.kind, label.size) != (task.kind, task.size):
            raise UserError(
                f"{store.path}: label {task.name!r} is {label.kind} of size {label.size}, the "
                f"members predict {task.kind} of size {task.size}."
            )
        values, mask = store.label(task.name)
        if mask[rows].any():
            labels = {"label": values[rows], "label_mask": mask[rows]}
    return Predictions(
        tracks=np.array([t.name for t in tracks]),
        track=np.repeat(np.arange(len(tracks), dtype=np.int32), [t.frames for t in tracks]),
        frame=np.asarray(store.frames[rows]),
        raw=np.zeros((len(rows), 0), np.float32),
        groups=np.array([t.group for t in tracks]),
        **labels,
    )


def class_counts(
    task: Task, store: AnyStore | None, train_split: str | None, fitted: Predictions, split: str
) -> tuple[tuple[int, ...], str]:
    """(labels of each class, the split that they were counted in); ((), "") where none is known.

    Args:
        train_split: where to count. None: in "train" or, where the store has none, in the split
            that is fitted on, whose labels `fitted` holds and whose name is `split`.
    """
    if store is not None and (train_split or "train" in store.splits):
        split = train_split or "train"
        fitted = reference_of(task, split, store)
        require_labels(task, fitted, str(store.path))
    if fitted.label is None:
        return (), ""
    labels = fitted.label[fitted.label_mask].astype(np.int64)
    counts = np.bincount(labels, minlength=task.size)
    return tuple(int(n) for n in counts), split
