"""Tables and pictures of the ensemble command."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect_jax.ensemble.ccc_weights import mean
from affect_jax.ensemble.choose import Tried
from affect_jax.ensemble.fitted import Fitted, OpenMembers
from affect_jax.ensemble.recipe import Recipe, combine
from affect_jax.ensemble.seen import seen
from affect_jax.gaps import where_predicted
from affect_jax.interop import abaw3_files
from affect_jax.metrics import METRICS
from affect_jax.prediction_files import Predictions, groups_of
from affect_jax.progress import table
from affect_jax.report import score_intervals, style
from affect_jax.report.best_effort import optional
from affect_jax.report.figure_members import Panel, draw_members
from affect_jax.scoring import tally_of
from affect_jax.shown import decimals
from affect_jax.tasks import Task, better_sign
from data_pipelines.errors import UserError
from data_pipelines.paths import require_name
from data_pipelines.replace_file import replace_json, to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEST = "best member*"


def predict_and_report(
    fitted: Fitted,
    members: OpenMembers,
    predictions: pathlib.Path,
    plots: pathlib.Path,
    abaw3: pathlib.Path | None = None,
) -> None:
    """Write predictions, scores and picture of a split; print the scores, as JSON last.

    Args:
        predictions: an empty folder for the predictions and scores of the split.
        plots: folder of the pictures.
        abaw3: folder for the files of the ABAW3 original (`write_abaw3`), or None.
    """
    split = members.split
    picture = f"members_{split}.png"
    (plots / picture).unlink(missing_ok=True)  # of other predictions of a split of this name
    ours: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    equal: dict[str, Any] = {}
    singles: list[dict[str, Any]] = [{} for _ in members.opened]
    loaded: dict[Task, Predictions] = {}
    gaps: dict[str, None] = {}  # lines about them, each once
    for task, made, raws in fitted.combined(members, predictions):
        loaded[task] = where_predicted(made, [made.raw])
        gaps |= dict.fromkeys(_gaps(task, made, members, raws))
        if abaw3 is not None:
            names = [one.name for one in members.opened]
            write_abaw3(abaw3, task, fitted.recipes[task.name], names, raws, made)
        if made.label is None:
            continue
        ours |= tally_of(task, loaded[task]).scores()

        def scored(recipes: Sequence[Recipe], task=task, made=made, raws=raws) -> dict[str, Any]:
            return _scores(task, made, combine(task, recipes, raws, made.bounds))

        dimensions = task.size if task.kind == "values" else 1
        plain |= scored([Recipe("mean", tuple(mean(len(raws))))] * dimensions)
        if fitted.equal.get(task.name):
            equal |= scored(fitted.equal[task.name])
        for scores, raw in zip(singles, raws):
            scores |= _scores(task, made, raw)
    print(f"predictions: {fitted.folder / 'predictions' / split}")
    for line in gaps:
        print(line)
    if not ours:
        return
    tracks = frozenset(str(track) for p in loaded.values() for track in p.tracks)
    same = tracks & fitted.fitted_tracks
    known = seen(fitted.members, split, tracks, members.store)
    for warning in known.warnings(split):
        print(warning, file=sys.stderr)
    about = {
        "fitted_on_this_split": bool(same),
        "trained_on_this_split": bool(known.trained),
        "chosen_on_this_split": bool(known.chosen),
    }
    did = " and ".join(name.partition("_")[0] for name, holds in about.items() if holds)
    ours = fitted.total.added_to(ours)
    references = {"plain mean": fitted.total.added_to(plain)}
    if equal:
        references["mean, treated alike"] = fitted.total.added_to(equal)
    references[BEST] = _best(singles)
    group_of = groups_of(loaded.values())
    intervals = score_intervals(loaded, group_of, fitted.total)
    heading = f"ensemble ({did} on this split)" if did else "ensemble"
    print(table(ours, references, heading, intervals))
    print(f"* in hindsight: the best of {len(singles)} for each score, by these labels")
    if same:
        print(f"fitted on {len(same)} of these {len(tracks)} tracks: the scores are too good")
    scores = ours | about
    replace_json(predictions / "scores.json", scores)
    names = [one.name for one in members.opened]
    title = f"{fitted.folder.name} on {split}" + (f" ({did} on it)" if did else "")
    with optional(fitted.folder / "plots" / picture):
        style.save(_draw(fitted, names, singles, ours, references, title), plots / picture)
        print(f"picture: {fitted.folder / 'plots' / picture}")
    print(to_json(scores))


def write_abaw3(
    folder: pathlib.Path,
    task: Task,
    recipes: Sequence[Recipe],
    names: Sequence[str],
    raws: Sequence[np.ndarray],
    made: Predictions,
) -> None:
    """<folder>/<number>-<member>/ with the JSON files of each member, smoothed by the recipe's
    window, and <folder>/ensemble/<task>/<track>.txt; of tasks of one value, nothing of others.
    """
    if task.kind != "values" or task.size != 1:
        return
    if any(np.isnan(raw).any() for raw in raws):
        raise UserError(
            f"--abaw3: task {task.name}: some member has gaps, its files can have none."
        )
    window, kind = recipes[0].window, recipes[0].smoothing

    def by_track(column_n: np.ndarray) -> dict[str, np.ndarray]:
        pairs = zip(made.bounds[:-1], made.bounds[1:])
        return {
            require_name(str(name), "track"): column_n[a:b]
            for name, (a, b) in zip(made.tracks, pairs)
        }

    for i, (name, raw) in enumerate(zip(names, raws)):
        place = folder / require_name(
            f"{i + 1}-{name.replace(':', '').replace(' ', '-')}", "--abaw3: the folder of a member"
        )
        if made.label is None:
            abaw3_files.write_test(place, task.name, by_track(raw[:, 0]), window, kind)
            continue
        label = np.where(made.label_mask, made.label, np.nan)[:, 0]
        pred = by_track(raw[:, 0])
        abaw3_files.write_validation(place, task.name, pred, by_track(label), window, kind)
    abaw3_files.write_texts(folder / "ensemble", task.name, by_track(made.raw[:, 0]))


def _scores(task: Task, made: Predictions, raw: np.ndarray) -> dict[str, Any]:
    """Scores of other raw predictions of the same frames, where there are any."""
    return tally_of(task, where_predicted(dataclasses.replace(made, raw=raw), [raw])).scores()


def _gaps(
    task: Task, made: Predictions, members: OpenMembers, raws: Sequence[np.ndarray]
) -> Iterator[str]:
    """Lines that say which members lack frames, and how many nobody predicts."""
    for one, raw in zip(members.opened, raws):
        if missing := np.isnan(raw).any(1).sum():
            yield (
                f"{one.name}: has no number for {missing:,} of {len(raw):,} frames: the others "
                "stand in there; fits and its own scores leave them out"
            )
    if missing := np.isnan(made.raw).any(1).sum():
        yield f"{task.name}: {missing:,} of {len(made.raw):,} frames have no prediction (NaN)"


def _best(singles: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """{score: that of the member that is best in it}, of scores that are plain numbers."""
    best = {}
    for name, value in singles[0].items():
        if isinstance(value, float):
            sign = better_sign(name)
            best[name] = sign * max(sign * scores[name] for scores in singles)
    return best


def _draw(
    fitted: Fitted,
    names: Sequence[str],
    singles: Sequence[Mapping[str, Any]],
    ours: Mapping[str, Any],
    references: Mapping[str, Mapping[str, Any]],
    title: str,
) -> Figure:
    """The first score of each task."""
    panels = []
    for task in fitted.tasks:
        name = next((f"{task.name}/{m}" for m in task.metrics if METRICS[m].sign), None)
        if name not in ours:
            continue
        weights = np.mean([recipe.weights for recipe in fitted.recipes[task.name]], 0)
        scores = [(n, one[name], w) for n, one, w in zip(names, singles, weights)]
        lines = {"ensemble": ours} | {k: v for k, v in references.items() if k != BEST}
        panels.append(Panel(name, scores, {k: v[name] for k, v in lines.items() if name in v}))
    return draw_members(panels, title)


def tried_table(task: Task, tried: Sequence[Tried]) -> str:
    """Scores out of fold of all candidates, the chosen one in brackets; of several dimensions
    their mean, and in how many each was chosen."""
    dimensions = {one.dimension for one in tried}
    several = len(dimensions) > 1
    windows = sorted({one.window for one in tried})
    names = {(t.method, t.match): t.method + (" +change" if t.match else "") for t in tried}
    what = f"{task.name}, mean of {len(dimensions)} (chosen by)" if several else task.name
    width = max(map(len, [what, *names.values()]))
    heads = [f"window {w}" for w in windows] if len(windows) > 1 else ["out of fold"]
    lines = [f"{what:<{width}}" + "".join(f"  {head:>11}" for head in heads)]
    for key, name in names.items():
        cells = []
        for window in windows:
            rows = [t for t in tried if (t.method, t.match, t.window) == (*key, window)]
            score = decimals(np.mean([t.score for t in rows]))
            chosen = sum(t.chosen for t in rows)
            if several:
                cells.append(f"{score} ({chosen})")
            else:
                cells.append(f"[{score}]" if chosen else f"{score} ")
        lines.append(f"{name:<{width}}" + "".join(f"  {cell:>11}" for cell in cells))
    return "\n".join(lines)


def in_words(task: Task, recipes: Sequence[Recipe], names: Sequence[str]) -> str:
    """The recipe of a task on a line; of several dimensions what they have in common."""
    methods = collections.Counter(recipe.method for recipe in recipes)
    several = f" of {len(recipes)} dimensions" if len(recipes) > 1 else ""
    parts = [" and ".join(f"{name} ({n}{several})" for name, n in methods.items())]
    if len(methods) == 1:
        parts = list(methods)
    if any(len(set(recipe.weights)) > 1 for recipe in recipes):
        weights = np.mean([recipe.weights for recipe in recipes], 0)
        order = np.argsort(weights)[::-1]
        shown = [f"{names[i]} {weights[i]:.2f}" for i in order if weights[i]]
        parts.append("of " + ", ".join(shown) + (" on average" if several else ""))
    if windows := sorted({recipe.window for recipe in recipes} - {0}):
        parts.append(f"smoothing {recipes[0].smoothing} {' or '.join(map(str, windows))}")
    changed = [r for r in recipes if (r.scale, r.shift) != (1, 0)]
    if changed and several:
        parts.append(f"given the labels' mean and deviation ({len(changed)}{several})")
    elif changed:
        parts.append(f"times {decimals(changed[0].scale)} plus {decimals(changed[0].shift)}")
    clips = collections.Counter(recipe.clip for recipe in recipes if recipe.clip)
    for (low, high), n in clips.items():
        share = f" ({n}{several})" if n < len(recipes) else ""
        parts.append(f"clipped to {low:g} to {high:g}{share}")
    if recipes[0].thresholds:
        parts.append("thresholds " + " ".join(f"{t:.2f}" for t in recipes[0].thresholds))
    return f"{task.name}: {'; '.join(parts)}"
