"""What to say when a loss is not finite: which task, which rows, which feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.batch import assemble
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
    places = []
    batch = assemble(system.source(), rows, ids)
    for b, row in enumerate(ids):
        if row < 0:
            continue
        frames = rows.frames(row)
        track = system.store.tracks[rows.track[row]]
        for name, x in batch["inputs"].items():
            bad = ~np.isfinite(x[b, : len(frames)]).all(-1)
            if bad.any():
                image = system.store.frames[track.offset + frames[np.argmax(bad)]]
                places.append(f"feature {name!r} of track {track.name}, image {image}")
    if places:
        more = f" and {len(places) - 1} more rows" if len(places) > 1 else ""
        cause = (
            f"the input holds NaN or infinity: {places[0]}{more}. Check the store with python -m "
            "data_pipelines.verify."
        )
    else:
        names = [system.store.tracks[rows.track[row]].name for row in ids if row >= 0]
        first = next((row for row in ids if row >= 0), None)
        span = "" if first is None else f" (row 1: frames {rows.start[first]}-{rows.stop[first]})"
        cause = (
            f"the inputs are finite, so the training diverged, on tracks {', '.join(names[:4])}"
            f"{span}. Lower --config.optim.lr or set --config.optim.clip_norm."
        )
    return f"step {step}: {', '.join(broken) or 'total'} is not finite; {cause}"
