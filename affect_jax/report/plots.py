"""Pictures of a run as PNG files: all that a run folder has data for.

curves.png                       losses, scores with their best epoch and references
gates.png                        mean weights of modalities or experts in a fusion model
traces_<split>.png               predictions over labels of some tracks
confusion_<split>_<task>.png     of a task of classes, or of one binary label
f1_<split>_<task>.png            F1 of each class or action unit
taught_<split>.png               tasks that read others, on these's predictions and on their labels
selection_*.png                  what a selector of training rows did (report/selection.py)
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect_jax import config as configs
from affect_jax import prediction_files
from affect_jax.metrics import Confusion, LabelCounts
from affect_jax.prediction_files import Predictions, read_split
from affect_jax.report import selection, style
from affect_jax.report.best_effort import optional
from affect_jax.report.figure_classes import draw_confusion, draw_f1_bars, grouped
from affect_jax.report.figure_curves import draw_curves
from affect_jax.report.figure_gates import draw_gates, gates_of
from affect_jax.report.figure_taught import draw_taught, links_of
from affect_jax.report.figure_traces import draw_traces
from affect_jax.report.predictions import choose_tracks, traces_of
from affect_jax.report.records import headline_scores
from affect_jax.run import Run
from affect_jax.scoring import tally_of
from affect_jax.tasks import Task
from data_pipelines.files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRACKS_SHOWN = 6

References = Mapping[str, Mapping[str, Any]]  # {who: {score: value, or one a class or label}}
Picture = tuple[str, Callable[[], "Figure | None"]]  # its file, and how it is drawn, if at all


def write_all(
    run_folder: str | os.PathLike,
    *,
    references: Mapping[str, References] | None = None,
    splits: Mapping[str, pathlib.Path] | None = None,
    out: pathlib.Path | None = None,
) -> list[pathlib.Path]:
    """Draw everything a run folder has data for; returns the paths.

    What cannot be drawn is said in a line and left out.

    Args:
        run_folder: with config.json and tasks.json; metrics.jsonl and predictions/ where they are.
        references: {split: {who: {score: value, or one value a class or label}}}.
        splits: {name: folder of predictions}, to draw these alone; default the curves, and all
            that the run has predicted.
        out: the folder whose plots/ is written; default the run's.

    Raises:
        OSError: a full disk.
    """
    run = Run(run_folder)
    tasks, references = run.read_tasks(), references or {}
    pictures: list[Picture] = []
    if splits is None:
        evaluated = configs.read(run.config_file).data.split
        pictures += _curves(run, tasks, references.get(evaluated, {}))
        with optional(run.folder / "plots"):
            pictures += selection.pictures(run)
        names = prediction_files.splits(run.predictions)
        splits = {name: run.predictions / name for name in names}
    folder = (out or run.folder) / "plots"
    for split, place in splits.items():
        with optional(folder):
            pictures += _split(split, read_split(place, tasks), references.get(split, {}))
            pictures += _taught(split, place, tasks)
            pictures += selection.pictures_of_split(run, _short(split), place)
    written = []
    for name, draw in pictures:
        with optional(folder / name):
            figure = draw()
            if figure is not None:
                written.append(style.save(figure, folder / name))
    return written


def _curves(run: Run, tasks: Sequence[Task], references: References) -> Iterator[Picture]:
    if records := run.records():
        totals = [name for name in headline_scores(records) if "/" not in name]
        firsts = [f"{task.name}/{task.metrics[0]}" for task in tasks if task.metrics]
        options = {"scores": totals + firsts, "references": references}
        title = f"{run.folder.name}: {len(records)} evaluations"
        yield "curves.png", lambda: draw_curves(records, title=title, **options)
        if gates := gates_of(records):
            yield "gates.png", lambda: draw_gates(records, gates, f"{run.folder.name}: gates")


def _split(
    split: str, loaded: Mapping[Task, Predictions], references: References
) -> Iterator[Picture]:
    short = _short(split)
    values = {task: p for task, p in loaded.items() if task.label_kind == "values"}
    if values:  # all share one picture
        yield f"traces_{short}.png", lambda: _traces(values, split)
    for task, p in loaded.items():
        if task.kind not in ("classes", "labels") or p.label is None:
            continue
        file = f"{short}_{task.name}.png"
        if task.kind == "classes" or task.size > 1:
            yield f"f1_{file}", lambda task=task, p=p: _f1(task, p, split, references)
        if task.kind == "classes" or task.size == 1:
            yield f"confusion_{file}", lambda task=task, p=p: _confusion(task, p, split)


def _taught(split: str, place: pathlib.Path, tasks: Sequence[Task]) -> Iterator[Picture]:
    file = place / "scores.json"
    scores = read_json(file) if file.is_file() else {}
    if links := links_of(scores, tasks):
        title = f"{split}: what the mistakes of others cost"
        yield f"taught_{_short(split)}.png", lambda: draw_taught(links, title)


def _short(split: str) -> str:
    """A split's name that is a file's with what stands around it."""
    return split.encode()[:100].decode(errors="ignore")


def _traces(loaded: Mapping[Task, Predictions], split: str) -> Figure | None:
    tracks = traces_of(loaded)
    if not tracks:
        return None
    chosen, order = choose_tracks(tracks, TRACKS_SHOWN)
    labels = np.concatenate([y for track in tracks for y in track["label"].values()])
    limits = (-1.0, 1.0) if np.nanmax(np.abs(labels), initial=0.0) <= 1 else None
    title = f"{split}: {len(chosen)} of {len(tracks)} tracks, {order}"
    return draw_traces(chosen, limits=limits, title=title)


def _title(task: Task, p: Predictions, split: str) -> str:
    mask = p.label_mask if p.label_mask.ndim == 1 else p.label_mask.any(-1)
    return f"{task.name} on {split}: {grouped(mask.sum())} labelled frames"


def _confusion(task: Task, p: Predictions, split: str) -> Figure:
    """Confusion matrix of classes, or of one binary label."""
    if task.kind == "classes":
        matrix = tally_of(task, p, ("confusion",)).states[Confusion].counts
        names = _names(task)
    else:
        n = tally_of(task, p, ("f1_binary",)).states[LabelCounts]
        matrix = np.array([[n.tn[0], n.fp[0]], [n.fn[0], n.tp[0]]])
        names = (f"not {task.names[0]}", task.names[0]) if task.names else ("no", "yes")
    return draw_confusion(matrix, names, title=_title(task, p, split))


def _f1(task: Task, p: Predictions, split: str, references: References) -> Figure:
    """F1 of each class, or of each of several labels."""
    classes = task.kind == "classes"
    each, mean = ("f1_per_class", "f1") if classes else ("f1_per_label", "f1_binary")
    tally = tally_of(task, p, (each,))
    (counted,) = tally.states.values()
    if classes:
        support, total = counted.counts.sum(1), counted.total
        seen = support + counted.counts.sum(0) > 0
    else:
        support, total = counted.tp + counted.fn, counted.n
        seen = total > 0
    # The mean over those that occur is the score of the task; an absent one has no F1.
    f1 = np.where(seen, tally.scores()[f"{task.name}/{each}"], np.nan)
    lines = {
        who: scores.get(f"{task.name}/{each}", scores.get(f"{task.name}/{mean}"))
        for who, scores in references.items()
    }
    return draw_f1_bars(
        f1,
        _names(task),
        references={who: value for who, value in lines.items() if value is not None},
        support=support,
        total=total,
        title=_title(task, p, split),
    )


def _names(task: Task) -> tuple[str, ...]:
    return task.names or tuple(map(str, range(task.size)))
