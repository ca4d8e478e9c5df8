"""Intervals for scores by resampling groups: videos, speakers, recordings.

Frames of one video are alike, so an interval from resampled frames is far too narrow. Here whole
groups are drawn with replacement. Nothing is predicted or counted again: each group is reduced
once to the state of a metric (centred moments, counts), and a draw merges these states: sums of
the groups, each as often as it was drawn, which are a product of matrices for many draws.

    states = [METRICS["ccc"].update(METRICS["ccc"].init(task), *video) for video in videos]
    low, high = bootstrap_by_group(pooled(METRICS["ccc"], states), len(videos))

The scores of one draw come from one set of groups, so a statistic may combine several of them:

    bootstrap_by_group(lambda counts: valence(counts) + arousal(counts), len(videos))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.metrics import METRICS, Moments
from affect_jax.metrics.arrays import Groups
from affect_jax.metrics.table import State
from affect_jax.prediction_files import Predictions
from affect_jax.scoring import NO_TOTAL, Tally, Total, tally_of
from affect_jax.tasks import Task

Statistic = Callable[[np.ndarray], np.ndarray]

MIN_GROUPS = 5  # of which `score_intervals` gives any: of one, say, both limits are the score
_AT_ONCE = 1 << 22  # entries of a table of counts [draws, groups]: memory does not grow with groups


def bootstrap_by_group(
    statistic: Statistic, groups: int, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval (low, high) of a score, or of several, by resampling groups.

    Args:
        statistic: counts int64 [some draws, groups], how often each group is in each draw, to the
            score of each of these draws, or to [draws, scores]; `pooled` makes one. NaN marks a
            draw without a score.
        groups: how many there are; from about ten on the interval is worth reading.
        draws: how many data sets are drawn.
        seed: of the draws; the same seed and number of groups give the same draws.
        level: share of the draws inside.

    Returns:
        The limits, a number or [scores] each; NaN where no draw has a score.

    Raises:
        ValueError: no group, no draw, or a level outside (0, 1).

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    if groups < 1 or draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"bootstrap_by_group: groups {groups} and draws {draws} must be at least 1, and level "
            f"{level} inside (0, 1)."
        )
    rng = np.random.default_rng(seed)
    equal, at_once = np.full(groups, 1 / groups), max(1, _AT_ONCE // groups)
    sizes = [min(at_once, draws - begun) for begun in range(0, draws, at_once)]
    values = np.concatenate(
        [np.asarray(statistic(rng.multinomial(groups, equal, size=n)), np.float64) for n in sizes]
    )
    low, high = np.apply_along_axis(_limits, 0, values, level)
    return low, high


def _limits(values: np.ndarray, level: float) -> np.ndarray:
    values = values[np.isfinite(values)]
    if not values.size:
        return np.full(2, np.nan)
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2])


def pooled(metric: Any, states: Sequence[State]) -> Statistic:
    """The statistic of `bootstrap_by_group` for a metric over all frames of the drawn groups.

    Args:
        metric: an entry of METRICS whose `compute` gives one number.
        states: its state of every group, in the order of the groups.
    """
    merge = counted(type(states[0])(*map(np.stack, zip(*states))))

    def statistic(counts: np.ndarray) -> np.ndarray:
        merged = merge(counts)
        return np.array([metric.compute(type(merged)(*draw)) for draw in zip(*merged)], np.float64)

    return statistic


def score_intervals(
    loaded: Mapping[Task, Predictions],
    group_of: Mapping[str, str],
    total: Total = NO_TOTAL,
    **options: Any,
) -> dict[str, tuple[float, float]]:
    """{score: (low, high)} of the scores of predicted tasks that are plain numbers.

    {} where there are fewer than MIN_GROUPS groups: they say too little about another draw.

    Args:
        loaded, group_of, total: of `DrawnScores`.
        options: of `bootstrap_by_group`.
    """
    drawn = DrawnScores(loaded, group_of, total)
    if not drawn.names or drawn.groups < MIN_GROUPS:
        return {}
    limits = bootstrap_by_group(drawn, drawn.groups, **options)
    return {name: (float(low), float(high)) for name, low, high in zip(drawn.names, *limits)}


class DrawnScores:
    """All scores of predictions that are plain numbers, as a statistic of `bootstrap_by_group`.

    Attributes:
        names: of the scores, in the order of the columns.
        groups: how many there are, counted in the order of the tracks.
    """

    def __init__(
        self,
        loaded: Mapping[Task, Predictions],
        group_of: Mapping[str, str],
        total: Total = NO_TOTAL,
    ):
        """The groups' states are made here, once.

        Args:
            loaded: predictions of one split; tasks without labels have no scores.
            group_of: {track: group}, for every track.
            total: the score over all tasks.
        """
        number: dict[str, int] = {}
        for p in loaded.values():
            for name in p.tracks:
                number.setdefault(group_of[str(name)], len(number))
        self.groups, self._total = len(number), total
        self._parts: list[tuple[Tally, dict[type, Callable[[np.ndarray], State]]]] = []
        for task, p in loaded.items():
            metrics = [name for name in task.metrics if METRICS[name].sign]
            if p.label is None or not len(p.label) or not metrics:
                continue
            of_track = np.array([number[group_of[str(name)]] for name in p.tracks])
            tally = tally_of(task, p, metrics, Groups(of_track[p.track], self.groups))
            self._parts.append((tally, {k: counted(state) for k, state in tally.states.items()}))
        plain = (f"{tally.task.name}/{m}" for tally, _ in self._parts for m in tally.metrics)
        self.names = tuple(total.added_to(dict.fromkeys(plain, 0.0)))

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        """Scores [draws, names] of counts [draws, groups]."""
        counts = np.asarray(counts, np.float64)
        scores: list[dict[str, float]] = [{} for _ in counts]
        for tally, merges in self._parts:
            merged = {kind: zip(*merge(counts)) for kind, merge in merges.items()}
            for one, states in zip(scores, zip(*merged.values())):
                drawn = {kind: kind(*state) for kind, state in zip(merged, states)}
                one |= Tally(tally.task, tally.metrics, drawn).scores()
        return np.array([list(self._total.added_to(one).values()) for one in scores])


def counted(groups: State) -> Callable[[np.ndarray], State]:
    """The merging of groups' states [groups, ...], each as often as it is drawn.

    Returns:
        Of counts [draws, groups] the merged states, their arrays [draws, ...] float64: what
        `merge` gives, called one state after the other, but for rounding.
    """
    kind, finish = type(groups), None
    if kind is Moments:
        groups, finish = _additive(groups)
    shapes = [part.shape[1:] for part in groups]
    table = np.concatenate([part.reshape(len(part), -1) for part in groups], 1).astype(np.float64)
    ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1]

    def merge(counts: np.ndarray) -> State:
        parts = np.split(np.asarray(counts, np.float64) @ table, ends, axis=1)
        sums = kind(*(part.reshape(-1, *shape) for part, shape in zip(parts, shapes)))
        return finish(sums) if finish else sums

    return merge


def _additive(groups: Moments) -> tuple[Moments, Callable[[Moments], Moments]]:
    """(sums and sums of squares of every group, sums of those of some groups -> their moments).

    Chan's formula for many parts: moments within the groups, and between their means. All are taken
    about the mean over all groups, so that no large number is squared; and that, relative to one of
    them, so that constants stay exact.
    """
    n = groups.n
    first = (n > 0).argmax(0), np.arange(n.shape[1])
    everything = np.maximum(n.sum(0), 1)
    origin_p, origin_t = (
        mean[first] + (n * (mean - mean[first])).sum(0) / everything for mean in groups[1:3]
    )
    gap_p, gap_t = groups.mean_p - origin_p, groups.mean_t - origin_t
    sums = Moments(
        n,
        n * gap_p,
        n * gap_t,
        groups.m2_p + n * gap_p * gap_p,
        groups.m2_t + n * gap_t * gap_t,
        groups.c + n * gap_p * gap_t,
    )

    def finish(drawn: Moments) -> Moments:
        share = 1 / np.maximum(drawn.n, 1)
        mean_p, mean_t = drawn.mean_p * share, drawn.mean_t * share
        return Moments(
            drawn.n,
            origin_p + mean_p,
            origin_t + mean_t,
            np.maximum(drawn.m2_p - drawn.n * (mean_p * mean_p), 0),  # rounding
            np.maximum(drawn.m2_t - drawn.n * (mean_t * mean_t), 0),
            drawn.c - drawn.n * (mean_p * mean_t),
        )

    return sums, finish
