"""Files of a selection: which rows were retained, and how the selector came to it.

    RUN/selection/selection.csv    a line for each training row that has a label
    RUN/selection/keep.txt         the retained ones, as `config.data.keep` reads them; empty where
                                   there are none
    RUN/selection/history.npz      how it went, turn by turn
    <predictions>/selection.csv    the same for the rows of any split

Columns of selection.csv: track; frame (image number, where rows are frames and not clips); label;
p_retain, P(retain); retained, 1 or 0 (P(retain) >= 1/2); prediction, the likeliest class; and of a
store with noise of `python -m data_pipelines.noise`, its labels clean and kind. Classes stand by
name where they have names. A cell is empty where there is no label.

Arrays of history.npz, T turns and S sampled rows: alone bool [T], turns in which the policy learned
alone; keep_rate, p_retain, p_label, reward, score float32 [T] (affect_jax/selection/turns.py; score
is NaN but for reward f1); rewards float32 [T, S]; track, label text [S] and frame int32 [S] of the
sampled rows.
"""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.tasks import Task
from data_pipelines.noise import CLEAN, KIND
from data_pipelines.replace_file import replace_file
from data_pipelines.rows import Rows
from data_pipelines.store import AnyStore

FOLDER, SELECTION, KEEP, HISTORY = "selection", "selection.csv", "keep.txt", "history.npz"
OF_NOISE = (CLEAN, KIND)


def frames_of(store: AnyStore, rows: Rows) -> np.ndarray:
    """int64 [N]: the frame of the store that each row begins with; its only one, mostly."""
    offset = np.array([track.offset for track in store.tracks], np.int64)
    return offset[rows.track] + rows.start


def labels_of(store: AnyStore, rows: Rows, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(class numbers int [N], mask bool [N]) of the rows; none where the store lacks the label."""
    if name not in store.labels:
        return np.zeros(len(rows), np.int32), np.zeros(len(rows), bool)
    values, mask = store.label(name)
    at = frames_of(store, rows)
    mask = np.asarray(mask[at])
    return np.where(mask, values[at], 0), mask


def class_names(store: AnyStore, rows: Rows, name: str) -> list[str]:
    """Labels of the rows as text, "" where there is none."""
    values, mask = labels_of(store, rows, name)
    return [_name(store, name, v) if m else "" for v, m in zip(values.tolist(), mask.tolist())]


def _name(store: AnyStore, label: str, number: int, else_of: Sequence[str] = ()) -> str:
    names = (store.labels[label].names if label in store.labels else ()) or else_of
    return names[number] if names else str(number)


def write_selection(
    path: pathlib.Path,
    store: AnyStore,
    rows: Rows,
    task: Task,
    *,
    p_retain: np.ndarray,
    retained: np.ndarray,
    prediction: np.ndarray,
) -> None:
    """Write selection.csv of the rows of a table; a kill leaves the old one or the new one.

    Args:
        task: whose labels are selected by.
        p_retain, retained, prediction: float, bool and int [N].
    """
    columns: dict[str, Any] = {"track": [store.tracks[i].name for i in rows.track.tolist()]}
    if not rows.clip:
        columns["frame"] = store.frames[frames_of(store, rows)].tolist()
    columns["label"] = class_names(store, rows, task.name)
    columns["p_retain"] = [f"{p:.6f}" for p in p_retain.tolist()]
    columns["retained"] = retained.astype(int).tolist()
    columns["prediction"] = [
        _name(store, task.name, number, task.names) for number in prediction.tolist()
    ]
    for name in OF_NOISE:
        if name != task.name and name in store.labels and store.labels[name].kind == "classes":
            columns[name] = class_names(store, rows, name)
    with replace_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_history(
    path: pathlib.Path, store: AnyStore, sampled: Rows, task: Task, turns: Mapping[str, np.ndarray]
) -> None:
    """Write history.npz.

    Args:
        sampled: the rows whose rewards are in `turns`.
        turns: arrays [T, ...] of the turns that are over.
    """
    about = {
        "track": np.array([store.tracks[i].name for i in sampled.track.tolist()], str),
        "frame": np.asarray(store.frames[frames_of(store, sampled)], np.int32),
        "label": np.array(class_names(store, sampled, task.name), str),
    }
    with replace_file(path) as partial, partial.open("wb") as file:
        np.savez(file, **turns, **about)
