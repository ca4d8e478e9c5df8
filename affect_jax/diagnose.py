"""What to say when a loss or a prediction is not finite: which task, which rows, which feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from data_pipelines.plan import Rows

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
    cause = _broken_label(system, rows, ids) or _broken_input(system, rows, ids)
    if not cause:
        names = [system.store.tracks[rows.track[row]].name for row in ids if row >= 0]
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
    entry = system.store.tracks[track]
    cause = _broken_input(system, rows, ids) or (
        "the inputs are finite, so the training diverged. Take another --config.checkpoint."
    )
    return (
        f"{system.store.path}: the prediction of {task} for track {entry.name}, image "
        f"{system.store.frames[entry.offset + frame]}, is not finite; {cause}"
    )


def _broken_label(system: Any, rows: Rows, ids: np.ndarray) -> str:
    """Which label, track and image of these rows is none; empty where all are."""

    def labels(index: int, frames: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        where = system.store.tracks[index].offset + frames
        for task in system.tasks:
            values, mask = (np.asarray(array[where]) for array in system.store.label(task.name))
            yield f"label {task.name!r}", np.where(mask, values, 0)

    return _broken(system, rows, ids, labels)


def _broken_input(system: Any, rows: Rows, ids: np.ndarray) -> str:
    """Which feature, track and image of these rows hold no number; empty where all do."""
    # As stored: normalised by its own frames, a whole track would be broken.
    source = dataclasses.replace(system.source(labels=False), normalise="none")

    def features(index: int, frames: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        for name in source.features:
            yield f"feature {name!r}", source.feature(name, index, frames)

    return _broken(system, rows, ids, features)


def _broken(system: Any, rows: Rows, ids: np.ndarray, arrays: Callable[..., Any]) -> str:
    """The first number of `arrays(track, frames)` with which nothing can be computed."""
    places = []
    for row in ids:
        if row < 0:
            continue
        frames, index = rows.frames(row), int(rows.track[row])
        track = system.store.tracks[index]
        for name, values in arrays(index, frames):
            values = values.reshape(len(frames), -1)
            bad = ~(np.abs(values) < LARGE)
            if bad.any():
                k = int(np.argmax(bad.any(1)))
                image = system.store.frames[track.offset + frames[k]]
                value = values[k][bad[k]][0]
                places.append(f"{name} of track {track.name}, image {image} ({value:g})")
    if not places:
        return ""
    more = f" and {len(places) - 1} more rows" if len(places) > 1 else ""
    return (
        f"the data hold what is no number or too large for one: {places[0]}{more}. Check the store "
        "with python -m data_pipelines.verify."
    )
