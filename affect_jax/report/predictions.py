"""Traces of the predictions of a split, and the tracks that a picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.prediction_files import Predictions
from affect_jax.report.figure_traces import MAX_DIMENSIONS, track_ccc
from affect_jax.tasks import Task, decode

MIN_TRACE = 2  # rows: a clip has no course over time


def traces_of(loaded: Mapping[Task, Predictions]) -> list[dict[str, Any]]:
    """Tracks as `draw_traces` takes them, of the first dimensions that the tasks predict.

    predict writes the same rows for every task, so the tasks share their frames.
    """
    pred: dict[str, np.ndarray] = {}
    label: dict[str, np.ndarray] = {}
    for task, p in loaded.items():
        values = decode(task, p.raw)
        size = values.shape[-1]
        names = task.names or tuple(f"{task.name} {k + 1}" for k in range(size))
        for k, name in enumerate((task.name,) if size == 1 else names):
            if len(pred) == MAX_DIMENSIONS:
                break
            pred[name] = values[:, k]
            missing = np.full(len(values), np.nan)
            label[name] = (
                missing if p.label is None else np.where(p.label_mask, p.label, np.nan)[:, k]
            )
    rows = next(iter(loaded.values()))
    tracks = []
    for name, start, stop in zip(rows.tracks, rows.bounds[:-1], rows.bounds[1:]):
        here = slice(start, stop)
        if stop - start >= MIN_TRACE:
            one = {"name": str(name), "frame": rows.frame[here]}
            one["pred"] = {dimension: y[here] for dimension, y in pred.items()}
            one["label"] = {dimension: y[here] for dimension, y in label.items()}
            tracks.append(one)
    return tracks


def choose_tracks(
    tracks: Sequence[Mapping[str, Any]], count: int
) -> tuple[list[Mapping[str, Any]], str]:
    """(tracks evenly spread over the ranks of their mean CCC, how they are ordered).

    So a picture shows the best, the worst and what lies between, not a chosen few. Where no track
    is labelled they are ranked by length.
    """
    scored = [(_mean_ccc(track), track) for track in tracks]
    several = any(len(track["pred"]) > 1 for track in tracks)
    order = f"from highest to lowest {'mean ' if several else ''}CCC"
    ranked = sorted((s for s in scored if np.isfinite(s[0])), key=lambda s: -s[0])
    if not ranked:
        order = "from longest to shortest"
        ranked = sorted(scored, key=lambda s: -len(s[1]["frame"]))
    places = np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int)
    return [ranked[i][1] for i in places], order


def _mean_ccc(track: Mapping[str, Any]) -> float:
    cccs = [track_ccc(track["pred"][name], label) for name, label in track["label"].items()]
    cccs = [c for c in cccs if np.isfinite(c)]
    return float(np.mean(cccs)) if cccs else float("nan")
