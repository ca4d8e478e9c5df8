"""Turns of the sigmoid selector: its walks retain where P(retain) >= 1/2, its means end with a bag.

Source: affect_jax/selection/sigmoid.py. The classifier goes on from turn to turn as that of "rlps"
does, without the original's slow copy of it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from affect_jax.selection.policy import Policy
from affect_jax.selection.sigmoid import POLICY, Sigmoid, turn
from affect_jax.selection.turns import State, Turns
from affect_jax.selection.walk import Walk, visiting_order, walk

ROLLOUTS = 3
# Rate of a step beside a classifier that learns, as a share of that of the policy alone: 50 times
# as large in the original, whose new weights have a thousandth of a say.
BESIDE = 0.001 * 50


class SigmoidTurns(Turns):
    """The method "sigmoid": a linear policy that learns from the means of whole bags."""

    @property
    def _policy(self) -> Policy:
        return POLICY

    def _fresh_learner(self, policy: Any) -> Any:
        return {"best": jax.tree.map(jnp.copy, policy), "score": jnp.float32(-jnp.inf)}

    def _walk(self, state: State, feature: jax.Array, order: jax.Array, key: jax.Array) -> Walk:
        del key
        bag = self.settings.bag
        return walk(self._logits_by(state["policy"]), feature, order, None, reset_every=bag)

    def _learn(self, state: State, earned: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        """(policy, learner) by the rewards of bags; the turns alone end with their best policy."""
        del earned
        settings, over = self.settings, state["turn"] + 1
        p_label = jnp.maximum(state["scored"]["probability"], jnp.finfo(jnp.float32).tiny)
        selector, _ = turn(
            Sigmoid(state["policy"], **state["learner"]),
            state["feature"],
            jnp.log(p_label),
            state["order"],
            jax.random.uniform(key, (ROLLOUTS, len(self.valid))),
            rate=settings.lr * jnp.where(over <= settings.policy_passes, 1.0, BESIDE),
            bag=settings.bag,
        )
        last = over == settings.policy_passes
        policy = jax.tree.map(
            lambda best, new: jnp.where(last, best, new), selector.best, selector.params
        )
        return policy, {"best": selector.best, "score": selector.score}

    def _final(self, params: Any, feature: jax.Array, valid: jax.Array) -> Walk:
        order = visiting_order(valid)
        return walk(self._logits_by(params), feature, order, None, reset_every=self.settings.bag)
