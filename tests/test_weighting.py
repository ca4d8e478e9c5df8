"""Weightings: the total and its gradient, against the formula."""

import jax
import numpy as np
import pytest

from affect_jax.tasks import Task
from affect_jax.weighting import weighting

TASKS = (Task("valence", "values", 1), Task("au", "labels", 12))


def test_uncertainty_starts_as_the_plain_sum_and_settles_where_sigma_is_the_loss():
    rule = weighting("uncertainty")
    params, state = rule.init(TASKS)
    losses = {"valence": np.float32(0.5), "au": np.float32(3.0)}
    assert float(rule.combine(params, state, losses)[0]) == pytest.approx(3.5)
    # d/ds (exp(-2 s) L + s) = 0 at sigma^2 = 2 L.
    best = {"log_sigma": {k: 0.5 * np.log(2 * v) for k, v in losses.items()}}
    grads = jax.grad(lambda p: rule.combine(p, state, losses)[0])(best)
    np.testing.assert_allclose(list(grads["log_sigma"].values()), 0, atol=1e-6)
