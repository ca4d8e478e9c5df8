"""What to say when a loss or a prediction is not finite: which task, which rows, which feature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.plan import Rows


def explain_non_finite(
    system: Any, rows: Rows, ids: np.ndarray, step: int, logs: Mapping[str, Any]
) -> str:
    """One line on the step whose losses or gradients are not finite.

    Args:
        rows, ids: the plan's table and the row ids [B] of the batch.
        logs: {loss name: value} of the step.
    """
    broken = [name for name, value in logs.items() if not np.isfinite(value) and name != "total"]
    cause = _broken_input(system, rows, ids)
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


def _broken_input(system: Any, rows: Rows, ids: np.ndarray) -> str:
    """Which feature, track and image of these rows hold no number; empty where all do."""
    # As stored: normalised by its own frames, a whole track would be broken.
    source = dataclasses.replace(system.source(labels=False), normalise="none")
    places = []
    for row in ids:
        if row < 0:
            continue
        frames, index = rows.frames(row), int(rows.track[row])
        track = system.store.tracks[index]
        for name in source.features:
            bad = ~np.isfinite(source.feature(name, index, frames)).all(-1)
            if bad.any():
                image = system.store.frames[track.offset + frames[np.argmax(bad)]]
                places.append(f"feature {name!r} of track {track.name}, image {image}")
    if not places:
        return ""
    more = f" and {len(places) - 1} more rows" if len(places) > 1 else ""
    return (
        f"the input holds NaN or infinity: {places[0]}{more}. Check the store with python -m "
        "data_pipelines.verify."
    )
