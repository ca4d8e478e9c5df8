"""Turns of a selector: a walk over all rows, and what the policy learns by what came of it.

A turn begins with features of all rows, by which a walk retains some. The classifier is trained on
them and scores all rows anew; that teaches the policy, which had the features of the walk.

The state is a dict of arrays (`Turns.init`), of N rows of D features, T turns, S sampled rows:

    feature [N, D], order [N], retained [N]        of the present turn's walk
    scored: feature [N, D], probability [N], prediction [N]
                                                   by the newest classifier: probability of the
                                                   row's label, and the likeliest class
    policy, learner                                parameters, and what their update remembers
    turn                                           number of turns that are over
    score                                          F1 on held-out rows, NaN without any
    history: keep_rate, p_retain, p_label, reward, score [T], rewards [T, S]
                                                   of each turn: share of rows retained, means of
                                                   P(retain) and of the probability of the label,
                                                   sum of the retained rows' rewards
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax.metrics.classification import f1_of_averages
from affect_jax.selection import rewards
from affect_jax.selection.policy import Policy
from affect_jax.selection.settings import Settings
from affect_jax.selection.update import update
from affect_jax.selection.walk import Walk, states, visiting_order, walk

State = dict[str, Any]
CURVES = ("keep_rate", "p_retain", "p_label", "reward", "score")


@dataclasses.dataclass(frozen=True, eq=False)
class Turns:
    """The policy of one table of rows, which learns by policy gradient: the method "rlps".

    Attributes:
        labels: int [N], class numbers.
        valid: bool [N], rows that are selected from; the others are never retained.
        held: bool [N], those of the others that reward "f1" is measured on.
        sampled: int [S], rows whose rewards are kept turn by turn.
        classes: how many there are.
        settings: of the method.
    """

    labels: np.ndarray
    valid: np.ndarray
    held: np.ndarray
    sampled: np.ndarray
    classes: int
    settings: Settings

    def init(self, key: jax.Array, width: int) -> State:
        """The state before the first score, for features of that width: all rows are retained."""
        rows, turns = len(self.valid), self.settings.turns
        policy = self._policy.init(key, jnp.zeros((1, 2 * width)))["params"]
        history = {name: jnp.zeros(turns) for name in CURVES}
        return {
            "feature": jnp.zeros((rows, width)),
            "order": visiting_order(jnp.asarray(self.valid)),
            "retained": jnp.array(self.valid),
            "scored": {
                "feature": jnp.zeros((rows, width)),
                "probability": jnp.zeros(rows),
                "prediction": jnp.zeros(rows, jnp.int32),
            },
            "policy": policy,
            "learner": self._fresh_learner(policy),
            "turn": jnp.zeros((), jnp.int32),
            "score": jnp.float32(jnp.nan),
            "history": history | {"rewards": jnp.zeros((turns, len(self.sampled)))},
        }

    # --- the method ----------------------------------------------------------------------------

    @property
    def _policy(self) -> Policy:
        return Policy(self.settings.widths, self.settings.first_rate)

    @property
    def _optimiser(self) -> optax.GradientTransformation:
        return optax.adam(self.settings.lr)

    def _logits_by(self, params: Any) -> Callable[[jax.Array], jax.Array]:
        """The policy with its parameters: states [..., 2D] -> logits [...] of retaining."""
        return lambda seen: self._policy.apply({"params": params}, seen)

    def _fresh_learner(self, policy: Any) -> Any:
        return self._optimiser.init(policy)

    def _walk(self, state: State, feature: jax.Array, order: jax.Array, key: jax.Array) -> Walk:
        """The walk that chooses what the classifier is trained on: by chance."""
        uniforms = jax.random.uniform(key, self.valid.shape)
        return walk(self._logits_by(state["policy"]), feature, order, uniforms)

    def _learn(self, state: State, earned: jax.Array, key: jax.Array) -> tuple[Any, Any]:
        """(policy, learner) after a turn whose rows have earned these rewards [N]."""
        retained, settings = state["retained"], self.settings
        return update(
            lambda params, seen: self._logits_by(params)(seen),
            self._optimiser,
            state["policy"],
            state["learner"],
            states(state["feature"], state["order"], retained),
            retained,
            rewards.returns(earned, retained, settings.returns),
            jnp.asarray(self.valid),
            key,
            minibatch=settings.minibatch,
            entropy=settings.entropy,
        )

    def _final(self, params: Any, feature: jax.Array, valid: jax.Array) -> Walk:
        return walk(self._logits_by(params), feature, visiting_order(valid), None)

    # --- a turn --------------------------------------------------------------------------------

    @functools.cached_property
    def begin(self) -> Callable[[State, jax.Array], State]:
        """(state, random key) -> state: a turn begins with a walk by the newest features."""
        return jax.jit(self._begin)

    def _begin(self, state: State, key: jax.Array) -> State:
        valid, feature = jnp.asarray(self.valid), state["scored"]["feature"]
        shuffle, draw = jax.random.split(key)
        order = visiting_order(valid, shuffle)
        done = self._walk(state, feature, order, draw)
        noted = {
            "keep_rate": _mean(done.retained, valid),
            "p_retain": _mean(jax.nn.sigmoid(done.logits), valid),
        }
        return state | {
            "feature": jnp.copy(feature),  # a buffer of its own: the state is donated
            "order": order,
            "retained": done.retained,
            "history": _with(state, noted),
        }

    @functools.cached_property
    def end(self) -> Callable[[State, jax.Array], State]:
        """(state, random key) -> state: the policy learns by its rewards, and the turn is over."""
        return jax.jit(self._end)

    def _end(self, state: State, key: jax.Array) -> State:
        valid, labels = jnp.asarray(self.valid), jnp.asarray(self.labels)
        p_label, score = state["scored"]["probability"], state["score"]
        if self.settings.reward == "f1":
            predicted = state["scored"]["prediction"]
            score = f1_of_averages(predicted, labels, self.held, classes=self.classes)
            earned = rewards.of_change(score, state["score"], valid)
        else:
            by = "class" if self.settings.reward == "class" else "all"
            earned = rewards.of_probability(p_label, labels, valid, classes=self.classes, by=by)
        policy, learner = self._learn(state, earned, key)
        noted = {
            "p_label": _mean(p_label, valid),
            "reward": rewards.total(earned, state["retained"]),
            "score": score,
            "rewards": earned[self.sampled],
        }
        return state | {
            "policy": policy,
            "learner": learner,
            "score": score,
            "turn": state["turn"] + 1,
            "history": _with(state, noted),
        }

    @functools.cached_property
    def final(self) -> Callable[[Any, jax.Array, jax.Array], Walk]:
        """(policy's parameters, features [n, D], valid [n]) -> the walk in row order that retains
        where P(retain) is at least 1/2."""
        return jax.jit(self._final)


def _mean(x: jax.Array, valid: jax.Array) -> jax.Array:
    return jnp.where(valid, x, 0).sum() / jnp.maximum(valid.sum(), 1)


def _with(state: State, noted: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The history with these values of the present turn."""
    history, turn = state["history"], state["turn"]
    return history | {name: history[name].at[turn].set(x) for name, x in noted.items()}
