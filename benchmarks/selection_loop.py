"""A toy of the selector and its classifier in turns, with known kinds of noise.

Four classes of points in ten dimensions. Half of the training rows are full, a quarter half (half
of their inputs are lost), a quarter none (inputs that have nothing to do with their labels): far
from the classes, or among them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from affect_jax.metrics import f1_of_averages
from affect_jax.selection import rewards as rules
from affect_jax.selection.policy import Policy
from affect_jax.selection.update import update
from affect_jax.selection.walk import states, visiting_order, walk

CLASSES, INPUTS, FEATURES, HELD_OUT, TEST = 4, 10, 8, 200, 2000
STEPS, EPOCHS = 10, 60  # full-batch steps of the classifier an epoch, and epochs
RATE = 3e-3  # of the classifier
KINDS = ("full", "half", "none")
POLICY, OPTIMISER = Policy(), optax.adam(1e-3)
REWARDS = ("probability", "class", "f1")


class Data(NamedTuple):
    """Rows: inputs float [N, 10], labels int [N], kind int [N], a place in KINDS."""

    inputs: jax.Array
    labels: jax.Array
    kind: jax.Array


class Classifier(nn.Module):
    """One hidden layer: (logits [N, 4], features [N, 8])."""

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        hidden = nn.relu(nn.Dense(FEATURES, name="hidden")(x))
        return nn.Dense(CLASSES, name="head")(hidden), hidden


MODEL, MODEL_OPTIMISER = Classifier(), optax.adam(RATE)


def data(key: jax.Array, centres: jax.Array, kind: jax.Array, far: float) -> Data:
    """Rows of the kinds given [N]; those that are none lie `far` from the middle of the classes."""
    keys = jax.random.split(key, 4)
    rows = len(kind)
    labels = jax.random.randint(keys[0], (rows,), 0, CLASSES)
    noise = jax.random.normal(keys[1], (rows, INPUTS))
    inputs = centres[labels] + noise
    lost = jax.random.permutation(keys[2], jnp.arange(INPUTS) < INPUTS // 2)
    half = jnp.where(jax.random.bernoulli(keys[3], shape=(rows, 1)), lost, ~lost)
    inputs = jnp.where((kind == 1)[:, None] & half, 0, inputs)
    return Data(jnp.where((kind == 2)[:, None], 1.5 * noise + far, inputs), labels, kind)


def fitted(model: Any, rows: Data, retained: jax.Array, steps: int) -> Any:
    """(params, optimiser state) after full-batch steps on the retained rows; the same of none."""

    def loss(params):
        each = optax.softmax_cross_entropy_with_integer_labels(
            MODEL.apply(params, rows.inputs)[0], rows.labels
        )
        return jnp.where(retained, each, 0).sum() / jnp.maximum(retained.sum(), 1)

    def step(carry, _):
        updates, state = MODEL_OPTIMISER.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    after = jax.lax.scan(step, model, length=steps)[0]
    return jax.tree.map(lambda a, b: jnp.where(retained.any(), a, b), after, model)


def fresh(key: jax.Array) -> Any:
    """(params, optimiser state) of a new classifier."""
    params = MODEL.init(key, jnp.zeros((1, INPUTS)))
    return params, MODEL_OPTIMISER.init(params)


def accuracy(params: Any, rows: Data) -> jax.Array:
    return (MODEL.apply(params, rows.inputs)[0].argmax(-1) == rows.labels).mean()


def features_of(params: Any, rows: Data) -> jax.Array:
    """Hidden features [N, 8], in units of their mean size."""
    hidden = MODEL.apply(params, rows.inputs)[1]
    return hidden / jnp.maximum(hidden.mean(), 1e-6)


def run(by: jax.Array, how: jax.Array, key: jax.Array, *, rows: int, far: float) -> Mapping:
    """Train in turns, then a fresh classifier on the rows at P >= 1/2.

    Args:
        by: place in REWARDS.
        how: place in RETURNS of `affect_jax.selection.rewards`.
        key: random key of everything; the data of a key is the same for all methods.
        rows: training rows.
        far: offset of the rows that are none.

    Returns:
        chance, kind [N]; accuracy with the selection, with all rows, and without those of kind
        none, of fresh classifiers on clean rows.
    """
    keys = jax.random.split(key, 8)
    directions = jnp.linalg.qr(jax.random.normal(keys[0], (INPUTS, CLASSES)))[0].T
    kind = jnp.arange(rows) * 4 // rows
    kind = jnp.where(kind < 2, 0, kind - 1)
    near = functools.partial(data, centres=2.6 * directions, far=far)
    train = near(keys[1], kind=kind)
    held_out = near(keys[2], kind=jax.random.permutation(keys[3], kind)[:HELD_OUT])
    test = near(keys[4], kind=jnp.zeros(TEST, int))
    every = jnp.ones(rows, bool)

    def epoch(carry, key):
        model, policy, before = carry
        one, two, three = jax.random.split(key, 3)
        seen, order = features_of(model[0], train), visiting_order(every, one)
        logit_of = functools.partial(POLICY.apply, policy[0])
        retained = walk(logit_of, seen, order, jax.random.uniform(two, (rows,))).retained
        model = fitted(model, train, retained, STEPS)
        p = jax.nn.softmax(MODEL.apply(model[0], train.inputs)[0])
        p_true = jnp.take_along_axis(p, train.labels[:, None], 1)[:, 0]
        guess = MODEL.apply(model[0], held_out.inputs)[0].argmax(-1)
        score = f1_of_averages(guess, held_out.labels, classes=CLASSES)
        given = p_true, train.labels, every
        earned = [rules.of_probability(*given, classes=CLASSES, by=x) for x in ("all", "class")]
        reward = jnp.stack([*earned, rules.of_change(score, before, every)])[by]
        gain = jnp.stack([rules.returns(reward, retained, name) for name in rules.RETURNS])[how]
        step = functools.partial(update, POLICY.apply, OPTIMISER, *policy, minibatch=60)
        policy = step(states(seen, order, retained), retained, gain, every, three)
        return (model, policy, score), None

    policy = POLICY.init(keys[5], jnp.zeros((1, 2 * FEATURES)))
    model = fitted(fresh(keys[6]), train, every, STEPS * 10)
    carry = model, (policy, OPTIMISER.init(policy)), jnp.float32(jnp.nan)
    (model, policy, _), _ = jax.lax.scan(epoch, carry, jax.random.split(keys[7], EPOCHS))
    logit_of = functools.partial(POLICY.apply, policy[0])
    last = walk(logit_of, features_of(model[0], train), visiting_order(every), None)
    found = {"chance": jax.nn.sigmoid(last.logits), "kind": kind}
    chosen = {"selection": last.retained, "all": every, "oracle": kind < 2}
    for name, retained in chosen.items():
        again = fitted(fresh(keys[6]), train, retained, STEPS * EPOCHS)
        found[name] = accuracy(again[0], test)
    return found


def runs(methods: list[tuple[str, str]], seeds: int, **case: float) -> Mapping:
    """`run` of (reward, returns) [methods] and seeds: arrays [methods, seeds, ...]."""
    names = list(rules.RETURNS)
    one = jax.jit(functools.partial(run, **case))
    keys = jax.random.split(jax.random.key(0), seeds)
    found = [
        one(REWARDS.index(reward), names.index(returns), key)
        for reward, returns in methods
        for key in keys
    ]
    shape = len(methods), seeds
    return jax.tree.map(lambda *x: np.stack(x).reshape(*shape, *x[0].shape), *found)
