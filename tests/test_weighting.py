"""Weightings: the total and its gradient, against the formula, and as a part of a training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.checkpoint import Checkpoints
from affect_jax.optim import Optimiser
from affect_jax.run import Run
from affect_jax.train import train
from affect_jax.weighting import WEIGHTINGS
from tests.stores import small_store
from tests.tiny import tiny_config, tiny_system

RULE = WEIGHTINGS["uncertainty"]


def combined(params, losses, labelled=True):
    labelled = jnp.broadcast_to(jnp.asarray(labelled), losses.shape)
    return RULE.combine(params, {}, losses, labelled, jnp.float32(0))[0]


def test_uncertainty_starts_as_the_plain_sum_and_settles_where_sigma_is_the_loss():
    params, state = RULE.init(2)
    losses = jnp.array([0.5, 3.0])
    assert state == {} and float(combined(params, losses)) == pytest.approx(3.5)
    # d/ds (exp(-2 s) L + s) = 0 at sigma^2 = 2 L.
    grads = jax.grad(combined)({"log_sigma": 0.5 * jnp.log(2 * losses)}, losses)
    np.testing.assert_allclose(grads["log_sigma"], 0, atol=1e-6)


def test_a_loss_without_labels_in_the_batch_has_no_say_and_one_of_zero_has():
    losses, away = jnp.array([0.5, 0.0, 0.0]), {"log_sigma": jnp.ones(3)}
    total, grads = jax.value_and_grad(combined)(away, losses, jnp.array([True, False, True]))
    assert float(total) == pytest.approx(np.exp(-2) * 0.5 + 2)
    assert grads["log_sigma"][1] == 0 and grads["log_sigma"][2] == 1


def test_learned_weights_are_not_decayed_and_clipped_apart(tmp_path):
    config = tiny_config(tmp_path, optim__name="adamw", optim__weight_decay=0.5).optim
    config.lr, config.schedule = 1.0, "constant"
    params = {"encoder": {"kernel": jnp.ones(3)}, "weighting": {"log_sigma": {"au": jnp.ones(())}}}
    rule = Optimiser(config, params, epochs=1)
    still, now = jax.tree.map(jnp.zeros_like, params), (0, {"default": 1.0})
    after, _ = rule.update(still, rule.init(params), params, *now)
    np.testing.assert_allclose(after["encoder"]["kernel"], 0.5)
    assert float(after["weighting"]["log_sigma"]["au"]) == 1
    # A large gradient of the weights leaves that of the model as it is.
    config.weight_decay = 0.0
    rule = Optimiser(config, params, epochs=1)
    steep = {
        "encoder": {"kernel": jnp.full(3, 0.1)},
        "weighting": jax.tree.map(lambda x: 1e6 * x, params["weighting"]),
    }
    _, opt_state = rule.update(steep, rule.init(params), params, *now)
    moments = next(part.mu for part in opt_state if hasattr(part, "mu"))
    np.testing.assert_allclose(moments["encoder"]["kernel"], 0.1 * (1 - config.beta1), rtol=1e-6)
    largest = config.clip_norm * (1 - config.beta1)
    assert float(moments["weighting"]["log_sigma"]["au"]) == pytest.approx(largest)


def test_uncertainty_is_trained_with_the_model_and_kept_in_its_checkpoint(tmp_path):
    store = small_store(tmp_path / "store").path
    system, run = tiny_system(store, weighting="uncertainty"), Run(tmp_path / "run")
    state = train(system, run)
    learned = state.params["weighting"]["log_sigma"]
    assert set(learned) == {task.name for task in system.tasks}
    assert all(float(value) != 0 and np.isfinite(value) for value in learned.values())
    assert "weighting" not in state.variables()["params"]
    with Checkpoints(run.checkpoints) as checkpoints:
        _, kept, _ = checkpoints.restore_last(jax.eval_shape(system.init))
    jax.tree.map(np.testing.assert_array_equal, kept.params["weighting"], state.params["weighting"])
