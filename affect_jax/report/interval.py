"""Intervals for scores by resampling groups: videos, speakers, recordings.

Frames of one video are alike, so an interval from resampled frames is far too narrow. Here whole
groups are drawn with replacement. Nothing is predicted or counted again: each group is reduced
once to the state of a metric (centred moments, counts), and a draw merges these states.

    states = [METRICS["ccc"].update(METRICS["ccc"].init(task), *video) for video in videos]
    low, high = bootstrap_by_group(pooled(METRICS["ccc"], states), len(videos))

The scores of one draw come from one set of groups, so a statistic may combine several of them:

    bootstrap_by_group(lambda counts: valence(counts) + arousal(counts), len(videos))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.metrics import METRICS, Moments
from affect_jax.prediction_files import Predictions
from affect_jax.scoring import NO_TOTAL, Total
from affect_jax.tasks import Task, decode

Statistic = Callable[[np.ndarray], np.ndarray]

_AT_ONCE = 1 << 22  # entries of a table of counts [draws, groups]: memory does not grow with groups


def bootstrap_by_group(
    statistic: Statistic, groups: int, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval (low, high) of a score, by resampling groups with replacement.

    Args:
        statistic: counts int64 [some draws, groups], how often each group is in each draw, to the
            score of each of these draws; `pooled` makes one. NaN marks a draw without a score.
        groups: how many there are; from about ten on the interval is worth reading.
        draws: how many data sets are drawn.
        seed: of the draws; the same seed and number of groups give the same draws.
        level: share of the draws inside.

    Returns:
        The limits, NaN where no draw has a score.

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
    values = values[np.isfinite(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def pooled(metric: Any, states: Sequence[Any]) -> Statistic:
    """The statistic of `bootstrap_by_group` for a metric over all frames of the drawn groups.

    Args:
        metric: an entry of METRICS whose `compute` gives one number.
        states: its state of every group, in the order of the groups.
    """

    def statistic(counts: np.ndarray) -> np.ndarray:
        merged = merge_counted(states, counts)
        return np.array([metric.compute(type(merged)(*draw)) for draw in zip(*merged)], np.float64)

    return statistic


def score_intervals(
    loaded: Mapping[Task, Predictions],
    group_of: Mapping[str, str],
    total: Total = NO_TOTAL,
    **options: Any,
) -> dict[str, tuple[float, float]]:
    """{score: (low, high)} of the scores of predicted tasks that are plain numbers.

    Args:
        loaded, group_of, total: of `score_statistics`.
        options: of `bootstrap_by_group`.
    """
    statistics, groups = score_statistics(loaded, group_of, total)
    return {k: bootstrap_by_group(s, groups, **options) for k, s in statistics.items()}


def score_statistics(
    loaded: Mapping[Task, Predictions],
    group_of: Mapping[str, str],
    total: Total = NO_TOTAL,
) -> tuple[dict[str, Statistic], int]:
    """({score: its statistic}, number of groups); groups are counted in the order of the tracks.

    Args:
        loaded: predictions of one split; tasks without labels have no scores.
        group_of: {track: group}, for every track.
        total: the score over all tasks.
    """
    statistics: dict[str, Statistic] = {}
    groups: dict[str, int] = {}
    for p in loaded.values():
        for name in p.tracks:
            groups.setdefault(group_of[str(name)], len(groups))
    for task, p in loaded.items():
        if p.label is None:
            continue
        of_track = np.array([groups[group_of[str(name)]] for name in p.tracks])
        pred, of_row = decode(task, p.raw), of_track[p.track]
        # Rows of a group together, in their order: looked for once, not once a group.
        order = np.argsort(of_row, kind="stable")
        rows_of = np.split(order, np.searchsorted(of_row[order], np.arange(1, len(groups))))
        for name in (name for name in task.metrics if METRICS[name].sign):
            metric = METRICS[name]
            states = [
                metric.update(metric.init(task), pred[rows], p.label[rows], p.label_mask[rows])
                for rows in rows_of
            ]
            statistics[f"{task.name}/{name}"] = pooled(metric, states)
    if total.terms and all(term in statistics for term, _ in total.terms):
        statistics[total.name] = lambda n: sum(w * statistics[term](n) for term, w in total.terms)
    return statistics, len(groups)


def merge_counted(states: Sequence[Any], counts: np.ndarray) -> Any:
    """The states merged, each as often as `counts` [draws, groups] says, for all draws at once.

    Returns:
        A state of the same kind whose arrays have the draws as a new first axis. It equals
        `merge` called one state after the other, but for rounding.
    """
    kind = type(states[0])
    stacked = kind(*(np.stack(parts) for parts in zip(*states)))
    if kind is Moments:
        return _merge_moments(stacked, counts)
    return kind(*(np.tensordot(counts, part, axes=1) for part in stacked))


def _merge_moments(groups: Moments, counts: np.ndarray) -> Moments:
    """Chan's formula for many parts: moments within the groups, and between their means.

    All are taken about the mean over all groups first, so that no large number is squared.
    """
    n = counts @ groups.n
    share = 1 / np.maximum(n, 1)
    everything = np.maximum(groups.n.sum(0), 1)
    origin_p, origin_t = ((groups.n * mean).sum(0) / everything for mean in groups[1:3])
    gap_p, gap_t = groups.mean_p - origin_p, groups.mean_t - origin_t
    mean_p, mean_t = (counts @ (groups.n * gap) * share for gap in (gap_p, gap_t))

    def second(within: np.ndarray, a: np.ndarray, b: np.ndarray, means: np.ndarray) -> np.ndarray:
        return counts @ (within + groups.n * a * b) - n * means

    return Moments(
        n,
        origin_p + mean_p,
        origin_t + mean_t,
        np.maximum(second(groups.m2_p, gap_p, gap_p, mean_p * mean_p), 0),  # rounding
        np.maximum(second(groups.m2_t, gap_t, gap_t, mean_t * mean_t), 0),
        second(groups.c, gap_p, gap_t, mean_p * mean_t),
    )
