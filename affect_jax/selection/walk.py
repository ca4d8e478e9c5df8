"""The walk over all rows in which each is retained or removed, and the states that it saw.

The state of a row is [feature, mean of the features retained so far]; the mean is zero while
nothing is retained, and the row itself enters it only after the decision. So rows are decided one
by one: one scan on the device.

Rows have one order a walk, `order` int [M]: numbers of rows, and -1 in empty places, which change
nothing. Rows that it does not name are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Walk(NamedTuple):
    """Decisions of a walk, by row; a row that was not visited has logit 0 and is not retained.

    Attributes:
        logits: float [N], of retaining; P(retain) is their sigmoid.
        retained: bool [N].
    """

    logits: jax.Array
    retained: jax.Array


def visiting_order(valid: jax.Array, key: jax.Array | None = None) -> jax.Array:
    """Order int32 [N] of the rows where `valid` bool [N] is true, then -1 for the rest.

    Args:
        valid: rows that take part.
        key: random key that shuffles them; None: in row order.
    """
    draws = jnp.zeros(valid.shape) if key is None else jax.random.uniform(key, valid.shape)
    rows = jnp.argsort(jnp.where(valid, draws, 2)).astype(jnp.int32)  # stable; draws are below 1
    return jnp.where(jnp.arange(len(rows)) < valid.sum(dtype=jnp.int32), rows, -1)


def walk(
    logit_of: Callable[[jax.Array], jax.Array],
    features: jax.Array,
    order: jax.Array,
    uniforms: jax.Array | None,
    *,
    threshold: float = 0.5,
    reset_every: int = 0,
) -> Walk:
    """One walk. Call it inside a jitted function: outside, each call is compiled anew.

    Args:
        logit_of: the policy with its weights: states [E, 2D] -> logits [E].
        features: float [N, D].
        order: int [M], rows in the order in which they are visited; -1 in empty places.
        uniforms: float [N] in [0, 1), by row: a row is retained where its uniform is below
            P(retain). None: where P(retain) is at least `threshold`.
        reset_every: places of `order`, empty ones included, after which the mean starts at zero
            again (an episode); episodes are walked side by side. 0: one episode.
    """
    rows = len(features)
    episodes = episodes_of(order, reset_every)

    def visit(carry, row):  # row int [E], one of every episode
        mean, count = carry
        feature = features[row]  # of row -1 the last one, and of no effect
        logit = logit_of(jnp.concatenate([feature, mean], -1))
        chance = jax.nn.sigmoid(logit)
        retained = chance >= threshold if uniforms is None else uniforms[row] < chance
        retained &= row >= 0
        count += retained
        moved = mean + (feature - mean) / jnp.maximum(count, 1)[:, None]
        return (jnp.where(retained[:, None], moved, mean), count), (logit, retained)

    start = (
        jnp.zeros((len(episodes), features.shape[1]), features.dtype),
        jnp.zeros(len(episodes), jnp.int32),
    )
    _, (logits, retained) = jax.lax.scan(visit, start, episodes.T)
    place = _places(episodes, rows)
    return Walk(
        jnp.zeros(rows, logits.dtype).at[place].set(logits.T, mode="drop"),
        jnp.zeros(rows, bool).at[place].set(retained.T, mode="drop"),
    )


def states(
    features: jax.Array, order: jax.Array, retained: jax.Array, *, reset_every: int = 0
) -> jax.Array:
    """States float [N, 2D] that a walk saw (to rounding), by row; zero where it never was.

    A cumulative sum in place of the scan: nothing but features, order and decisions is kept for it.

    Args:
        features, order, reset_every: as given to `walk`.
        retained: bool [N], what it decided.
    """
    episodes = episodes_of(order, reset_every)
    feature = features[episodes]  # [E, L, D]
    counts = retained[episodes] & (episodes >= 0)
    total = jnp.cumsum(jnp.where(counts[..., None], feature, 0), axis=1)
    number = jnp.cumsum(counts, axis=1, dtype=jnp.int32)
    mean = total / jnp.maximum(number, 1)[..., None]
    before = jnp.pad(mean, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    seen = jnp.concatenate([feature, before], -1)
    rows, size = features.shape
    place = _places(episodes, rows)
    return jnp.zeros((rows, 2 * size), seen.dtype).at[place].set(seen, mode="drop")


def episodes_of(order: jax.Array, reset_every: int) -> jax.Array:
    """`order` cut into episodes [E, L]; the last one is filled with -1."""
    length = min(reset_every, len(order)) or len(order)
    filling = -len(order) % length
    return jnp.pad(order, (0, filling), constant_values=-1).reshape(-1, length)


def _places(episodes: jax.Array, rows: int) -> jax.Array:
    """Rows that results are written to, place by place; out of range for empty ones."""
    return jnp.where(episodes >= 0, episodes, rows)
