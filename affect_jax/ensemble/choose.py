"""Fits the recipe of a task, every choice made by folds over groups inside the fitted split.

Candidates are compared by their score out of fold: each fold is predicted by what was fitted on
the others, all folds are joined, and one score is taken, as in a report. The winner is fitted
again on the whole split. Where candidates are equal the one listed first, the simpler, stays.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from affect_jax.ensemble import ccc_weights
from affect_jax.ensemble.ccc_weights import Joint
from affect_jax.ensemble.recipe import Recipe, average, mix, shares
from affect_jax.gaps import smooth_around, where_predicted
from affect_jax.metrics import METRICS, LabelCounts, Moments
from affect_jax.metrics.regression import ccc_of
from affect_jax.prediction_files import Predictions
from affect_jax.scoring import Tally
from affect_jax.tasks import Task
from data_pipelines import bursts, editions
from data_pipelines.errors import UserError

# By kind, simplest first. All but the first of a kind need labels, except vote.
METHODS = {
    "values": ("mean", "balanced", "convex", "greedy"),
    "classes": ("mean", "vote", "greedy"),
    "labels": ("mean", "vote", "threshold", "greedy"),
}
SHARES = (0.25, 0.5, 1.0)  # of the convex weights; the rest is equal weights
THRESHOLDS = np.arange(5, 96) / 100
MAX_FOLDS = 8
COUNT_ROUNDS = 10  # of greedy selection by a score of counts, which reads all frames each time


@dataclasses.dataclass(frozen=True)
class Options:
    """Candidates between which the folds choose.

    Attributes:
        methods: {kind: methods}.
        smoothing: kind in `smoothing.KINDS`; windows: in frames.
        match: whether values get a linear change to the labels' mean and deviation.
    """

    methods: Mapping[str, tuple[str, ...]]
    smoothing: str = "mean"
    windows: tuple[int, ...] = (0,)
    match: tuple[bool, ...] = (False,)

    def needs_labels(self, kind: str) -> bool:
        """True if there is anything to choose or to fit for a task of this kind."""
        methods = self.methods[kind]
        if kind == "values" and (len(self.windows) > 1 or any((*self.match, len(self.match) > 1))):
            return True
        return len(methods) > 1 or methods[0] not in ("mean", "vote")


MEANS = Options({kind: ("mean",) for kind in METHODS})


class Tried(NamedTuple):
    """A candidate and its score out of fold; of values the number of the dimension too."""

    dimension: int
    method: str
    window: int
    match: bool
    score: float
    chosen: bool


class Fit(NamedTuple):
    """The fitted recipes of a task.

    Attributes:
        recipes: one, or one a dimension of values.
        equal: the same with equal weights: smoothed, changed and clipped alike.
        tried: all candidates.
    """

    recipes: tuple[Recipe, ...]
    equal: tuple[Recipe, ...]
    tried: tuple[Tried, ...]


def folds_of(reference: Predictions, wanted: int = MAX_FOLDS) -> np.ndarray:
    """int [N]: the fold of each frame; a fold a group where there are no more groups than folds.

    Groups are dealt out by falling number of frames, each to the fold that has the fewest.
    """
    names = reference.tracks if reference.groups is None else reference.groups
    groups, of_track = np.unique(names, return_inverse=True)
    of_frame = of_track[reference.track]
    frames = np.bincount(of_frame, minlength=len(groups))
    total, fold = np.zeros(min(wanted, len(groups))), np.zeros(len(groups), int)
    for group in np.argsort(-frames, kind="stable"):
        fold[group] = total.argmin()
        total[fold[group]] += frames[group]
    return fold[of_frame]


def unfitted(task: Task, members: int, options: Options, counts: tuple[int, ...] = ()) -> Fit:
    """The recipe where options leave nothing to fit: a mean, smoothed as asked for, or a vote."""
    weights, method = _plain(ccc_weights.mean(members)), options.methods[task.kind][0]
    if task.kind == "values":
        recipe = Recipe(method, weights, options.smoothing, options.windows[0])
        return Fit((recipe,) * task.size, (), ())
    return Fit((Recipe(method, weights, counts=counts),), (), ())


def fit(
    task: Task,
    raws: Sequence[np.ndarray],
    reference: Predictions,
    options: Options,
    counts: tuple[int, ...] = (),
) -> Fit:
    """The recipe of one task, by the labelled frames for which all members have a number.

    Args:
        raws: raw predictions of every member, [N, size]; NaN in a frame without a number.
        reference: whose labels, tracks and groups these frames have; `raw` is not read.
        counts: training labels of each class.

    Raises:
        UserError: no label, none where all members have a number, or only one group.
    """
    if reference.label is None or not reference.label_mask.any():
        raise UserError(
            f"task {task.name}: nothing to fit on, there is no label of it. Name a split that has "
            "labels (--config.data.split), or what needs none: --values=mean --classes=mean "
            "--labels=mean --smooth=none --match=no."
        )
    reference = where_predicted(reference, raws)
    if not reference.label_mask.any():
        raise UserError(
            f"task {task.name}: no frame with a label is predicted by all {len(raws)} members, so "
            "nothing can be fitted. Leave out those that predict little, or fit nothing: "
            "--values=mean --classes=mean --labels=mean --smooth=none --match=no."
        )
    fold = folds_of(reference)
    if fold.max() == 0:
        raise UserError(
            f"task {task.name}: all tracks of the split are of one group, so nothing can be chosen "
            "by folds. Give one candidate each: --values=, --classes=, --labels=, --smooth=, "
            "--match=."
        )
    if np.diff(reference.bounds).max() == 1:  # clips have no course to smooth
        options = dataclasses.replace(options, windows=(0,))
    if task.kind == "values":
        fits = [
            _fit_values(task, k, [raw[:, k] for raw in raws], reference, fold, options)
            for k in range(task.size)
        ]
        recipes, equal, tried = (tuple(part) for part in zip(*fits))
        return Fit(recipes, equal, tuple(itertools.chain.from_iterable(tried)))
    return _fit_counts(task, raws, reference, fold, options, counts)


def _plain(weights: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(w) for w in weights)


# Values ------------------------------------------------------------------------------------------


def _fit_values(
    task: Task,
    k: int,
    columns: Sequence[np.ndarray],
    reference: Predictions,
    fold: np.ndarray,
    options: Options,
) -> tuple[Recipe, Recipe, list[Tried]]:
    """(recipe, the same with equal weights, candidates) of one dimension; no clipping in folds."""
    label, mask = reference.label[:, k].astype(np.float64), reference.label_mask[:, k]
    folds = range(fold.max() + 1)
    best, tried = None, []
    for window in options.windows:
        smoothed = np.stack(
            [smooth_around(c, reference.bounds, window, options.smoothing) for c in columns], 1
        )
        parts = [
            Joint.of(smoothed[rows], label[rows]) for rows in (mask & (fold == f) for f in folds)
        ]
        whole = functools.reduce(Joint.merge, parts)
        rest = [
            functools.reduce(Joint.merge, (part for g, part in enumerate(parts) if g != f))
            for f in folds
        ]
        for match in options.match:
            solved = {}
            for method, weigh in _weighings(options.methods["values"], match, solved):
                held_out = [
                    part.moments(weights, *_change(others, weights, match))
                    for part, others in zip(parts, rest)
                    for weights in (weigh(others),)
                ]
                score = ccc_of(functools.reduce(Moments.merge, held_out))
                tried.append(Tried(k, method, window, match, score, False))
                if best is None or score > best[0]:
                    best = score, len(tried) - 1, weigh(whole), whole
    _, place, weights, whole = best
    tried[place] = chosen = tried[place]._replace(chosen=True)
    recipes = []
    for method, w in ((chosen.method, weights), ("mean", ccc_weights.mean(len(columns)))):
        scale, shift = _change(whole, w, chosen.match)
        recipes.append(
            Recipe(
                method,
                _plain(w),
                smoothing=options.smoothing,
                window=chosen.window,
                scale=scale,
                shift=shift,
                clip=_range(task, label[mask]),
            )
        )
    return *recipes, tried


def _range(task: Task, label_n: np.ndarray) -> tuple[float, float] | None:
    """The range that labels of this name have, where these lie in it; else None."""
    limits = editions.RANGES.get(task.name)
    if task.names and task.names == bursts.DEFINITIONS.get(task.name, {}).get("names"):
        limits = bursts.RANGE
    if limits is None:
        return None
    return limits if ((limits[0] <= label_n) & (label_n <= limits[1])).all() else None


def _change(joint: Joint, weights: np.ndarray, match: bool) -> tuple[float, float]:
    return ccc_weights.matching(joint, weights) if match else (1.0, 0.0)


def _weighings(
    methods: Sequence[str], match: bool, solved: dict[int, np.ndarray]
) -> Iterable[tuple[str, Callable[[Joint], np.ndarray]]]:
    """(name, joint moments -> weights); `solved` keeps what is asked for again."""

    def convex(share: float, joint: Joint) -> np.ndarray:
        if id(joint) not in solved:
            solved[id(joint)] = ccc_weights.convex(joint, match)
        return share * solved[id(joint)] + (1 - share) * ccc_weights.mean(len(joint.mean))

    def greedy(joint: Joint) -> np.ndarray:
        score = functools.partial(ccc_weights.quality, joint, match=match)
        return ccc_weights.greedy(len(joint.mean), score)

    for method in methods:
        if method == "mean":
            yield method, lambda joint: ccc_weights.mean(len(joint.mean))
        elif method == "balanced":
            yield method, ccc_weights.balanced
        elif method == "greedy":
            yield method, greedy
        else:
            for share in SHARES:
                yield f"convex {share:g}", functools.partial(convex, share)


# Classes and labels ------------------------------------------------------------------------------


def _fit_counts(
    task: Task,
    raws: Sequence[np.ndarray],
    reference: Predictions,
    fold: np.ndarray,
    options: Options,
    counts: tuple[int, ...],
) -> Fit:
    metric = next((name for name in task.metrics if METRICS[name].sign > 0), None)
    if metric is None:
        raise UserError(f"task {task.name}: has no metric to choose by in tasks.json.")
    label, mask, members = reference.label, reference.label_mask, len(raws)
    given = {"mean": np.stack([shares(task, "mean", raw) for raw in raws])}
    if "vote" in options.methods[task.kind]:
        given["vote"] = np.stack([shares(task, "vote", raw) for raw in raws])
    sure = np.nansum(given["mean"], 0)

    def parts_of(method: str, rows: np.ndarray) -> np.ndarray:
        return given.get(method, given["mean"])[:, rows]

    def fitted(method: str, rows: np.ndarray) -> Recipe:
        equal = Recipe(method, _plain(ccc_weights.mean(members)), counts=counts)
        if method not in ("threshold", "greedy"):
            return equal
        parts = parts_of(method, rows)
        if method == "threshold":
            thresholds = best_thresholds(parts.mean(0), label[rows], mask[rows], metric)
            return dataclasses.replace(equal, thresholds=_plain(thresholds))

        centre, label_here, mask_here = 0.5 * (task.kind == "labels"), label[rows], mask[rows]

        def score(weights: np.ndarray) -> float:
            # As `mix` would decode, without the logarithms: this runs some hundred times.
            tally = Tally(task, (metric,))
            tally.add(average(weights, parts) - np.float32(centre), label_here, mask_here)
            return tally.scores()[f"{task.name}/{metric}"]

        weights = ccc_weights.greedy(members, score, COUNT_ROUNDS)
        return dataclasses.replace(equal, weights=_plain(weights))

    tried, best = [], None
    for method in options.methods[task.kind]:
        held_out = Tally(task, (metric,))
        for rows in (fold == f for f in range(fold.max() + 1)):
            raw = mix(task, fitted(method, ~rows), parts_of(method, rows), sure[rows])
            held_out.add(raw, label[rows], mask[rows])
        score = held_out.scores()[f"{task.name}/{metric}"]
        tried.append(Tried(0, method, 0, False, score, False))
        if best is None or score > tried[best].score:
            best = len(tried) - 1
    tried[best] = tried[best]._replace(chosen=True)
    everywhere = np.ones(len(fold), bool)
    equal = fitted("mean", everywhere)
    return Fit((fitted(tried[best].method, everywhere),), (equal,), tuple(tried))


def best_thresholds(
    probability_nk: np.ndarray, label_nk: np.ndarray, mask_nk: np.ndarray, metric: str
) -> np.ndarray:
    """[K]: for each label the threshold of THRESHOLDS with the highest score.

    Equally good ones: the nearest to 1/2. A label without labelled frames: 1/2.

    Args:
        metric: of METRICS, for tasks of labels.
    """
    order = np.argsort(np.abs(THRESHOLDS - 0.5), kind="stable")
    chosen = []
    for p, t, mask in zip(probability_nk.T, label_nk.T, mask_nk.T):
        # How many thresholds a probability reaches; then counts at or above each one.
        reached = np.searchsorted(THRESHOLDS, p[mask], side="right")
        bins = len(THRESHOLDS) + 1
        per_bin = [np.bincount(reached[t[mask] == one], minlength=bins) for one in (1, 0)]
        (positives, tp), (negatives, fp) = ((n.sum(), n[::-1].cumsum()[-2::-1]) for n in per_bin)
        cells = zip(tp, fp, positives - tp, negatives - fp)
        scores = np.array(
            [METRICS[metric].compute(LabelCounts(*(np.array([c]) for c in cell))) for cell in cells]
        )
        chosen.append(THRESHOLDS[order[scores[order].argmax()]] if mask.any() else 0.5)
    return np.array(chosen)
