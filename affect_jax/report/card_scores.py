"""The part of a run's card that holds its scores, beside their references and intervals."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from affect_jax.places import fingerprint
from affect_jax.prediction_files import ORIGIN, groups_of, read_split
from affect_jax.report import markdown
from affect_jax.report.figure_taught import links_of
from affect_jax.report.interval import score_intervals
from affect_jax.report.records import best, headline_scores, number
from affect_jax.run import Run
from affect_jax.scoring import Total
from affect_jax.tasks import Task
from data_pipelines.errors import UserError
from data_pipelines.files import read_json
from data_pipelines.store import AnyStore

# Metrics that are one number a class or label, and how they are called.
BY_NAME = {
    "f1_per_class": "F1",
    "f1_per_label": "F1",
    "recall_per_class": "Recall",
    "precision_per_class": "Precision",
}


def scores(
    places: Mapping[str, pathlib.Path],
    config: Any,
    tasks: Sequence[Task],
    store: AnyStore,
    step: int,
) -> str:
    """Section "Scores": every folder of predictions that has a scores.json.

    Args:
        places: {name: folder}.
        store, step: of the card; where predictions are of others, it is said.
    """
    parts = ["## Scores"]
    for name, folder in places.items():
        file = folder / "scores.json"
        if file.is_file():
            try:
                content = read_json(file, "scores", "Evaluate the split again.")
                parts += _split(name, folder, config, tasks, store, step, content)
            except UserError as error:
                parts += [f"### {name}", f"Cannot be shown. {error}"]
    if len(parts) == 1:
        parts.append("No split has been scored.")
    return "\n\n".join(parts)


def best_epochs(run: Run, config: Any) -> str:
    """Section "Best epochs": the monitored scores over the evaluations; empty without any."""
    records = run.records()
    names = tuple(config.monitor) or headline_scores(records)[:1]
    bests = {name: best(records, name, config.data.split) for name in names}
    rows = [(name, markdown.score(b.value), b.epoch, b.step) for name, b in bests.items() if b]
    if not rows:
        return ""
    heads = ("monitored score", "best", "epoch", "step")
    return "## Best epochs\n\n" + markdown.table(heads, rows)


def _split(
    name: str,
    folder: pathlib.Path,
    config: Any,
    tasks: Sequence[Task],
    store: AnyStore,
    step: int,
    scores: Mapping[str, Any],
) -> list[str]:
    """A table of the plain scores, and one of the scores by class or label."""
    loaded = read_split(folder, tasks)
    group_of = groups_of(loaded.values())
    parts, own = [f"### {name}"], group_of.keys() <= {track.name for track in store.tracks}
    file = folder / ORIGIN
    if file.is_file():
        origin = read_json(file, "the origin of predictions")
        own = origin["sha256"] == fingerprint(store)
        if not own or origin["step"] != step:
            of = "" if own else f", of other data: `{origin['store']}`"
            parts.append(f"Predicted at step {origin['step']}{of}.")
    references = store.references(name) if own else {}
    intervals = score_intervals(loaded, group_of, Total.of(config))
    heads = ["score", "ours"] + (["95 % interval"] if intervals else []) + list(references)
    rows = []
    for key in _plain_names(scores, config, tasks):
        row = [key, markdown.score(scores[key])]
        if intervals:
            row.append(" to ".join(map(markdown.score, intervals.get(key, ()))))
        rows.append(row + [markdown.score(column.get(key)) for column in references.values()])
    parts.append(markdown.table(heads, rows))
    if intervals:
        parts.append(
            f"Intervals: percentiles of 2000 bootstrap draws of the {len(set(group_of.values()))} "
            "groups (videos, speakers). They do not hold the spread between training seeds."
        )
    parts += _taught(scores, tasks)
    for task in tasks:
        for metric, called in BY_NAME.items():
            values = scores.get(f"{task.name}/{metric}")
            if isinstance(values, list) and task.names:
                cells = [markdown.score(value) for value in values]
                parts += [f"{called} of {task.name}:", markdown.table(task.names, [cells])]
    return parts


def _taught(scores: Mapping[str, Any], tasks: Sequence[Task]) -> list[str]:
    """A table of the tasks that were also predicted from the labels of others, if there are any."""
    links = links_of(scores, tasks)
    if not links:
        return []
    rows = [(name, markdown.score(own), markdown.score(taught)) for name, own, taught in links]
    return [
        "Some tasks read what is predicted of others. On labels: they read the labels of these "
        "instead, where there are any. The gap is what the mistakes of others cost.",
        markdown.table(("score", "on predictions", "on labels"), rows),
    ]


def _plain_names(scores: Mapping[str, Any], config: Any, tasks: Sequence[Task]) -> list[str]:
    """Scores that are one number: the total, then the tasks' as the task table orders them."""
    names = [config.total.name] + [f"{t.name}/{metric}" for t in tasks for metric in t.metrics]
    return [name for name in names if math.isfinite(number(scores.get(name)))]
