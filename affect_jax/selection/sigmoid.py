"""The sigmoid selector, a baseline: a linear policy that learns from the means of whole bags.

Rows are walked in bags, several times each (rollouts). A bag's reward is the mean log-probability
of the labels of its retained rows; what a rollout earns beyond the mean of the bag's rollouts
goes to each of its decisions. Its weights are those of `Policy(())`, which start at zero.

Source: Feng, Huang, Zhao, Yang and Zhu, "Reinforcement learning for relation classification from
noisy data", AAAI 2018, without its two entity vectors. Two slips of its C++ code are left out: a
list read one past its end, and a last walk whose mean is that of the third rollout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from affect_jax.selection.policy import Policy
from affect_jax.selection.update import log_probability
from affect_jax.selection.walk import Walk, episodes_of, states, walk

POLICY = Policy(())


class Sigmoid(NamedTuple):
    """State of the selector's training.

    Attributes:
        params: weights of POLICY.
        best: weights after the turn whose walk at P(retain) >= 1/2 scored best.
        score: mean log-probability of the labels that this walk retained; -inf before any.
    """

    params: Any
    best: Any
    score: jax.Array


def turn(
    selector: Sigmoid,
    features: jax.Array,
    log_p: jax.Array,
    order: jax.Array,
    uniforms: jax.Array,
    *,
    rate: float,
    bag: int = 128,
    empty: jax.Array | float | None = None,
) -> tuple[Sigmoid, Walk]:
    """One turn: (selector after it, the walk at P(retain) >= 1/2 by the weights before it).

    All rollouts and the walk are those of the weights before the turn; the steps of all bags are
    added to them at its end. Call it inside a jitted function.

    Args:
        features: float [N, D].
        log_p: float [N], logarithm of the probability that a classifier gives to the row's label.
        order: int [M], rows as they are visited, -1 in empty places; `bag` places are one bag.
        uniforms: float [R, N] in [0, 1), for R rollouts.
        rate: factor of a step. In the source .02 / 16 alone, and .001 * 50 * .02 / 16 in turns with
            the classifier.
        empty: reward of a rollout that retains nothing of a bag; None: the mean log-probability of
            all rows of `order`. In the source that of all bags of one row, which pictures have not.
    """
    bags = episodes_of(order, bag)

    def policy(params):
        return lambda seen: POLICY.apply({"params": params}, seen)

    def walked(uniform):
        return walk(policy(selector.params), features, order, uniform, reset_every=bag)

    retained = jax.vmap(walked)(uniforms).retained  # [R, N]
    if empty is None:
        empty = _mean(log_p[order], order >= 0, 0)
    counts = retained[:, bags] & (bags >= 0)  # [R, bags, L]
    reward = _mean(log_p[bags], counts, empty)
    gain = jnp.where(bags >= 0, (reward - reward.mean(0))[..., None], 0)
    place = jnp.where(bags >= 0, bags, len(features))
    gain = jnp.zeros(uniforms.shape, gain.dtype).at[:, place].set(gain, mode="drop")

    def objective(params):
        def of_one(retained, gain):
            seen = states(features, order, retained, reset_every=bag)
            return (gain * log_probability(policy(params)(seen), retained)).sum()

        return jax.vmap(of_one)(retained, gain).sum()

    step = jax.grad(objective)(selector.params)
    params = jax.tree.map(lambda w, g: w + rate * g, selector.params, step)
    chosen = walked(None)
    score = _mean(log_p, chosen.retained, -jnp.inf)
    better = score > selector.score
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), params, selector.best)
    return Sigmoid(params, best, jnp.maximum(score, selector.score)), chosen


def _mean(x: jax.Array, mask: jax.Array, empty: jax.Array | float) -> jax.Array:
    """Mean over the last axis where `mask` is true; `empty` where it nowhere is."""
    number = mask.sum(-1)
    return jnp.where(number > 0, jnp.where(mask, x, 0).sum(-1) / jnp.maximum(number, 1), empty)
