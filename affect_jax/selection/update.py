"""Policy gradient: the objective of a walk, and one pass of minibatches that raises it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from affect_jax.selection.walk import visiting_order


def log_probability(logits: jax.Array, retained: jax.Array) -> jax.Array:
    """log pi(a | s) [N] of decisions bool [N] under logits float [N] of retaining."""
    return jax.nn.log_sigmoid(jnp.where(retained, logits, -logits))


def entropy_of(logits: jax.Array) -> jax.Array:
    """Entropy [N] in nats of retaining or removing under logits float [N]."""
    p = jax.nn.sigmoid(logits)
    return -p * jax.nn.log_sigmoid(logits) - (1 - p) * jax.nn.log_sigmoid(-logits)


def objective(
    logits: jax.Array,
    retained: jax.Array,
    returns: jax.Array,
    valid: jax.Array,
    *,
    entropy: float = 0.0,
) -> jax.Array:
    """Mean over the valid rows of G log pi(a | s) + entropy H(pi(. | s)), to be raised; 0 of none.

    Returns are constants. The derivative by a row's logit is G (a - P(retain)) / rows.

    Args:
        logits: float [N] of retaining.
        retained: bool [N], the decisions a.
        returns: float [N], G.
        valid: bool [N], rows that count.
        entropy: weight of the entropy H, which keeps the policy from certainty.

    Source: Li and Xu 2020, equations 4 and 6, with the returns of `rewards.RETURNS`.
    """
    # Masked first: what stands in the other rows must not meet arithmetic, as 0 * NaN is NaN.
    logits, returns = (jnp.where(valid, x, 0) for x in (logits, returns))
    gain = jax.lax.stop_gradient(returns) * log_probability(logits, retained)
    gain = gain + entropy * jnp.where(valid, entropy_of(logits), 0)
    return gain.sum() / jnp.maximum(valid.sum(), 1)


def update(
    apply: Callable[[Any, jax.Array], jax.Array],
    optimiser: optax.GradientTransformation,
    params: Any,
    optimiser_state: Any,
    states: jax.Array,
    retained: jax.Array,
    returns: jax.Array,
    valid: jax.Array,
    key: jax.Array,
    *,
    minibatch: int = 1024,
    entropy: float = 0.0,
) -> tuple[Any, Any]:
    """(params, optimiser state) after one pass over the valid rows in shuffled minibatches.

    The rows are dealt to as few batches of at most `minibatch` as hold them, of sizes that differ
    by one at most, so that no step rests on a handful of rows. Shapes do not follow the number of
    valid rows. Without any, nothing changes.

    Args:
        apply: (params, states [B, 2D]) -> logits [B] of retaining.
        states: float [N, 2D], as `walk.states` gives them; constants.
        retained, returns, valid, entropy: as of `objective`.
        key: random key of the shuffle.
    """
    order = visiting_order(valid, key)
    minibatch = min(minibatch, len(order))
    batches = -(-len(order) // minibatch)
    used = -(-valid.sum(dtype=jnp.int32) // minibatch)
    places = jnp.arange(minibatch) * used

    def loss(params, rows):
        given = (retained[rows], returns[rows], rows >= 0)
        return -objective(apply(params, states[rows]), *given, entropy=entropy)

    def step(carry, batch):
        place = batch + places
        rows = jnp.where(place < len(order), order[jnp.minimum(place, len(order) - 1)], -1)
        grads = jax.grad(loss)(carry[0], rows)
        updates, after = optimiser.update(grads, carry[1], carry[0])
        new = (optax.apply_updates(carry[0], updates), after)
        return jax.tree.map(lambda a, b: jnp.where(batch < used, a, b), new, carry), None

    carry, _ = jax.lax.scan(step, (params, optimiser_state), jnp.arange(batches))
    return carry
