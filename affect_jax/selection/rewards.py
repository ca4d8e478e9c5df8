"""Rewards of rows by what a classifier says of them, and the returns that a policy learns from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp


def of_probability(
    p_true: jax.Array, labels: jax.Array, valid: jax.Array, *, classes: int, by: str = "all"
) -> jax.Array:
    """Rewards [N] in (-1, 1): the probability of a row's label, less a mean of such probabilities.

    They add up to zero, so about half of a clean set earns less than nothing too. By class, a rare
    class that is predicted less surely is not removed for that.

    Args:
        p_true: float [N], the probability that the classifier gives to the row's label.
        labels: int [N], class numbers.
        valid: bool [N], rows that take part; the others have reward 0.
        classes: how many there are.
        by: the mean is that of "all" rows or of the rows of the same "class".

    Source: Li and Xu 2020, equation 2, whose second term has undefined letters: the readings that
    put clean rows above noisy ones.
    """
    group, count = (labels, classes) if by == "class" else (jnp.zeros_like(labels), 1)
    member = valid[:, None] & (group[:, None] == jnp.arange(count))  # [N, groups]
    p_true = jnp.where(valid, p_true, 0)
    total = jnp.where(member, p_true[:, None], 0).sum(0)
    mean = total / jnp.maximum(member.sum(0), 1)
    return p_true - jnp.where(member, mean, 0).sum(1)


def of_change(score: jax.Array, before: jax.Array, valid: jax.Array) -> jax.Array:
    """Rewards [N] by the change of a score on held-out rows, such as F1: one number for all rows.

    Args:
        score: float, the score of this turn.
        before: float, that of the turn before; NaN in the first turn, whose reward is 0.
        valid: bool [N], rows that take part; the others have reward 0.

    Source: Li and Xu 2020, section 4 (the "F1" rows of table 4).
    """
    return jnp.where(valid & ~jnp.isnan(before), score - before, 0)


def total(rewards: jax.Array, retained: jax.Array) -> jax.Array:
    """Reward of a turn, the sum over its retained rows (Li and Xu 2020, equation 3)."""
    return jnp.where(retained, rewards, 0).sum()


def _signed(rewards, retained):
    return jnp.where(retained, rewards, -rewards)


def _retain(rewards, retained):
    return jnp.where(retained, rewards, 0)


def _literal(rewards, retained):
    del retained
    return rewards


# What multiplies log pi(a | s) of a row, of its reward R and action a:
# signed: R if retained, -R if removed. Always towards retaining where R > 0, else towards removing.
# retain: R if retained, else 0: half of it in the mean, with more noise.
# literal: R either way, as equation 6 is printed. Its mean gradient is zero: a control that learns
#   nothing but what the classifier's reaction to its training rows adds.
RETURNS: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {"signed": _signed, "retain": _retain, "literal": _literal}
)


def returns(rewards: jax.Array, retained: jax.Array, how: str = "signed") -> jax.Array:
    """Returns [N] of rewards float [N] and decisions bool [N]; `how` is a name of RETURNS."""
    return RETURNS[how](rewards, retained)
