"""The report of a cross-validation: a table of the folds, a picture, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from affect_jax import progress
from affect_jax.prediction_files import read_split
from affect_jax.report import style
from affect_jax.report.best_effort import optional
from affect_jax.report.figure_folds import draw_folds
from affect_jax.report.interval import score_intervals
from affect_jax.report.markdown import score as cell
from affect_jax.report.markdown import table
from affect_jax.report.records import headline_scores
from affect_jax.scoring import Total
from affect_jax.shown import as_argument
from affect_jax.workdir import Workdir
from data_pipelines import folds
from data_pipelines.replace_file import replace_text, to_json
from data_pipelines.store import AnyStore

Scores = Mapping[str, Any]  # what affect_jax.folds.score_folds returns, and `marks`


def write(folder: Workdir, config: Any, store: AnyStore, scores: Scores) -> None:
    """README.md and plots/folds.png of the folder."""
    names = _headline(scores)
    by_fold = {name: fold["scores"] for name, fold in scores["folds"].items()}
    picture = folder.folder / "plots" / "folds.png"
    with optional(picture):
        figure = draw_folds(names, by_fold, scores["mean"], scores["pooled"], _title(config))
        style.save(figure, picture)
    train = config.data.train_split
    parts = [
        f"# {config.name or folder.folder.name}: {len(by_fold)} folds",
        "Written by affect_jax after the last fold. All numbers come from the files beside it.",
        *(f"**Mark: {mark}**" for mark in scores["marks"]),
        f"## Scores by fold\n\n{_by_fold(config, store, scores, names)}",
        f"Scores are those of the checkpoint `{scores['checkpoint']}`, after `:` those of "
        f"`{config.checkpoint}` where it is another. One that was chosen on the fold makes its "
        "scores too good.",
        "![scores by fold](plots/folds.png)",
        f"## All scores\n\n{_all(folder, config, store, scores)}",
        f"`pooled`: over all frames of `{train}` joined, each predicted by the run that has not "
        f"seen its video (predictions/{train}). Intervals: percentiles of 2000 bootstrap draws of "
        "the groups (videos).",
        f"## Use\n\n```\n{_commands(folder, store)}\n```",
        "Each fold has a card of its own: " + ", ".join(f"[{n}]({n}/README.md)" for n in by_fold),
    ]
    replace_text(folder.folder / "README.md", "\n\n".join(parts) + "\n")


def summary(folder: Workdir, store: AnyStore, scores: Scores) -> str:
    """Text that the command prints when all is done, its last line the pooled scores as JSON."""
    columns = {name: fold["scores"] for name, fold in scores["folds"].items()}
    columns |= {"mean": scores["mean"], "std": scores["std"]}
    lines = [
        f"finished: {folder.folder}; checkpoint {scores['checkpoint']!r} of every fold",
        progress.table(scores["pooled"], columns, "pooled"),
        *(f"mark: {mark}" for mark in scores["marks"]),
        f"report: {folder.folder / 'README.md'}",
        _commands(folder, store),
        to_json(scores["pooled"]),
    ]
    return "\n".join(lines)


def _title(config: Any) -> str:
    return f"{config.name}: scores by fold"


def _headline(scores: Scores) -> list[str]:
    """The total and the first score of each task."""
    return headline_scores([{"scores": {"pooled": scores["pooled"]}}])


def _by_fold(config: Any, store: AnyStore, scores: Scores, names: list[str]) -> str:
    c = config.folds
    view = folds.cut(store, config.data.train_split, c.count, c.seed)
    rows = []
    for name, fold in scores["folds"].items():
        tracks = [view.tracks[i] for i in view.split(fold["split"])]
        groups, frames = {t.group for t in tracks}, sum(t.frames for t in tracks)
        row = [name, fold["split"], len(groups), len(tracks), f"{frames:,}", fold["step"]]
        chosen = fold["chosen"]
        for key in names:
            value = cell(fold["scores"].get(key))
            if chosen["step"] != fold["step"]:
                value += f" : {cell(chosen['scores'].get(key))}"
            row.append(value)
        rows.append(row)
    blank = [""] * 5
    spread = [f"{cell(scores['mean'].get(n))} ± {cell(scores['std'].get(n))}" for n in names]
    rows.append(["mean ± deviation", *blank, *spread])
    rows.append(["pooled", *blank, *(cell(scores["pooled"].get(n)) for n in names)])
    for who, values in store.references(config.data.split).items() if c.official else ():
        row = [f"{who} on {config.data.split}", *blank]
        rows.append(row + [cell(values.get(name)) for name in names])
    heads = ("fold", "scored on", "groups", "tracks", "frames", "step", *names)
    return table(heads, rows)


def _all(folder: Workdir, config: Any, store: AnyStore, scores: Scores) -> str:
    train = config.data.train_split
    loaded = read_split(folder.predictions / train, folder.read_tasks())
    group_of = {track.name: track.group for track in store.tracks}
    intervals = score_intervals(loaded, group_of, Total.of(config))
    references = store.references(train)
    rows = []
    for name, value in scores["pooled"].items():
        if isinstance(value, float):
            row = [name, cell(value), " to ".join(map(cell, intervals.get(name, ()))) or "-"]
            row += [cell(scores["mean"].get(name)), cell(scores["std"].get(name))]
            rows.append(row + [cell(column.get(name)) for column in references.values()])
    beside = [f"{who} on {train}, as the store says" for who in references]
    return table(("score", "pooled", "95 % interval", "mean", "deviation", *beside), rows)


def _commands(folder: Workdir, store: AnyStore) -> str:
    place = as_argument(folder.folder)
    root = shlex.quote(str(store.path)) if "test" in store.splits else "STORE"
    return (
        "# the mean of the folds, with nothing fitted, and its use on the test split\n"
        f"python -m affect_jax.ensemble {place} --out={place}/ensemble\n"
        f"python -m affect_jax.ensemble --apply={place}/ensemble "
        f"--config.data.root={root} --config.data.split=test\n"
        "# choose and weigh cross-validated models by their held-out predictions\n"
        f"python -m affect_jax.ensemble folds:{place} folds:OTHER ... --out=FITTED"
    )
