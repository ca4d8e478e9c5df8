"""Rules that make one number of several losses: those of the tasks, or of one task's dimensions.

A weighting is `init(n) -> (params, state)` and `combine(params, state, losses, labelled, epoch) ->
(total, state)` over a vector of n losses. Its params, {name: [n]}, are trained with the model; its
state, a dict, follows from step to step. The keyword arguments of `combine` are the options of the
rule; a config writes them behind its name: "dwa", or "dwa(temperature=2, by=epoch)".
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from data_pipelines.errors import UserError, nearest, shown

Arrays = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Weighting:
    """One rule; both functions are pure.

    Attributes:
        init: number n of losses -> (params, state), {} where the rule has none.
        combine: (params, state, losses [n], labelled bool [n], epoch, **options) -> (total, state).
            A loss without labels in this batch is 0, and has no say. `epoch` is 0-based, with the
            fraction done.
    """

    init: Callable[[int], tuple[Arrays, Arrays]]
    combine: Callable[..., tuple[jax.Array, Arrays]]

    @property
    def options(self) -> dict[str, Any]:
        """{name: default} of the options."""
        parameters = inspect.signature(self.combine).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def _sum(params, state, losses, labelled, epoch):
    del params, labelled, epoch
    return _added(losses), state


def _added(terms_n: Iterable[jax.Array]) -> jax.Array:
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


def _dwa(params, state, losses, labelled, epoch, *, temperature=10.0, by="step"):
    """Sum of w L, where a loss that falls more slowly than the others has the larger weight w.

    Args:
        temperature: T of `dynamic_weights`; the larger, the closer are the weights to 1.
        by: the losses compared are those of the two steps before, or the means over the two epochs
            before ("step", "epoch").

    Source: Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019,
    eq. 7 (epochs, T = 2); by mini-batch and T = 10 in the code of A-VB.
    """
    del params
    state = _compared(state, epoch, by)
    weights = dynamic_weights(state, labelled, temperature)
    return _added(weights * losses), _remembered(state, losses, labelled)


def _history(n: int) -> dict[str, jax.Array]:
    """The state of `_dwa`: losses summed up since the last comparison, and the two compared."""
    vectors = ("sum", "count", "last", "before")
    return {name: jnp.zeros(n) for name in vectors} | {"epoch": jnp.zeros(())}


def _compared(state: Arrays, epoch: jax.Array, by: str) -> dict[str, jax.Array]:
    """The state in which the losses of the step or epoch that is over are the last ones.

    A loss that had no label in it keeps the two that it has.
    """
    now = jnp.floor(epoch)
    over = (state["count"] > 0) & (True if by == "step" else now != state["epoch"])
    mean = state["sum"] / jnp.maximum(state["count"], 1)
    return {
        "sum": jnp.where(over, 0, state["sum"]),
        "count": jnp.where(over, 0, state["count"]),
        "last": jnp.where(over, mean, state["last"]),
        "before": jnp.where(over, state["last"], state["before"]),
        "epoch": now,
    }


def _remembered(state: Arrays, losses: jax.Array, labelled: jax.Array) -> dict[str, jax.Array]:
    """The state with the losses of this batch added."""
    added = jnp.where(labelled, jax.lax.stop_gradient(losses), 0)
    return {**state, "sum": state["sum"] + added, "count": state["count"] + labelled}


def dynamic_weights(state: Arrays, labelled: jax.Array, temperature: float) -> jax.Array:
    """Weights [n] of the losses, K softmax(last / before / T) over the K that have labels.

    1 in the mean; 0 without labels. A loss that has not two to compare counts as one that stands
    still.

    Args:
        state: with "last" and "before", [n].
        labelled: bool [n].
    """
    known = state["before"] > 0
    ratio = jnp.where(known, state["last"] / jnp.where(known, state["before"], 1), 1)
    # Finite: of two infinite ones a softmax has no value.
    largest = jnp.finfo(ratio.dtype).max
    scores = jnp.where(labelled, jnp.minimum(ratio / temperature, largest), -largest)
    return jnp.where(labelled, labelled.sum() * jax.nn.softmax(scores), 0)


def _rruw(params, state, losses, labelled, epoch, *, phi=1.0):
    """Sum of L / (n a^2) + ln(1 + a^2) over the losses, + |phi - sum |a||.

    The a of a loss without labels counts as a constant in the last sum: the others are held where
    they belong, and it stays where it is.

    Args:
        phi: sum at which the absolute a are held; they start at 1 / n each.

    Source: the released code of A-VB (arXiv 2209.07384). The paper's ln(1 + ln a^2) does not exist
    at the start.
    """
    del epoch
    return _restrained(params["alpha"], losses, labelled, phi, 0.0), state


def _druw(
    params, state, losses, labelled, epoch, *, phi=1.0, temperature=10.0, by="step", dynamic=1.0
):
    """The sum of `_rruw` with the weights dynamic * w + 1 / (n a^2), w those of `_dwa`.

    Args:
        phi: as in `_rruw`.
        temperature, by: as in `_dwa`.
        dynamic: factor on the dynamic weights. 1 / (n a^2) starts at n, they at 1: as they are,
            they hardly matter among many losses. 0: `_rruw`.

    Source: as `_rruw`; there the factor is 1.
    """
    state = _compared(state, epoch, by)
    weights = dynamic * dynamic_weights(state, labelled, temperature)
    total = _restrained(params["alpha"], losses, labelled, phi, weights)
    return total, _remembered(state, losses, labelled)


def _restrained(
    a: jax.Array, losses: jax.Array, labelled: jax.Array, phi: float, weights: jax.Array | float
) -> jax.Array:
    """Sum over the labelled losses of (weights + 1 / (n a^2)) L + ln(1 + a^2), + the restraint."""
    a = jnp.where(labelled, a, jax.lax.stop_gradient(a))
    terms = (weights + 1 / (len(a) * a**2)) * losses + jnp.log1p(a**2)
    restraint = _absolute(phi - _added(_absolute(a)))
    return _added(jnp.where(labelled, terms, 0)) + jnp.where(labelled.any(), restraint, 0)


def _absolute(x: jax.Array) -> jax.Array:
    """|x| with the derivative 0 at 0; that of jnp.abs is 1."""
    return jnp.sign(x) * x


def _alpha(n: int) -> dict[str, jax.Array]:
    return {"alpha": jnp.full(n, 1 / n)}


WEIGHTINGS: dict[str, Weighting] = {
    "fixed": Weighting(init=lambda n: ({}, {}), combine=_sum),
    "uncertainty": Weighting(
        init=lambda n: ({"log_sigma": jnp.zeros(n)}, {}), combine=_uncertainty
    ),
    "dwa": Weighting(init=lambda n: ({}, _history(n)), combine=_dwa),
    "rruw": Weighting(init=lambda n: (_alpha(n), {}), combine=_rruw),
    "druw": Weighting(init=lambda n: (_alpha(n), _history(n)), combine=_druw),
}
_WORDS = {"by": ("step", "epoch")}  # options that are no numbers
_FROM_0 = ("dynamic",)  # the other numbers are above 0


def rule(key: str, text: str) -> Weighting:
    """The rule of a text such as "dwa(temperature=2, by=epoch)", its options bound.

    Raises:
        UserError: begins with the key: no such rule, no such option, or no value for it.
    """
    name, bracket, rest = (part.strip() for part in text.partition("("))
    if name not in WEIGHTINGS:
        raise UserError(f"{key} = {shown(text)}: {nearest(name, WEIGHTINGS)}")
    known, options = WEIGHTINGS[name].options, {}
    if bracket and not rest.endswith(")"):
        raise UserError(f"{key} = {shown(text)}: expected NAME or NAME(OPTION=VALUE, ...).")
    for part in filter(None, (part.strip() for part in rest[:-1].split(","))):
        option, _, value = (piece.strip() for piece in part.partition("="))
        if option not in known:
            hint = nearest(option, known) or f"{name} has none."
            raise UserError(f"{key} = {shown(text)}: no such option as {shown(option)}. {hint}")
        if option in options:
            raise UserError(f"{key} = {shown(text)}: {option} is there twice. Leave one.")
        options[option] = _value(f"{key} = {shown(text)}: {option}", option, value)
    chosen = WEIGHTINGS[name]
    return dataclasses.replace(chosen, combine=functools.partial(chosen.combine, **options))


def _value(where: str, option: str, text: str) -> float | str:
    """The value of an option; UserError that begins with `where` for what is none."""
    if option in _WORDS:
        if text not in _WORDS[option]:
            raise UserError(f"{where}: {nearest(text, _WORDS[option])}")
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    least = "from 0 on" if option in _FROM_0 else "above 0"
    if not math.isfinite(value) or value < 0 or (value == 0 and option not in _FROM_0):
        raise UserError(f"{where}: expected a number {least}, got {shown(text)}.")
    return value
