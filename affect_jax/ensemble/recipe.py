"""How the members' raw predictions of one task become the ensemble's: numbers, and their use."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from affect_jax.gaps import smooth_around
from affect_jax.smoothing import KINDS as SMOOTHINGS
from affect_jax.tasks import Task, decode

TINY = 1e-6  # a probability that no member gives, in a logarithm


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Weights and treatment of one task's members; one recipe a dimension for tasks of values.

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


def recipes_from_json(entries: Any, task: Task, members: int) -> tuple[Recipe, ...]:
    """The recipes of a task, as dataclasses.asdict made them; () for an empty list.

    Raises:
        ValueError, TypeError: other fields, or numbers that no fit gives.
    """
    recipes = tuple(Recipe(**{k: _plain(v) for k, v in entry.items()}) for entry in entries)
    if recipes and len(recipes) != (task.size if task.kind == "values" else 1):
        raise ValueError(f"task {task.name}: {len(recipes)} recipes")
    for recipe in recipes:
        require_strings("method, smoothing", (recipe.method, recipe.smoothing))
        require_numbers("weights", recipe.weights, members)
        require_numbers("scale, shift", (recipe.scale, recipe.shift))
        require_numbers("window", (recipe.window,), whole=True)
        require_numbers("counts", recipe.counts, task.size * bool(recipe.counts), whole=True)
        require_numbers("thresholds", recipe.thresholds, task.size * bool(recipe.thresholds))
        require_numbers("clip", recipe.clip or ())
        if recipe.clip and not (len(recipe.clip) == 2 and recipe.clip[0] <= recipe.clip[1]):
            raise ValueError(f"clip {recipe.clip}")
        if not all(0 < threshold < 1 for threshold in recipe.thresholds):
            raise ValueError(f"thresholds {recipe.thresholds}")
        if recipe.smoothing not in SMOOTHINGS:
            raise ValueError(f"smoothing {recipe.smoothing!r}")
    return recipes


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def require_numbers(
    what: str, values: Sequence[Any], count: int | None = None, *, whole: bool = False
) -> None:
    """ValueError unless these are finite numbers, `count` of them; `whole`: integers from 0 on."""
    for x in values:
        number = isinstance(x, int if whole else int | float) and not isinstance(x, bool)
        if not (number and math.isfinite(x) and (not whole or x >= 0)):
            raise ValueError(f"{what}: {x!r:.60}, expected {'integers' if whole else 'numbers'}")
    if count is not None and len(values) != count:
        raise ValueError(f"{what}: {len(values)} of them, expected {count}")


def require_strings(what: str, values: Sequence[Any]) -> None:
    """ValueError unless these are texts."""
    if wrong := [x for x in values if not isinstance(x, str)]:
        raise ValueError(f"{what}: {wrong[0]!r:.60}, expected texts")


def as_values(task: Task) -> Task:
    """The task as an ensemble has it: bins are decoded first, so theirs is one of values."""
    if task.kind != "bins":
        return task
    return dataclasses.replace(
        task, kind="values", loss="mse", decode="identity", centres=(), edges=()
    )


def shares(task: Task, method: str, raw: np.ndarray) -> np.ndarray:
    """Votes or probabilities of one member, its share in a sum over members.

    float32 [N, C] of classes, [N, K] of labels, in [0, 1]; NaN in a frame without a number.
    """
    if method == "vote":
        decoded = decode(task, raw)
        given = np.eye(task.size)[decoded] if task.kind == "classes" else decoded
    else:
        given = softmax(raw, -1) if task.kind == "classes" else expit(raw)
    return np.where(np.isnan(raw).any(-1, keepdims=True), np.nan, given).astype(np.float32)


def combine(
    task: Task, recipes: Sequence[Recipe], raws: Sequence[np.ndarray], bounds: Sequence[int]
) -> np.ndarray:
    """float32 [N, size]: raw predictions of the ensemble, which the task's own decoder reads.

    values: clip(scale * sum of weights * smoothed members + shift), a recipe a dimension. classes:
    the logarithm of the mean probability or of the share of votes. labels: the logit of either,
    minus the logit of the threshold. A tie of votes is a positive label (the rule of the ABAW4
    winners), and of classes the rarest in training. In a frame where a member has no number the
    weights of the others are made up to 1; where none of a weight has one it is NaN.

    Args:
        raws: of every member, [N, size], values and not bins; NaN in a frame without a number.
        bounds: the rows of track i are bounds[i] to bounds[i + 1].
    """
    if task.kind == "values":
        columns = [_values(r, [raw[:, k] for raw in raws], bounds) for k, r in enumerate(recipes)]
        return np.stack(columns, 1).astype(np.float32)
    (recipe,) = recipes
    given = np.stack([shares(task, recipe.method, raw) for raw in raws])
    sure = None
    if recipe.method == "vote" and task.kind == "classes" and not recipe.counts:
        sure = np.nansum([shares(task, "mean", raw) for raw in raws], 0)
    return mix(task, recipe, given, sure)


def average(weights: Sequence[float], given: np.ndarray) -> np.ndarray:
    """float32 [N, size]: the weighted sum over the members of their `shares` [M, N, size].

    Where some are NaN it is that of the others, whose weights are made up to 1.
    """
    weights = np.asarray(weights, np.float32)
    missing = np.isnan(given[..., 0])
    if not missing.any():
        return np.tensordot(weights, given, axes=1)
    here = np.where(missing, 0, weights[:, None])
    total = np.einsum("mn,mnk->nk", here, np.nan_to_num(given))
    return total / _or_nan(here.sum(0))[:, None]


def _or_nan(mass: np.ndarray) -> np.ndarray:
    """The weight of the members that have a number, NaN where that is none."""
    return np.where(mass > 0, mass, np.nan)


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
    total, mass = np.zeros(len(columns[0])), np.zeros(len(columns[0]))
    weighted = [(weight, column) for weight, column in zip(recipe.weights, columns) if weight]
    missing = np.any([np.isnan(column) for _, column in weighted], 0)
    for weight, column in weighted:
        smoothed = smooth_around(column, bounds, recipe.window, recipe.smoothing)
        total += np.where(np.isnan(column), 0, weight * smoothed)
        mass += np.where(np.isnan(column), 0, weight)
    total = np.where(missing, total / _or_nan(mass), total)
    total = recipe.scale * total + recipe.shift
    return total if recipe.clip is None else np.clip(total, *recipe.clip)


def _without_ties(total: np.ndarray, preference: np.ndarray, members: int) -> np.ndarray:
    """Shares of votes [N, C], the tied class of the highest preference raised by half a vote."""
    tied = np.isclose(total, total.max(-1, keepdims=True))
    winner = np.where(tied, preference, -np.inf).argmax(-1)
    raised = total.copy()
    raised[np.arange(len(total)), winner] += 0.5 / members
    return raised / raised.sum(-1, keepdims=True)
