"""The walk of the selector, its visiting order and its states, against a loop in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.selection.policy import Policy
from affect_jax.selection.walk import states, visiting_order, walk

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(11, 3)).astype(np.float32)
UNIFORMS = RNG.uniform(size=11).astype(np.float32)
WEIGHTS = RNG.normal(size=6).astype(np.float32)
ORDER = RNG.permutation(11)


def linear(weights, seen):
    return seen @ weights


@functools.partial(jax.jit, static_argnames=("threshold", "reset_every"))
def walked(weights, features, order, uniforms, **options):
    return walk(functools.partial(linear, weights), features, order, uniforms, **options)


def by_hand(weights, features, order, uniforms, threshold=0.5, reset_every=0):
    """(logits, retained, states) of a loop with a list of the retained rows, in float64."""
    features, weights = np.float64(features), np.float64(weights)
    logits, retained = np.zeros(len(features)), np.zeros(len(features), bool)
    seen, kept = np.zeros((len(features), 2 * features.shape[1])), []
    for place, row in enumerate(order):
        if reset_every and place % reset_every == 0:
            kept = []
        if row < 0:
            continue
        mean = np.mean(kept, 0) if kept else np.zeros(features.shape[1])
        seen[row] = np.concatenate([features[row], mean])
        logits[row] = seen[row] @ weights
        p = 1 / (1 + np.exp(-logits[row]))
        retained[row] = p >= threshold if uniforms is None else uniforms[row] < p
        if retained[row]:
            kept.append(features[row])
    return logits, retained, seen


@pytest.mark.parametrize(
    ("order", "uniforms", "options"),
    [
        (ORDER, UNIFORMS, {}),
        (ORDER, None, {"threshold": 0.6}),
        (ORDER, UNIFORMS, {"reset_every": 4}),
        (np.array([3, -1, 0, 7, -1, 10, 2, 5, -1, -1]), UNIFORMS, {}),
        (np.array([3, -1, 0, 7, -1, 10, 2, 5, -1, -1]), UNIFORMS, {"reset_every": 5}),
    ],
)
def test_a_walk_and_its_states_are_those_of_a_loop(order, uniforms, options):
    got = walked(WEIGHTS, FEATURES, order, uniforms, **options)
    logits, retained, seen = by_hand(WEIGHTS, FEATURES, order, uniforms, **options)
    assert 0 < retained.sum() < (order >= 0).sum()
    np.testing.assert_array_equal(got.retained, retained)
    np.testing.assert_allclose(got.logits, logits, atol=1e-5)
    reset = options.get("reset_every", 0)
    again = states(jnp.asarray(FEATURES), order, got.retained, reset_every=reset)
    np.testing.assert_allclose(again, seen, atol=1e-6)


def test_the_order_matters_only_through_the_mean_of_the_retained():
    orders = ORDER, ORDER[::-1].copy()
    one, other = (walked(WEIGHTS, FEATURES, order, UNIFORMS).logits for order in orders)
    assert np.abs(one - other).max() > 0.01
    blind = WEIGHTS * (np.arange(6) < 3)
    one, other = (walked(blind, FEATURES, order, UNIFORMS).logits for order in orders)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("bias", "retained"), [(-40.0, 0), (40.0, 11)])
def test_a_policy_that_is_sure_retains_nothing_or_all(bias, retained):
    constant = np.concatenate([FEATURES, np.ones((11, 1), np.float32)], 1)
    weights = np.zeros(8, np.float32)
    weights[3] = bias
    got = walked(weights, constant, ORDER, UNIFORMS)
    assert got.retained.sum() == retained
    assert np.isfinite(states(jnp.asarray(constant), ORDER, got.retained)).all()


def test_a_row_is_retained_at_the_threshold_itself():
    got = walked(np.zeros(6, np.float32), FEATURES, ORDER, None, threshold=0.5)
    assert got.retained.all()


def test_valid_rows_are_visited_first_each_once_and_in_row_order_without_a_key():
    valid = jnp.asarray(UNIFORMS < 0.6)
    rows = np.flatnonzero(valid)
    filling = np.full(11 - len(rows), -1)
    order = visiting_order(valid)
    np.testing.assert_array_equal(order, [*rows, *filling])
    shuffled = np.array([visiting_order(valid, jax.random.key(seed)) for seed in range(3)])
    np.testing.assert_array_equal(np.sort(shuffled[:, : len(rows)], 1), [rows] * 3)
    np.testing.assert_array_equal(shuffled[:, len(rows) :], [filling] * 3)
    assert len({tuple(order) for order in shuffled.tolist()}) == 3


def test_another_number_of_valid_rows_compiles_nothing_anew():
    before = walked._cache_size()
    for number in (3, 8):
        order = np.where(np.arange(9) < number, ORDER[:9], -1)
        assert walked(WEIGHTS, FEATURES, order, UNIFORMS).retained.sum() <= number
    assert walked._cache_size() == before + 1


@pytest.mark.parametrize("widths", [(4, 3), ()])
def test_a_policy_starts_at_its_first_rate_for_every_row(widths):
    policy = Policy(widths, first_rate=0.8)
    variables = policy.init(jax.random.key(0), FEATURES)
    assert list(variables["params"]) == [f"dense_{i}" for i in range(len(widths) + 1)]
    np.testing.assert_allclose(jax.nn.sigmoid(policy.apply(variables, FEATURES)), 0.8, rtol=1e-6)


def test_all_of_expw_is_walked_in_one_scan():
    rows, size = 73_433, 16
    features = jax.random.normal(jax.random.key(0), (rows, size))
    uniforms = jax.random.uniform(jax.random.key(1), (rows,))
    policy = Policy()
    variables = policy.init(jax.random.key(2), jnp.zeros((1, 2 * size)))

    @jax.jit
    def run(variables, features, uniforms):
        order = visiting_order(jnp.ones(rows, bool))
        got = walk(functools.partial(policy.apply, variables), features, order, uniforms)
        last = states(features, order, got.retained)[-1, size:]
        return got.retained, last

    retained, last = run(variables, features, uniforms)
    want = np.float64(features)[:-1][np.asarray(retained)[:-1]].mean(0)
    np.testing.assert_allclose(last, want, atol=1e-6)
    assert str(jax.make_jaxpr(run)(variables, features, uniforms)).count("scan[") == 1
