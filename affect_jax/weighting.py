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


def _uncertainty_init(tasks):
    return {"log_sigma": {task.name: jnp.zeros(()) for task in tasks}}, {}


def _uncertainty(params, state, losses):
    """Sum of exp(-2 s) L + s over the tasks, s the logarithm of the task's noise.

    A task without any label in the batch has the loss 0 and no say: its s alone would fall, batch
    after batch, and its weight grow without bound. (The original lets it.)

    Source: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty", CVPR 2018, with the
    factor 1 / sigma^2 of the ABAW4 code for every kind of loss.
    """
    s = params["log_sigma"]
    terms = (
        jnp.where(loss == 0, 0.0, jnp.exp(-2 * s[task]) * loss + s[task])
        for task, loss in losses.items()
    )
    return sum(terms, jnp.float32(0)), state


WEIGHTINGS: dict[str, Weighting] = {
    "fixed": Weighting(init=lambda tasks: ({}, {}), combine=_sum),
    "uncertainty": Weighting(init=_uncertainty_init, combine=_uncertainty),
}


def weighting(name: str) -> Weighting:
    """The weighting of that name (`config.weighting`)."""
    if name not in WEIGHTINGS:
        raise UserError(f"config.weighting = {name!r}: {nearest(name, WEIGHTINGS)}")
    return WEIGHTINGS[name]
