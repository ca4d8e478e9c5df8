"""Trials of a sweep: the settings that `config.sweep` asks for, and what came of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from affect_jax import config as configs
from data_pipelines.errors import UserError, nearest, shown
from data_pipelines.plan import generator

METHODS = ("grid", "random")
MOST = 10_000
# Keys that make trials no longer comparable, or that the sweep itself sets. The tasks may come in
# another order, which is that of a chain.
FIXED = ("name", "monitor", "data.root", "data.train_split", "data.split")
FIXED_GROUPS = ("folds", "sweep", "total")

Values = dict[str, Any]  # {key of the config: value}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One setting of a sweep and its result.

    Attributes:
        name: of its folder.
        values: {key: value} of the keys that are searched.
        scores: {score: number}; {} where it failed.
        deviation: {score: standard deviation over its folds}; {} where it has none.
        failed: why it was given up; "" where it was not.
    """

    name: str
    values: Values
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    deviation: Mapping[str, float] = dataclasses.field(default_factory=dict)
    failed: str = ""


def ranked(trials: Iterable[Trial], objective: str, sign: int) -> list[Trial]:
    """The trials with a finite score, the best first; of equal ones the first stays first.

    Args:
        sign: 1 where a higher score is better, -1 where a lower one is.
    """
    finite = [t for t in trials if math.isfinite(t.scores.get(objective, math.nan))]
    return sorted(finite, key=lambda t: -sign * t.scores[objective])


def settings(config: ConfigDict) -> dict[str, Values]:
    """{trial: its values}, named trial1, trial2, ... in the order in which they are run.

    A grid has every combination, the last key changes fastest. At random, `sweep.trials` different
    combinations are drawn, all values of a key alike: the first n are the same for any number.

    Raises:
        UserError: the space is none, too large, or asks for what no trial may change.
    """
    space = _space(config.sweep.space, tuple(config.tasks))
    method, size = config.sweep.method, math.prod(len(values) for _, values in space)
    if method not in METHODS:
        raise UserError(f"config.sweep.method = {shown(method)}: {nearest(method, METHODS)}")
    count = size if method == "grid" else min(size, config.sweep.trials)
    if count > MOST:
        raise UserError(
            f"config.sweep.space: {count:,} trials, expected at most {MOST:,}. Leave values out, "
            "or draw some of them: --config.sweep.method=random."
        )
    chosen = _drawn(space, count, config.sweep.seed) if method == "random" else range(size)
    return {f"trial{i}": _values(space, index) for i, index in enumerate(chosen, 1)}


def config_of(config: ConfigDict, values: Values) -> ConfigDict:
    """The config of one trial: that of the sweep with these values, and no sweep of its own."""
    own = config.copy_and_resolve_references()
    own.sweep.space = ()
    try:
        configs.override(own, [(key, as_text(value)) for key, value in values.items()])
        configs.check(own)
        return configs.absolute_paths(own)
    except UserError as error:
        raise UserError(f"config.sweep.space: {error}") from None


def as_text(value: Any) -> str:
    """A value as --config.KEY=VALUE takes it."""
    return value if isinstance(value, str) else repr(value)


def _space(space: Any, tasks: tuple[str, ...]) -> list[tuple[str, Sequence[Any]]]:
    """[(key, values)] of `sweep.space`; `tasks`: those of the config."""
    form = "expected (('optim.lr', (1e-4, 3e-4)), ...): a key and its values each"
    if not space:
        raise UserError(f"config.sweep.space is empty: {form}.")
    pairs = []
    for pair in space if isinstance(space, tuple | list) else (space,):
        whole = isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)
        if not (whole and isinstance(pair[1], tuple | list)):
            raise UserError(
                f"config.sweep.space: {form}, got {shown(pair)}. Of one key too, the outer "
                "brackets end in a comma: (('optim.lr', (1e-4, 3e-4)),)"
            )
        key, values = pair
        if key in FIXED or key.partition(".")[0] in FIXED_GROUPS:
            raise UserError(
                f"config.sweep.space: {key} is the same in all trials, which are compared by one "
                "score of one split. Leave it out."
            )
        if key in [other for other, _ in pairs]:
            raise UserError(f"config.sweep.space: {key} comes twice. Join its values.")
        _require_values(key, values)
        if key == "tasks":
            _require_orders(values, tasks)
        pairs.append((key, values))
    return pairs


def _require_values(key: str, values: Sequence[Any]) -> None:
    if not values:
        raise UserError(f"config.sweep.space: {key} has no values.")
    for i, value in enumerate(values):
        if not isinstance(value, bool | int | float | str | tuple | list):
            raise UserError(
                f"config.sweep.space: {key}: {shown(value)} is no number, text, or tuple of them."
            )
        if value in values[:i]:
            raise UserError(f"config.sweep.space: {key}: {shown(value)} comes twice.")


def _require_orders(values: Sequence[Any], tasks: tuple[str, ...]) -> None:
    """UserError for a value of `tasks` that is no other order of them."""
    for value in values:
        if not isinstance(value, tuple | list) or sorted(map(str, value)) != sorted(tasks):
            raise UserError(
                f"config.sweep.space: tasks: {shown(value)} is no order of config.tasks = "
                f"{shown(tasks)}. Trials are compared by one score, of the same tasks."
            )


def _drawn(space: Sequence[tuple[str, Sequence[Any]]], count: int, seed: int) -> list[int]:
    """`count` different numbers of combinations in the order of the draw."""
    rng, drawn = generator(seed, "sweep"), {}
    while len(drawn) < count:
        index = 0  # not drawn at once: there may be more combinations than 64 bits count
        for _, values in space:
            index = index * len(values) + int(rng.integers(len(values)))
        drawn[index] = None
    return list(drawn)


def _values(space: Sequence[tuple[str, Sequence[Any]]], index: int) -> Values:
    """The combination of this number, counted with the last key fastest."""
    chosen = {}
    for key, values in reversed(space):
        index, place = divmod(index, len(values))
        chosen[key] = values[place]
    return dict(reversed(chosen.items()))
