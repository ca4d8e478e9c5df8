"""How the losses of several tasks become one number.

A weighting is `init(tasks) -> (params, state)` and `combine(params, state, losses) -> (total,
state)`. Its params are trained with the model (`params["weighting"]`), its state follows from
step to step. `losses` is {task: scalar}, each already multiplied by the task's own weight.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from affect_jax.tasks import Task
from data_pipelines.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Weighting:
    """One rule. Both functions are pure; `params` and `state` are dicts, empty where unused."""

    init: Callable[[Sequence[Task]], tuple[dict[str, Any], dict[str, Any]]]
    combine: Callable[
        [Mapping[str, Any], Mapping[str, Any], Mapping[str, jax.Array]],
        tuple[jax.Array, dict[str, Any]],
    ]


def _sum(params, state, losses):
    del params
    return sum(losses.values(), jnp.float32(0)), state


WEIGHTINGS: dict[str, Weighting] = {
    "fixed": Weighting(init=lambda tasks: ({}, {}), combine=_sum),
}


def weighting(name: str) -> Weighting:
    """The weighting of that name (`config.weighting`)."""
    if name not in WEIGHTINGS:
        raise UserError(f"config.weighting = {name!r}: {nearest(name, WEIGHTINGS)}")
    return WEIGHTINGS[name]
