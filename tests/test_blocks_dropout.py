"""Dropout by an index hash: the distribution of flax's, at a fraction of its cost."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.dropout import Dropout

SHAPE = (64, 40, 96)
SIGMAS = 5  # a true statement fails once in two million


def mask(seed: int, rate: float = 0.3, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """1 where kept, 0 where dropped."""
    rngs = {"dropout": jax.random.key(seed)}
    out = Dropout(rate, parent=None).apply({}, jnp.ones(shape), True, rngs=rngs)
    return np.asarray(out) > 0


@pytest.mark.parametrize("rate", [0.0078125, 0.1, 0.5, 0.9])
def test_share_of_dropped_entries_is_the_rate(rate):
    dropped = ~mask(0, rate)
    sigma = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < SIGMAS * sigma


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_share_is_the_rate_in_every_slice_and_as_spread_as_by_chance(axis):
    dropped = ~mask(1)
    others = tuple(a for a in range(3) if a != axis)
    share = dropped.mean(others)
    sigma = np.sqrt(0.3 * 0.7 / (dropped.size / SHAPE[axis]))
    z = (share - 0.3) / sigma
    assert abs(z).max() < SIGMAS
    assert 0.5 < z.std() < 1.6


def test_neighbours_and_other_keys_are_independent():
    first = mask(2) - 0.7
    others = [np.roll(first, shift, axis) for axis in range(3) for shift in (1, 2, 16)]
    others += [mask(seed) - 0.7 for seed in (3, 4, 2**31)]
    for other in others:
        correlation = (first * other).mean() / (0.3 * 0.7)
        assert abs(correlation) < SIGMAS / np.sqrt(first.size)


def test_kept_entries_are_scaled_so_that_the_mean_stays():
    x = jnp.arange(1.0, 1001.0)
    out = Dropout(0.25, parent=None).apply({}, x, True, rngs={"dropout": jax.random.key(5)})
    kept = np.asarray(out) != 0
    np.testing.assert_allclose(np.asarray(out)[kept], np.asarray(x)[kept] / 0.75, rtol=1e-6)


def test_one_key_gives_one_mask_and_dtype_stays():
    np.testing.assert_array_equal(mask(6), mask(6))
    out = Dropout(0.5, parent=None).apply(
        {}, jnp.ones(8, jnp.bfloat16), True, rngs={"dropout": jax.random.key(0)}
    )
    assert out.dtype == jnp.bfloat16


def test_nothing_is_dropped_in_evaluation_and_no_key_is_needed():
    x = jnp.arange(12.0)
    np.testing.assert_array_equal(Dropout(0.9, parent=None).apply({}, x, False), x)
    np.testing.assert_array_equal(Dropout(0.0, parent=None).apply({}, x, True), x)


def test_gradient_is_zero_where_dropped_and_scaled_elsewhere():
    def total(x):
        return (
            Dropout(0.5, parent=None).apply({}, x, True, rngs={"dropout": jax.random.key(7)}).sum()
        )

    grad = np.asarray(jax.grad(total)(jnp.ones(256)))
    np.testing.assert_array_equal(grad, np.where(mask(7, 0.5, (256,)), 2.0, 0.0))


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_outside_0_to_1_is_refused(rate):
    with pytest.raises(ValueError, match=r"expected a rate in \[0, 1\)"):
        Dropout(rate, parent=None)
