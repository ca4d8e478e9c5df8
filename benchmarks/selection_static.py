"""Toys of selection with known rewards: gradients at a fixed policy, and what a policy learns.

Three quarters of the rows are clean, with rewards about .15, a quarter noisy, about -.45; deviation
.2, mean of all 0. The two populations of features overlap as two Gaussians 2.45 deviations apart,
which no selector separates better than by an area under the curve of .958.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax.selection import rewards as rules
from affect_jax.selection.policy import Policy
from affect_jax.selection.update import objective, update
from affect_jax.selection.walk import states, visiting_order, walk

SIZE, GAP = 8, 2.45
POLICY, OPTIMISER = Policy(), optax.adam(1e-3)
# The returns that there are, and two readings of the paper that are not offered: R log p whatever
# the action (equation 4 letter by letter), and the sum over the retained rows for every row.
RETURNS = (*rules.RETURNS, "log p", "episode sum")


class Population(NamedTuple):
    """Rows of the toy: features float [N, 8], rewards float [N], clean bool [N]."""

    features: jax.Array
    rewards: jax.Array
    clean: jax.Array


def population(key: jax.Array, rows: int) -> Population:
    """Three quarters of `rows` clean, then a quarter noisy."""
    one, two = jax.random.split(key)
    clean = jnp.arange(rows) < rows * 3 // 4
    side = jnp.where(clean, GAP / 2, -GAP / 2) / SIZE**0.5
    features = jax.random.normal(one, (rows, SIZE)) + side[:, None]
    rewards = jnp.where(clean, 0.15, -0.45) + 0.2 * jax.random.normal(two, (rows,))
    return Population(features, rewards - rewards.mean(), clean)


def actions_and_returns(how: jax.Array, rewards: jax.Array, retained: jax.Array) -> Any:
    """(actions, returns) of the objective that RETURNS[how] stands for; `how` may be traced."""
    given = [(retained, rules.returns(rewards, retained, name)) for name in rules.RETURNS]
    given.append((jnp.ones_like(retained), rewards))
    given.append((retained, jnp.full_like(rewards, rules.total(rewards, retained))))
    return tuple(jnp.stack(x)[how] for x in zip(*given, strict=True))


def start(key: jax.Array) -> Any:
    """Weights of a policy for the toy's features."""
    return POLICY.init(key, jnp.zeros((1, 2 * SIZE)))


def one_walk(params: Any, features: jax.Array, order: jax.Array, uniforms: Any) -> Any:
    return walk(functools.partial(POLICY.apply, params), features, order, uniforms)


def gradients(key: jax.Array, *, rows: int = 400, draws: int = 4000) -> dict[str, tuple]:
    """{returns: (size, cosine, ratio)} of the mean gradient over draws of the actions.

    Size and cosine are against the gradient of sum R p, the ratio is that of the mean's size to the
    deviation of one draw. States are those of one walk; the policy has random weights throughout.
    """
    keys = jax.random.split(key, 5)
    toy, params = population(keys[0], rows), start(keys[1])
    last = params["params"][f"dense_{len(POLICY.widths)}"]
    last["kernel"] = jax.random.normal(keys[2], last["kernel"].shape) / POLICY.widths[-1] ** 0.5
    order = jnp.arange(rows)
    retained = one_walk(params, toy.features, order, jax.random.uniform(keys[3], (rows,))).retained
    seen = states(toy.features, order, retained)
    logits = POLICY.apply(params, seen)
    by_row = jax.tree.leaves(jax.jacrev(lambda w: POLICY.apply(w, seen))(params))
    by_row = jnp.concatenate([x.reshape(rows, -1) for x in by_row], 1)
    p, every = jax.nn.sigmoid(logits), jnp.ones(rows, bool)
    wanted = (toy.rewards * p * (1 - p)) @ by_row
    actions = jax.random.uniform(keys[4], (draws, rows)) < p

    @functools.partial(jax.vmap, in_axes=(None, 0, None))
    def by_logit(how, retained, raised):
        given = actions_and_returns(how, toy.rewards + raised * retained, retained)
        return rows * jax.grad(objective)(logits, *given, every)

    cases = [(name, 0.0) for name in RETURNS] + [("literal", 0.2)]
    found = {}
    for name, raised in cases:
        each = by_logit(RETURNS.index(name), actions, raised)  # [draws, rows]
        mean = each.mean(0) @ by_row
        away = each - each.mean(0)
        spread = jnp.sqrt(((away @ (by_row @ by_row.T)) * away).sum(1).mean())
        size, length = jnp.linalg.norm(mean), jnp.linalg.norm(wanted)
        ratio = jnp.where(spread < 1e-4 * size, jnp.inf, size / spread)  # no draw differs
        scores = size / length, mean @ wanted / (size * length), ratio
        found[name + f", {raised} more if retained" * (raised > 0)] = tuple(map(float, scores))
    return found


class Learned(NamedTuple):
    """P(retain) [.., N] in a last walk at P >= 1/2, and which rows are clean, bool [.., N]."""

    chance: jax.Array
    clean: jax.Array


def learned(
    how: jax.Array,
    shift: jax.Array,
    raised: jax.Array,
    key: jax.Array,
    *,
    rows: int = 300,
    epochs: int = 200,
    minibatch: int = 300,
) -> Learned:
    """A policy after `epochs` walks, each with a pass of Adam steps of 1e-3.

    Args:
        how: place in RETURNS.
        shift: added to all rewards.
        raised: added to those of retained rows.
        key: random key of rows, weights and draws.
        minibatch: rows a step; with as many as there are, a pass is one step.
    """
    keys = jax.random.split(key, 3)
    toy, params, every = population(keys[0], rows), start(keys[1]), jnp.ones(rows, bool)

    def epoch(carry, key):
        one, two = jax.random.split(key)
        order = visiting_order(every, one)
        retained = one_walk(
            carry[0], toy.features, order, jax.random.uniform(two, (rows,))
        ).retained
        given = actions_and_returns(how, toy.rewards + shift + raised * retained, retained)
        seen = states(toy.features, order, retained)
        step = functools.partial(update, POLICY.apply, OPTIMISER, *carry, minibatch=minibatch)
        return step(seen, *given, every, key), None

    carry = params, OPTIMISER.init(params)
    (params, _), _ = jax.lax.scan(epoch, carry, jax.random.split(keys[2], epochs))
    last = one_walk(params, toy.features, visiting_order(every), None)
    return Learned(jax.nn.sigmoid(last.logits), toy.clean)


def learned_of(cases: list[tuple[str, float, float]], seeds: int, **options: int) -> Learned:
    """`learned` of (returns, shift, raised) [cases] and seeds: arrays [cases, seeds, N]."""
    one = jax.jit(functools.partial(learned, **options))
    keys = jax.random.split(jax.random.key(0), seeds)
    found = [one(RETURNS.index(name), *rest, key) for name, *rest in cases for key in keys]
    return jax.tree.map(lambda *x: np.stack(x).reshape(len(cases), seeds, -1), *found)


def area(chance: np.ndarray, clean: np.ndarray) -> float:
    """Area under the curve of P(retain) [N] for clean rows against the others; ties count half."""
    higher = chance[clean][:, None] - chance[~clean]
    return float(((higher > 0) + 0.5 * (higher == 0)).mean())
