"""The report of a sweep: its trials as a table, a csv file and a picture, and what to do next."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from affect_jax.members import BEST_FILE
from affect_jax.report import style
from affect_jax.report.best_effort import optional
from affect_jax.report.figure_sweep import draw_sweep
from affect_jax.report.markdown import score as cell
from affect_jax.report.markdown import table
from affect_jax.shown import as_argument
from affect_jax.tasks import better_sign
from affect_jax.trials import Trial, as_text, ranked
from data_pipelines.replace_file import replace_text, to_json

MOST_ROWS = 50


def write_results(folder: pathlib.Path, trials: list[Trial], objective: str) -> None:
    """results.csv: a line a trial with its values, scores, and why it failed."""
    names = dict.fromkeys([objective, *(name for trial in trials for name in trial.scores)])
    spread = [name for name in names if any(name in trial.deviation for trial in trials)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [*names, *(f"deviation of {name}" for name in spread)]
    writer.writerow(["trial", *trials[0].values, *heads, "failed"])
    for trial in trials:
        numbers = [trial.scores.get(name, "") for name in names]
        numbers += [trial.deviation.get(name, "") for name in spread]
        writer.writerow([trial.name, *map(as_text, trial.values.values()), *numbers, trial.failed])
    replace_text(folder / "results.csv", text.getvalue())


def write(folder: pathlib.Path, config: Any, trials: list[Trial], objective: str) -> None:
    """README.md and plots/sweep.png of the folder.

    Args:
        config: of the sweep.
        trials: one of them at least with a finite score.
    """
    order = ranked(trials, objective, better_sign(objective))
    picture = folder / "plots" / "sweep.png"
    with optional(picture):
        style.save(_drawn(config, trials, objective, order[0]), picture)
    failed = [trial for trial in trials if trial.failed]
    parts = [
        f"# {config.name or folder.name}: sweep of {len(trials)} trials",
        "Written by affect_jax after the last trial. All numbers come from the files beside it.",
        _scored_on(config, objective, len(order)),
        f"## Trials\n\n{_table(order, objective)}",
        f"The best {MOST_ROWS} of {len(order)}; all are in results.csv."
        if len(order) > MOST_ROWS
        else "",
        "![scores by value of each key](plots/sweep.png)",
        "A dot is a trial, the largest the best one; the line joins the means of the values.",
        f"## Use\n\n```\n{_commands(folder)}\n```",
    ]
    if failed:
        rows = [(t.name, *map(as_text, t.values.values()), t.failed) for t in failed]
        given_up = table(("trial", *failed[0].values, "why"), rows[:MOST_ROWS])
        parts.append(
            f"## Given up: {len(failed)}\n\n{given_up}\n\nWithout failed.json they are tried again."
        )
    replace_text(folder / "README.md", "\n\n".join(part for part in parts if part) + "\n")


def summary(folder: pathlib.Path, config: Any, trials: list[Trial], objective: str) -> str:
    """Text that the command prints when all is done, its last line the best trial as JSON."""
    order = ranked(trials, objective, better_sign(objective))
    best, failed = order[0], sum(bool(trial.failed) for trial in trials)
    lines = [
        f"finished: {folder}; {len(trials)} trials" + (f", {failed} given up" if failed else ""),
        *(
            f"{_value(trial, objective):>16}  {trial.name}: {_setting(trial)}"
            for trial in order[:5]
        ),
        _scored_on(config, objective, len(order)),
        f"report: {folder / 'README.md'}",
        _commands(folder),
        to_json({"trial": best.name, "values": best.values, objective: best.scores[objective]}),
    ]
    return "\n".join(lines)


def _scored_on(config: Any, objective: str, count: int) -> str:
    data = config.data
    if config.sweep.folds:
        how = (
            f"pooled over {config.folds.count} folds of split `{data.train_split}`, ± the "
            "deviation over them"
        )
    else:
        how = f"that of split `{data.split}` at checkpoint `{config.checkpoint}`"
    return (
        f"`{objective}` is {how}. The best of {count} scores too well for having been chosen: "
        "report what it scores on data that no trial was scored on."
    )


def _table(order: Sequence[Trial], objective: str) -> str:
    """The best trials, with the objective and all other scores."""
    others = [name for name in order[0].scores if name != objective]
    rows = [
        (
            trial.name,
            *map(as_text, trial.values.values()),
            _value(trial, objective),
            *(_value(trial, name) for name in others),
        )
        for trial in order[:MOST_ROWS]
    ]
    return table(("trial", *order[0].values, objective, *others), rows)


def _value(trial: Trial, name: str) -> str:
    """A score, and its deviation over folds where it has one."""
    spread = f" ± {cell(trial.deviation[name])}" if name in trial.deviation else ""
    return cell(trial.scores.get(name)) + spread


def _setting(trial: Trial) -> str:
    return ", ".join(f"{key} = {as_text(value)}" for key, value in trial.values.items())


def _drawn(config: Any, trials: list[Trial], objective: str, best: Trial) -> Any:
    """The picture: a panel a key."""
    keys = {key: [as_text(value) for value in values] for key, values in config.sweep.space}
    chosen = [[keys[key].index(as_text(t.values[key])) for key in keys] for t in trials]
    values = [trial.scores.get(objective, float("nan")) for trial in trials]
    return draw_sweep(keys, chosen, values, trials.index(best), f"{config.name}: {objective}")


def _commands(folder: pathlib.Path) -> str:
    place = as_argument(folder)
    return (
        "# train the best setting on the whole training split\n"
        f"python -m affect_jax.main --config={place}/{BEST_FILE} --workdir=RUN"
    )
