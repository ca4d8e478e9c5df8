"""Pictures of a run as PNG files: each plot by itself, or all that a run folder has data for.

curves.png                       losses, scores with their best epoch and references
traces_<split>.png               predictions over labels of some tracks
confusion_<split>_<task>.png     of a task of classes, or of one binary label
f1_<split>_<task>.png            F1 of each class or action unit
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax import config as configs
from affect_jax.metrics import METRICS
from affect_jax.prediction_files import Predictions, read_split, splits
from affect_jax.report import style
from affect_jax.report.figure_classes import draw_confusion, draw_f1_bars, grouped
from affect_jax.report.figure_curves import draw_curves
from affect_jax.report.figure_traces import draw_traces
from affect_jax.report.predictions import choose_tracks, traces_of
from affect_jax.report.records import headline_scores
from affect_jax.run import Run
from affect_jax.tasks import Task, decode

TRACKS_SHOWN = 6

References = Mapping[str, Mapping[str, Any]]


def curves(
    records: Sequence[Mapping[str, Any]], path: str | os.PathLike, **options: Any
) -> pathlib.Path:
    """Write the curves that `draw_curves(records, **options)` draws; returns the path."""
    return style.save(draw_curves(records, **options), path)


def traces(
    tracks: Sequence[Mapping[str, Any]], path: str | os.PathLike, **options: Any
) -> pathlib.Path:
    """Write the traces that `draw_traces(tracks, **options)` draws; returns the path."""
    return style.save(draw_traces(tracks, **options), path)


def confusion(
    matrix: np.ndarray, names: Sequence[str], path: str | os.PathLike, **options: Any
) -> pathlib.Path:
    """Write the matrix that `draw_confusion(matrix, names, **options)` draws; returns the path."""
    return style.save(draw_confusion(matrix, names, **options), path)


def f1_bars(
    values: Sequence[float], names: Sequence[str], path: str | os.PathLike, **options: Any
) -> pathlib.Path:
    """Write the bars that `draw_f1_bars(values, names, **options)` draws; returns the path."""
    return style.save(draw_f1_bars(values, names, **options), path)


def write_all(
    run_folder: str | os.PathLike, *, references: References | None = None
) -> list[pathlib.Path]:
    """Draw everything a run folder has data for into its plots/; returns the paths.

    Args:
        run_folder: with config.json and tasks.json; metrics.jsonl and predictions/ where they are.
        references: {who: {score: value, or one value a class or label}} of the run's evaluation
            split.
    """
    run = Run(run_folder)
    tasks, records = run.read_tasks(), run.records()
    evaluated = configs.read(run.config_file).data.split
    references, folder, written = references or {}, run.folder / "plots", []
    if records:
        totals = [name for name in headline_scores(records) if "/" not in name]
        firsts = [f"{task.name}/{task.metrics[0]}" for task in tasks if task.metrics]
        options = {"scores": totals + firsts, "references": references}
        title = f"{run.folder.name}: {len(records)} evaluations"
        written.append(curves(records, folder / "curves.png", title=title, **options))
    for split in splits(run.predictions):
        loaded = read_split(run.predictions / split, tasks)
        written += _traces(loaded, split, folder)
        for task, predictions in loaded.items():
            if task.kind in ("classes", "labels") and predictions.label is not None:
                lines = references if split == evaluated else {}
                written += _classes(task, predictions, split, folder, lines)
    return written


def _traces(
    loaded: Mapping[Task, Predictions], split: str, folder: pathlib.Path
) -> list[pathlib.Path]:
    """All tasks that predict values share one picture."""
    loaded = {task: p for task, p in loaded.items() if task.label_kind == "values"}
    tracks = traces_of(loaded) if loaded else []
    if not tracks:
        return []
    chosen, order = choose_tracks(tracks, TRACKS_SHOWN)
    labels = np.concatenate([y for track in tracks for y in track["label"].values()])
    limits = (-1.0, 1.0) if np.nanmax(np.abs(labels), initial=0.0) <= 1 else None
    title = f"{split}: {len(chosen)} of {len(tracks)} tracks, {order}"
    return [traces(chosen, folder / f"traces_{split}.png", limits=limits, title=title)]


def _classes(
    task: Task, p: Predictions, split: str, folder: pathlib.Path, references: References
) -> list[pathlib.Path]:
    """Confusion matrix (classes, one binary label) and F1 bars (classes, several labels)."""
    pred, mask = decode(task, p.raw), np.asarray(p.label_mask)
    labelled = mask if mask.ndim == 1 else mask.any(-1)
    title = f"{task.name} on {split}: {grouped(labelled.sum())} labelled frames"
    file = f"{split}_{task.name}.png"

    def state(metric: str) -> Any:
        return METRICS[metric].update(METRICS[metric].init(task), pred, p.label, mask)

    if task.kind == "labels" and task.size == 1:
        n = state("f1_binary")
        matrix = np.array([[n.tn[0], n.fp[0]], [n.fn[0], n.tp[0]]])
        names = (f"not {task.names[0]}", task.names[0]) if task.names else ("no", "yes")
        return [confusion(matrix, names, folder / f"confusion_{file}", title=title)]
    if task.kind == "classes":
        each, mean = "f1_per_class", "f1"
        counted = state(each)
        support, total = counted.counts.sum(1), counted.total
        seen = support + counted.counts.sum(0) > 0
    else:
        each, mean = "f1_per_label", "f1_binary"
        counted = state(each)
        support, total = counted.tp + counted.fn, counted.n
        seen = total > 0
    # The mean over those that occur is the score of the task; an absent one has no F1.
    f1 = np.where(seen, METRICS[each].compute(counted), np.nan)
    names = task.names or tuple(map(str, range(task.size)))
    lines = {
        who: scores.get(f"{task.name}/{each}", scores.get(f"{task.name}/{mean}"))
        for who, scores in references.items()
    }
    options = {
        "references": {who: value for who, value in lines.items() if value is not None},
        "support": support,
        "total": total,
        "title": title,
    }
    written = [f1_bars(f1, names, folder / f"f1_{file}", **options)]
    if task.kind == "classes":
        matrix = METRICS["confusion"].compute(counted)
        written.append(confusion(matrix, names, folder / f"confusion_{file}", title=title))
    return written
