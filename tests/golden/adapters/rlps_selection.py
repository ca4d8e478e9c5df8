"""RLPS: the walk and its policy gradient, rewards, and metrics."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax import metrics
from affect_jax.selection import rewards
from affect_jax.selection.policy import Policy
from affect_jax.selection.update import log_probability, objective, update
from affect_jax.selection.walk import Walk, states, walk
from tests.golden.fixture import Answer, Fixture, adapter

Params = Mapping[str, Any]
Apply = Callable[[Params, jax.Array], jax.Array]


def policy_of(weights: Mapping[str, np.ndarray], prefix: str = "") -> tuple[Apply, Params]:
    """(params, states -> logits; params) of stored tensors PREFIXdense_<k>.kernel and .bias."""
    params: dict[str, Any] = {}
    for name, x in weights.items():
        found = re.fullmatch(rf"{re.escape(prefix)}(dense_\d+)\.(kernel|bias)", name)
        if found:
            params.setdefault(found[1], {})[found[2]] = jnp.asarray(x, jnp.float32)
    biases = [params[f"dense_{i}"]["bias"] for i in range(len(params))]
    policy = Policy(tuple(len(bias) for bias in biases[:-1]))
    return lambda params, states: policy.apply({"params": params}, states), params


def by_name(prefix: str, grads: Params, suffix: str) -> dict[str, Any]:
    """{PREFIXdense_<k>_kernelSUFFIX: gradient}, and of the biases."""
    return {
        f"{prefix}{layer}_{kind}{suffix}": x
        for layer, of_layer in grads.items()
        for kind, x in of_layer.items()
    }


def summed(
    apply: Apply, params: Params, seen: Any, retained: Any, returns: Any
) -> tuple[jax.Array, Params]:
    """Sum of G log pi(a | s), which is stored in place of our mean, and its gradient."""

    @jax.jit
    def total(params):
        rows = len(returns)
        return rows * objective(apply(params, seen), retained, returns, jnp.ones(rows, bool))

    return jax.value_and_grad(total)(params)


def _numbers(fixture: Fixture, name: str) -> list[str]:
    """Suffixes of the stored arrays NAME<suffix>, one a case."""
    found = (re.fullmatch(rf"{name}(_\d+)", stored) for stored in fixture.arrays)
    return [match[1] for match in found if match]


@adapter("rlps__selection_pass")
def selection_pass(fixture: Fixture) -> Answer:
    arrays: dict[str, Any] = {}
    for case in fixture.meta["cases"]:
        suffix = f"_{case['case']}"
        apply, params = policy_of(fixture.weights, f"case{suffix}.")
        features, uniforms, order, returns = (
            jnp.asarray(fixture.arrays[f"in_{name}{suffix}"])
            for name in ("features", "uniforms", "order", "returns")
        )
        uniforms = None if case["rule"] == "threshold" else uniforms
        options = dict(threshold=case.get("thr", 0.5), reset_every=case.get("reset_every") or 0)
        make = _seen if case.get("mean_of") == "seen" else _retained
        got, counts = make(functools.partial(apply, params), features, order, uniforms, options)
        seen = states(features, order, counts, reset_every=options["reset_every"])
        value, grads = summed(apply, params, seen, got.retained, returns)
        before, last = _counted(np.asarray(counts), np.asarray(order), options["reset_every"])
        arrays |= {
            f"out_actions{suffix}": got.retained,
            f"out_probs{suffix}": jax.nn.sigmoid(got.logits),
            f"out_logits{suffix}": got.logits,
            f"out_states{suffix}": seen,
            f"out_count_before{suffix}": before,
            f"out_final_mean{suffix}": features[np.array(last, int)].sum(0) / max(len(last), 1),
            f"out_final_count{suffix}": np.array(len(last)),
            f"out_objective{suffix}": value,
            **by_name("out_grad_", grads, suffix),
        }
    return Answer(arrays)


def _retained(logit_of, features, order, uniforms, options) -> tuple[Walk, jax.Array]:
    """(the walk, rows that its running mean counts)."""
    got = jax.jit(functools.partial(walk, logit_of, **options))(features, order, uniforms)
    return got, got.retained


def _seen(logit_of, features, order, uniforms, options) -> tuple[Walk, jax.Array]:
    """The reading of a mean over all rows visited, in which no state waits for a decision."""
    every = jnp.ones(len(features), bool)
    logits = logit_of(states(features, order, every, reset_every=options["reset_every"]))
    chance = jax.nn.sigmoid(logits)
    retained = chance >= options["threshold"] if uniforms is None else uniforms < chance
    return Walk(logits, retained), every


def _counted(counts: np.ndarray, order: np.ndarray, reset_every: int) -> tuple[np.ndarray, list]:
    """(rows in the mean before each row, by row; rows in it at the end)."""
    before, inside = np.zeros(len(counts), np.int64), []
    for place, row in enumerate(order):
        if reset_every and place % reset_every == 0:
            inside = []
        before[row] = len(inside)
        inside += [row] if counts[row] else []
    return before, inside


@adapter("rlps__policy_gradient")
def policy_gradient(fixture: Fixture) -> Answer:
    arrays: dict[str, Any] = {}
    ascent, readings = fixture.meta["config"]["ascent"], fixture.meta["readings"]
    others = [how for how in readings if how not in (*rewards.RETURNS, "eq4_literal")]
    differs = {f"out_*_{how}_*": f"returns are not {how} here" for how in others}
    apply, params = policy_of(fixture.weights)
    for suffix in _numbers(fixture, "in_states"):
        given = [jnp.asarray(fixture.arrays[f"in_{x}{suffix}"]) for x in ("states", "rewards")]
        seen, reward = given
        retained = jnp.asarray(fixture.arrays[f"in_actions{suffix}"]) == 1
        arrays[f"out_logits{suffix}"] = logits = apply(params, seen)
        arrays[f"out_log_prob{suffix}"] = log_probability(logits, retained)
        for how in (how for how in readings if how not in others):
            chosen, gain = _reading(how, reward, retained)
            value, grads = summed(apply, params, seen, chosen, gain)
            arrays[f"out_objective_{how}{suffix}"] = value
            arrays |= by_name(f"out_grad_{how}_", grads, suffix)
            arrays[f"out_expected_dlogit_{how}{suffix}"] = _expected(how, logits, reward)
        values, final = _ascended(apply, params, seen, retained, reward, ascent)
        arrays[f"out_ascent_objectives{suffix}"] = values
        arrays[f"out_ascent_final_logits{suffix}"] = apply(final, seen)
    return Answer(arrays, differs)


def _reading(how: str, reward: jax.Array, retained: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(actions, returns) whose objective is that of the reading."""
    if how == "eq4_literal":  # R log p, whatever the action
        return jnp.ones_like(retained), reward
    return retained, rewards.returns(reward, retained, how)


def _expected(how: str, logits: jax.Array, reward: jax.Array) -> jax.Array:
    """Exact mean over the actions of the derivative by each logit."""

    def of_action(action):
        retained, gain = _reading(how, reward, jnp.full(logits.shape, action))
        every = jnp.ones(logits.shape, bool)
        return len(logits) * jax.grad(objective)(logits, retained, gain, every)

    p = jax.nn.sigmoid(logits)
    return p * of_action(True) + (1 - p) * of_action(False)


def _ascended(apply, params, seen, retained, reward, ascent) -> tuple[np.ndarray, Params]:
    """(objective before each plain step, weights after the last).

    The text of the objective alone says which return it has, and whether it is a mean or a sum.
    """
    optimiser, every, values = optax.sgd(ascent["lr"]), jnp.ones(len(reward), bool), []
    how = next((how for how in rewards.RETURNS if how in ascent["objective"]), "signed")
    gain, state = rewards.returns(reward, retained, how), optimiser.init(params)
    gain = gain * len(reward) if ascent["objective"].startswith("sum") else gain
    for _ in range(ascent["steps"]):
        values.append(objective(apply(params, seen), retained, gain, every))
        given = (seen, retained, gain, every, jax.random.key(0))
        params, state = update(apply, optimiser, params, state, *given, minibatch=len(reward))
    return np.array(values), params


@adapter("rlps__rewards")
def readings_of_rewards(fixture: Fixture) -> Answer:
    arrays: dict[str, Any] = {}
    for suffix in _numbers(fixture, "in_labels"):
        probability, labels, actions = (
            fixture.arrays[f"in_{name}{suffix}"] for name in ("class_probs", "labels", "actions")
        )
        retained = actions == 1
        for name, reward in _rewards(probability, labels, retained).items():
            total = rewards.total(reward, retained)
            arrays[f"out_reward_{name}{suffix}"] = reward
            arrays[f"out_total_{name}{suffix}"] = total
            whole = {"sum": total, "mean": total / max(retained.sum(), 1)}
            by_return = {how: rewards.returns(reward, retained, how) for how in rewards.RETURNS}
            by_return |= {f"episode_{how}": np.full(len(labels), x) for how, x in whole.items()}
            for how, x in by_return.items():
                arrays[f"out_return_{how}_of_{name}{suffix}"] = x
    return Answer(arrays)


def _rewards(probability, labels, retained) -> dict[str, np.ndarray]:
    """{reading of equation 2: rewards}; ours are the first two, the others are made here."""
    classes = probability.shape[1]
    p_true = probability[np.arange(len(labels)), labels]
    every = np.ones(len(labels), bool)
    ours = functools.partial(rewards.of_probability, p_true, labels, every, classes=classes)
    return {
        "mean_true": ours(),
        "mean_true_same_class": ours(by="class"),
        "mean_true_retained": p_true - p_true[retained if retained.any() else every].mean(),
        "class_mean": p_true - probability.mean(0)[labels],
        "uniform": p_true - 1 / classes,
        "none": p_true,
    }


@adapter("rlps__metrics")
def scores(fixture: Fixture) -> Answer:
    arrays: dict[str, Any] = {}
    by_metric = {
        "confusion": "confusion",
        "precision": "precision_per_class",
        "recall": "recall_per_class",
        "f1": "f1_per_class",
        "macro_precision": "precision_fixed",
        "macro_recall": "recall_fixed",
        "macro_f1_paper": "f1_of_averages",
        "mean_of_f1": "f1_fixed",
        "average_accuracy_literal_eq8": "precision_fixed",
        "average_accuracy_diagonal": "recall_fixed",
    }
    classes = fixture.meta["config"]["num_classes"]
    for suffix in _numbers(fixture, "in_labels"):
        pair = [fixture.arrays[f"in_{name}{suffix}"] for name in ("predictions", "labels")]
        for name, metric in by_metric.items():
            arrays[f"out_{name}{suffix}"] = getattr(metrics, metric)(*pair, classes=classes)
        arrays[f"out_total_accuracy{suffix}"] = metrics.accuracy(*pair)
    score = jnp.asarray(fixture.arrays["in_epoch_macro_f1"])
    arrays["out_f1_change_reward"] = rewards.of_change(score[1:], score[:-1], True)
    return Answer(arrays)
