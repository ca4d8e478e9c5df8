"""Pooling into steps: which frames are a step's, what a masked one says, what is refused.

Its numbers are compared with the original's by the golden fixtures.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.step_pooling import KINDS, StepPool, cuts
from data_pipelines.errors import UserError

X = np.random.default_rng(0).normal(size=(3, 10, 2)).astype(np.float32)
MASK = np.arange(10) < np.array([10, 6, 0])[:, None]


def pool(kind, x=X, mask=MASK, steps=4):
    module = StepPool(steps, kind, 3 if KINDS[kind][0] else 0)
    variables = module.init(jax.random.key(0), X, MASK)
    return module.apply(variables, x, mask)


def test_borders_are_rounded_half_to_even():
    assert cuts(199, 4).tolist() == [0, 50, 100, 149, 199]
    assert cuts(10, 4).tolist() == [0, 2, 5, 8, 10]


def test_a_step_is_the_mean_and_the_deviation_of_its_own_valid_frames():
    pooled, there = pool("statistics")
    assert there.tolist() == [[True] * 4, [True, True, True, False], [False] * 4]
    for row, step, start, stop in ((0, 0, 0, 2), (0, 2, 5, 8), (1, 2, 5, 6)):
        own = np.float64(X[row, start:stop])
        deviation = np.sqrt(own.var(0) + 1e-6)
        np.testing.assert_allclose(pooled[row, step], [*own.mean(0), *deviation], atol=1e-5)
    np.testing.assert_array_equal(pooled[..., :2], pool("mean")[0])


@pytest.mark.parametrize("kind", KINDS)
def test_masked_frames_change_nothing_and_have_no_gradient(kind):
    odd = np.where(MASK[..., None], X, np.nan).astype(np.float32)
    # With attention a step that has no valid frame is its first one, masked or not.
    valid = MASK | np.isin(np.arange(10), cuts(10, 4)) if KINDS[kind][0] else MASK
    x = jnp.where(valid[..., None], jnp.where(MASK[..., None], X, 7.0), odd)
    here = pool(kind, x)[0]
    np.testing.assert_array_equal(here[:2, :3], pool(kind)[0][:2, :3])
    assert np.isfinite(here).all()
    gradient = jax.grad(lambda x: pool(kind, x)[0].sum())(x)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~valid].any()
    assert np.abs(np.asarray(gradient)[MASK]).sum() > 0


def test_attention_weighs_the_frames_of_a_step():
    module = StepPool(2, "attention", 1)
    params = {
        "hidden": {"kernel": jnp.array([[1.0], [0.0]]), "bias": jnp.zeros(1)},
        "score": {"kernel": jnp.array([[2.0]])},
    }
    pooled, _ = module.apply({"params": params}, X[:1, :4], np.ones((1, 4), bool))
    weight = np.exp(2 * np.tanh(np.float64(X[0, :4, 0]))).reshape(2, 2)
    weight /= weight.sum(1, keepdims=True)
    expected = np.einsum("st,std->sd", weight, X[0, :4].reshape(2, 2, 2))
    np.testing.assert_allclose(pooled[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kind="max"), "kind = 'max': no such pooling"),
        (dict(kind="attention"), "hidden = 0: expected 1 or more"),
        (dict(kind="mean", hidden=4), "'mean' has no network: leave hidden and dropout out"),
        (dict(kind="attention", hidden=4, dropout=1.0), "dropout = 1.0: expected a rate"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StepPool(4, **settings)


def test_a_row_of_fewer_frames_than_steps_is_one_line():
    with pytest.raises(UserError, match="config.model.steps = 11: a row has 10 frames of sound"):
        StepPool(11, "mean").init(jax.random.key(0), X, MASK)
