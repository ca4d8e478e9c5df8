"""The policy's objective and update: gradients in closed form, and rows that do not count."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from affect_jax.selection import rewards
from affect_jax.selection.update import entropy_of, log_probability, objective, update

RNG = np.random.default_rng(0)
N = 10
STATES = jnp.asarray(RNG.normal(size=(N, 4)), jnp.float32)
LOGITS = jnp.asarray(RNG.normal(size=N), jnp.float32)
P = 1 / (1 + np.exp(-np.float64(LOGITS)))
REWARDS = jnp.asarray(RNG.normal(size=N), jnp.float32)
ALL = jnp.ones(N, bool)


def gradient(how, retained):
    """d objective / d logit, times N: of the sum."""
    given = rewards.returns(REWARDS, retained, how)
    return N * jax.grad(objective)(LOGITS, retained, given, ALL)


@functools.cache
def mean_gradient(how, draws=4000):
    """(mean over draws of the actions, its standard error) of `gradient`."""
    actions = jax.random.uniform(jax.random.key(1), (draws, N)) < P
    each = jax.jit(jax.vmap(functools.partial(gradient, how)))(actions)
    return np.mean(each, 0), np.std(each, 0) / np.sqrt(draws)


def test_the_mean_gradient_of_the_literal_return_is_zero():
    mean, error = mean_gradient("literal")
    assert (error > 0).all()
    assert (np.abs(mean) < 3 * error).all()


@pytest.mark.parametrize(("how", "factor"), [("signed", 2), ("retain", 1)])
def test_the_mean_gradient_is_that_of_the_expected_reward(how, factor):
    mean, error = mean_gradient(how)
    want = factor * REWARDS * P * (1 - P)  # of the sum of R p
    assert (np.abs(mean - want) < 4 * error + 1e-5).all()


def test_a_signed_return_moves_each_logit_by_the_sign_of_the_reward():
    for retained in (ALL, ~ALL):
        got = gradient("signed", retained)
        np.testing.assert_allclose(got, REWARDS * np.where(retained, 1 - P, P), atol=1e-5)


@pytest.mark.parametrize("logit", [-40.0, 40.0, 1e4])
def test_a_policy_that_is_sure_has_finite_log_probabilities_entropies_and_gradients(logit):
    logits = np.full(N, logit, np.float32)
    assert np.isfinite(entropy_of(logits)).all()
    for retained in (ALL, ~ALL):
        assert np.isfinite(log_probability(logits, retained)).all()
        grad = jax.grad(objective)(logits, retained, REWARDS, ALL, entropy=0.1)
        assert np.isfinite(grad).all()


def test_the_entropy_is_largest_at_a_half_and_draws_the_policy_there():
    np.testing.assert_allclose(
        entropy_of(LOGITS), -(P * np.log(P) + (1 - P) * np.log(1 - P)), atol=1e-6
    )
    pull = jax.grad(lambda z: objective(z, ALL, 0 * REWARDS, ALL, entropy=0.1))(LOGITS)
    np.testing.assert_array_equal(np.sign(pull), -np.sign(LOGITS))


def test_an_objective_without_rows_is_zero_and_so_is_its_gradient():
    missing = np.full(N, np.nan, np.float32)
    value, grad = jax.value_and_grad(objective)(missing, ALL, missing, ~ALL, entropy=0.1)
    assert value == 0 and (grad == 0).all()


@functools.partial(jax.jit, static_argnames=("apply", "optimiser", "minibatch", "entropy"))
def updated(apply, optimiser, params, valid, key, **options):
    given = (params, optimiser.init(params), STATES, LOGITS > 0, REWARDS, valid, key)
    return update(apply, optimiser, *given, **options)


def linear(params, states):
    return states @ params


def steps(valid, minibatch):
    """Number of optimiser steps of an update, and the weights after it."""
    optimiser = optax.adam(1e-3)
    params, state = updated(
        linear, optimiser, jnp.ones(4), valid, jax.random.key(0), minibatch=minibatch
    )
    return int(state[0].count), params


@pytest.mark.parametrize(
    ("rows", "minibatch", "want"), [(10, 4, 3), (9, 4, 3), (8, 4, 2), (1, 4, 1), (10, 64, 1)]
)
def test_an_update_takes_as_few_steps_as_hold_the_valid_rows(rows, minibatch, want):
    assert steps(np.arange(N) < rows, minibatch)[0] == want


def test_an_update_without_rows_changes_nothing():
    count, params = steps(np.zeros(N, bool), 4)
    assert count == 0 and (params == 1).all()


def test_the_rows_of_an_update_are_dealt_evenly_and_each_once():
    valid, rate = np.arange(N) < 9, 1e-6
    optimiser, params = optax.sgd(rate), jnp.zeros(4)
    got, _ = updated(linear, optimiser, params, valid, jax.random.key(3), minibatch=4)
    # At rates near 0 three batches of three rows add up to three times the gradient of all nine.
    whole = jax.grad(lambda w: objective(STATES @ w, LOGITS > 0, REWARDS, valid))(params)
    np.testing.assert_allclose(got, 3 * rate * whole, rtol=1e-4)


def test_the_update_raises_the_objective():
    def value(params):
        return float(objective(linear(params, STATES), LOGITS > 0, REWARDS, ALL))

    optimiser, before = optax.adam(1e-3), jnp.ones(4)
    after, _ = updated(linear, optimiser, before, ALL, jax.random.key(0), minibatch=4)
    assert value(after) > value(before)
