"""Rewards and returns, against means in float64."""

import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.selection import rewards

RNG = np.random.default_rng(0)
P = RNG.uniform(size=9).astype(np.float32)
LABELS = np.array([0, 2, 2, 0, 1, 2, 0, 0, 2])
VALID = np.array([True] * 7 + [False] * 2)


def test_a_reward_is_the_probability_less_the_mean_of_all_or_of_the_class():
    given = np.where(VALID, P, np.nan)
    by_all = rewards.of_probability(given, LABELS, VALID, classes=3)
    np.testing.assert_allclose(by_all[:7], P[:7] - P[:7].mean(), atol=1e-6)
    by_class = rewards.of_probability(given, LABELS, VALID, classes=3, by="class")
    means = np.array([P[:7][LABELS[:7] == c].mean() for c in range(3)])
    np.testing.assert_allclose(by_class[:7], P[:7] - means[LABELS[:7]], atol=1e-6)
    for got in (by_all, by_class):
        np.testing.assert_array_equal(got[7:], 0)
        assert abs(float(got.sum())) < 1e-6


@pytest.mark.parametrize("by", ["all", "class"])
def test_without_rows_rewards_are_zero(by):
    got = rewards.of_probability(P, LABELS, np.zeros(9, bool), classes=3, by=by)
    np.testing.assert_array_equal(got, 0)


def test_a_change_of_score_is_one_reward_for_all_and_none_in_the_first_turn():
    got = rewards.of_change(jnp.float32(0.6), jnp.float32(0.35), VALID)
    np.testing.assert_allclose(got, 0.25 * VALID, atol=1e-6)
    np.testing.assert_array_equal(rewards.of_change(0.6, jnp.float32(np.nan), VALID), 0)


def test_returns_and_the_reward_of_a_turn():
    given, retained = np.array([1.0, 2.0, -3.0, -4.0]), np.array([True, False, True, False])
    by_name = {"signed": [1, -2, -3, 4], "retain": [1, 0, -3, 0], "literal": [1, 2, -3, -4]}
    assert rewards.RETURNS.keys() == by_name.keys()
    for how, want in by_name.items():
        np.testing.assert_array_equal(rewards.returns(given, retained, how), want)
    assert rewards.total(given, retained) == -2
