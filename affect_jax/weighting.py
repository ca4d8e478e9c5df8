"""Rules that make one number of several losses: those of the tasks, or of one task's dimensions.

A weighting is `init(n) -> (params, state)` and `combine(params, state, losses, labelled, epoch) ->
(total, state)` over a vector of n losses. Its params, {name: [n]}, are trained with the model; its
state, a dict, follows from step to step.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.errors import UserError, nearest

Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """One rule; both functions are pure.

    Attributes:
        init: number n of losses -> (params, state), {} where the rule has none.
        combine: (params, state, losses [n], labelled bool [n], epoch) -> (total, state). A loss
            without labels in this batch is 0, and has no say. `epoch` is 0-based, with the fraction
            done.
    """

    init: Callable[[int], tuple[Arrays, Arrays]]
    combine: Callable[[Arrays, Arrays, jax.Array, jax.Array, jax.Array], tuple[jax.Array, Arrays]]


def _sum(params, state, losses, labelled, epoch):
    del params, labelled, epoch
    return _added(losses), state


def _added(terms_n: jax.Array) -> jax.Array:
    """Their sum, from the first to the last: a reduction may take another order elsewhere."""
    return functools.reduce(operator.add, terms_n, jnp.float32(0))


def _uncertainty(params, state, losses, labelled, epoch):
    """Sum of exp(-2 s) L + s over the losses, s the logarithm of the noise.

    The s of a loss without labels would fall alone, batch after batch, and its weight grow without
    bound. (The original lets it.)

    Source: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty", CVPR 2018, with the
    factor 1 / sigma^2 of the ABAW4 code for every kind of loss.
    """
    del epoch
    s = params["log_sigma"]
    return _added(jnp.where(labelled, jnp.exp(-2 * s) * losses + s, 0.0)), state


WEIGHTINGS: dict[str, Weighting] = {
    "fixed": Weighting(init=lambda n: ({}, {}), combine=_sum),
    "uncertainty": Weighting(
        init=lambda n: ({"log_sigma": jnp.zeros(n)}, {}), combine=_uncertainty
    ),
}


def require_weighting(key: str, name: str) -> None:
    """UserError that begins with the key where no rule has the name."""
    if name not in WEIGHTINGS:
        raise UserError(f"{key} = {name!r}: {nearest(name, WEIGHTINGS)}")
