"""Causes of a loss or prediction that is not finite: which task, which rows, which feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.rows import Rows

LARGE = 1e16  # squares of larger ones, over a million frames, are no float32


def explain_non_finite(
    system: Any, rows: Rows, ids: np.ndarray, step: int, logs: Mapping[str, Any]
) -> str:
    """One line on the step whose losses or gradients are not finite.

    Args:
        rows, ids: the plan's table and the row ids [B] of the batch.
        logs: {loss name: value} of the step.
    """
    broken = [name for name, value in logs.items() if not np.isfinite(value) and name != "total"]
    cause = _broken(system, rows, ids, labels=True)
    if not cause:
        names = [system.data.store.tracks[rows.track[row]].name for row in ids if row >= 0]
        first = next((row for row in ids if row >= 0), None)
        span = "" if first is None else f" (row 1: frames {rows.start[first]}-{rows.stop[first]})"
        cause = (
            f"the inputs are finite, so the training diverged, on tracks {', '.join(names[:4])}"
            f"{span}. Lower --config.optim.lr or set --config.optim.clip_norm."
        )
    return f"step {step}: {', '.join(broken) or 'total'} is not finite; {cause}"


def explain_prediction(
    system: Any, rows: Rows, ids: np.ndarray, task: str, track: int, frame: int
) -> str:
    """One line on the first frame of a track for which a task's prediction is not finite.

    Args:
        rows, ids: the plan's table and the rows [N] of the track.
        frame: counted in the track's frames, from 0.
    """
    store = system.data.store
    entry = store.tracks[track]
    cause = _broken(system, rows, ids, labels=False) or (
        "the inputs are finite, so the training diverged. Take another --config.checkpoint."
    )
    return (
        f"{store.path}: the prediction of {task} for track {entry.name}, image "
        f"{store.frames[entry.offset + frame]}, is not finite; {cause}"
    )


def _broken(system: Any, rows: Rows, ids: np.ndarray, *, labels: bool) -> str:
    """The first number of the rows with which nothing can be computed; empty where there is none.

    Labels come first: they are named by their own frames.
    """
    source, shape = system.data.source(labels=labels), system.data.shape(training=labels)
    ids = ids[ids >= 0]
    if labels and system.config.data.random_start and len(ids):
        rows, ids = _whole_tracks(system, rows.chosen(ids)), np.arange(len(ids))
        shape = source.shape(rows)
    names = [("label", "labels", name) for name in source.labels]
    names += [("feature", "inputs", name) for name in source.features]
    for what, part, name in names:
        places = []
        for row in ids:
            batch = source.batch(rows, shape, np.array([row], np.int32))
            values = np.asarray(batch[part][name][0], np.float64)
            if what == "label":
                values = np.where(batch["label_mask"][name][0], values, 0)
            on_frames = what == "label" or name not in shape.rates
            values = values[None] if shape.clip and on_frames else values
            bad = ~(np.abs(values.reshape(len(values), -1)) < LARGE)
            if bad.any():
                places.append(_place(system, rows, int(row), (what, name), values, bad, on_frames))
        if places:
            more = f" and {len(places) - 1} more rows" if len(places) > 1 else ""
            return (
                f"the data hold what is no number or too large for one: {places[0]}{more}. Check "
                "the store with python -m data_pipelines.verify."
            )
    return ""


def _whole_tracks(system: Any, rows: Rows) -> Rows:
    """Rows of all of the same tracks: those of an epoch may have been anywhere in theirs."""
    if rows.clip:
        return dataclasses.replace(rows, seconds=None)
    frames = np.array([track.frames for track in system.data.store.tracks], np.int32)[rows.track]
    return Rows(rows.track, np.zeros_like(frames), frames, int(frames.max()))


def _place(
    system: Any,
    rows: Rows,
    row: int,
    named: tuple[str, str],
    values: np.ndarray,
    bad: np.ndarray,
    on_frames: bool,
) -> str:
    k = int(np.argmax(bad.any(1)))
    track = system.data.store.tracks[rows.track[row]]
    where = f"row {k + 1} of those that are fed"
    if on_frames:
        where = f"image {system.data.store.frames[track.offset + rows.frames(row)[k]]}"
    value = values[k].reshape(-1)[bad[k]][0]
    return f"{named[0]} {named[1]!r} of track {track.name}, {where} ({value:g})"
