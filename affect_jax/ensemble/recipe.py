"""How the members' raw predictions of one task become the ensemble's: numbers, and their use."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from affect_jax.smoothing import smooth_tracks
from affect_jax.tasks import Task, decode

TINY = 1e-6  # a probability that no member gives, in a logarithm


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Of one task; of values one for each dimension.

    Attributes:
        method: as in choose.METHODS; "convex 0.25" is that share of the convex weights, the rest
            equal ones.
        weights: of the members, sum 1; all equal in a vote and a threshold.
        smoothing, window: of every member of a task of values, before the sum.
        scale, shift: of the sum, after it.
        clip: limits of the result, or None.
        thresholds: of the mean probability, for each label; else 1/2.
        counts: training labels of each class: a tie of votes goes to the rarest class. (): to the
            one with the highest mean probability.
    """

    method: str
    weights: tuple[float, ...]
    smoothing: str = "mean"
    window: int = 0
    scale: float = 1.0
    shift: float = 0.0
    clip: tuple[float, float] | None = None
    thresholds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Recipe:
        """TypeError where the entry has other fields."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()})


def as_values(task: Task) -> Task:
    """The task as an ensemble has it: bins are decoded first, so theirs is one of values."""
    if task.kind != "bins":
        return task
    return dataclasses.replace(
        task, kind="values", loss="mse", decode="identity", centres=(), edges=()
    )


def shares(task: Task, method: str, raw: np.ndarray) -> np.ndarray:
    """What one member gives to a sum over members: its vote, or its probabilities.

    float32 [N, C] of classes, [N, K] of labels, in [0, 1].
    """
    if method == "vote":
        decoded = decode(task, raw)
        given = np.eye(task.size)[decoded] if task.kind == "classes" else decoded
    else:
        given = softmax(raw, -1) if task.kind == "classes" else expit(raw)
    return np.asarray(given, np.float32)


def combine(
    task: Task, recipes: Sequence[Recipe], raws: Sequence[np.ndarray], bounds: Sequence[int]
) -> np.ndarray:
    """float32 [N, size]: raw predictions of the ensemble, which the task's own decoder reads.

    values: clip(scale * sum of weights * smoothed members + shift), a recipe a dimension. classes:
    the logarithm of the mean probability or of the share of votes. labels: the logit of either,
    minus the logit of the threshold. A tie of votes is a positive label (the rule of the ABAW4
    winners), and of classes the rarest in training.

    Args:
        raws: of every member, [N, size], values and not bins.
        bounds: the rows of track i are bounds[i] to bounds[i + 1].
    """
    if task.kind == "values":
        columns = [_values(r, [raw[:, k] for raw in raws], bounds) for k, r in enumerate(recipes)]
        return np.stack(columns, 1).astype(np.float32)
    (recipe,) = recipes
    given = np.stack([shares(task, recipe.method, raw) for raw in raws])
    sure = None
    if recipe.method == "vote" and task.kind == "classes" and not recipe.counts:
        sure = sum(shares(task, "mean", raw) for raw in raws)
    return mix(task, recipe, given, sure)


def average(weights: Sequence[float], given: np.ndarray) -> np.ndarray:
    """float32 [N, size]: the weighted sum over the members of their `shares` [M, N, size]."""
    return np.tensordot(np.asarray(weights, np.float32), given, axes=1)


def mix(
    task: Task, recipe: Recipe, given: np.ndarray, sure: np.ndarray | None = None
) -> np.ndarray:
    """`combine` of classes and labels, from the `shares` of every member [M, N, size].

    Args:
        sure: [N, C], which of the tied classes wins where the recipe has no counts.
    """
    total = average(recipe.weights, given)
    if task.kind == "labels":
        thresholds = np.array(recipe.thresholds or (0.5,) * task.size)
        # What reaches the threshold but for float32's rounding does: a tie of votes, say.
        total = np.where(np.abs(total - thresholds) < 1e-6, thresholds, total)
        total = np.clip(total, TINY, 1 - TINY)
        return (logit(total) - logit(thresholds)).astype(np.float32)
    if recipe.method == "vote":
        total = _without_ties(
            total, -np.array(recipe.counts) if recipe.counts else sure, len(given)
        )
    return np.log(np.maximum(total, TINY)).astype(np.float32)


def _values(recipe: Recipe, columns: Sequence[np.ndarray], bounds: Sequence[int]) -> np.ndarray:
    """One dimension of a task of values, float64 [N]."""
    total = np.zeros(len(columns[0]))
    for weight, column in zip(recipe.weights, columns):
        if weight:
            total += weight * smooth_tracks(column, bounds, recipe.window, recipe.smoothing)
    total = recipe.scale * total + recipe.shift
    return total if recipe.clip is None else np.clip(total, *recipe.clip)


def _without_ties(total: np.ndarray, preference: np.ndarray, members: int) -> np.ndarray:
    """Shares of votes [N, C], the tied class of the highest preference raised by half a vote."""
    tied = np.isclose(total, total.max(-1, keepdims=True))
    winner = np.where(tied, preference, -np.inf).argmax(-1)
    raised = total.copy()
    raised[np.arange(len(total)), winner] += 0.5 / members
    return raised / raised.sum(-1, keepdims=True)
