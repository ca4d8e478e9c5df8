"""Weightings: the total and its gradient, against the formula, and as a part of a training."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import checkpoint, systems
from affect_jax import train as loop
from affect_jax.checkpoint import Checkpoints
from affect_jax.optim import Optimiser
from affect_jax.run import Run
from affect_jax.train import Stopped, train
from affect_jax.weighting import WEIGHTINGS, dynamic_weights, rule
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.test_train import _StopAfter
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


def run_of(text, losses, labelled=None, epochs=None, alpha=None):
    """[total of each step] of losses [steps, n] under the rule, and the state after the last."""
    chosen = rule("config.weighting", text)
    steps, n = losses.shape
    labelled = np.ones_like(losses, bool) if labelled is None else labelled
    params, state = chosen.init(n)
    params = params if alpha is None else {"alpha": jnp.asarray(alpha, jnp.float32)}
    totals = []
    for k in range(steps):
        epoch = jnp.float32(0 if epochs is None else epochs[k])
        total, state = chosen.combine(
            params, state, jnp.asarray(losses[k]), jnp.asarray(labelled[k]), epoch
        )
        totals.append(float(total))
    return totals, state


def softmax_weights(ratio, temperature):
    """n softmax(ratio / temperature) in float64."""
    scores = np.exp(np.asarray(ratio, np.float64) / temperature)
    return len(ratio) * scores / scores.sum()


LOSSES = np.random.default_rng(0).uniform(0.2, 2, (5, 3)).astype(np.float32)


def test_dwa_weighs_by_the_two_steps_before_from_the_third_on():
    totals, _ = run_of("dwa(temperature=0.5)", LOSSES)
    want = [LOSSES[0].sum(), LOSSES[1].sum()]
    for k in (2, 3, 4):
        want.append(softmax_weights(LOSSES[k - 1] / LOSSES[k - 2], 0.5) @ LOSSES[k])
    np.testing.assert_allclose(totals, want, rtol=1e-5)


def test_dwa_by_epoch_weighs_by_the_means_of_the_two_epochs_before():
    epochs = np.array([0, 0.5, 1, 1.5, 2])
    totals, _ = run_of("dwa(temperature=2, by=epoch)", LOSSES, epochs=epochs)
    ratio = LOSSES[2:4].mean(0) / LOSSES[:2].mean(0)
    want = [*LOSSES[:4].sum(1), softmax_weights(ratio, 2) @ LOSSES[4]]
    np.testing.assert_allclose(totals, want, rtol=1e-5)


@pytest.mark.parametrize("by", ["step", "epoch"])
def test_dwa_keeps_the_last_losses_that_had_labels_and_weighs_only_those_that_have(by):
    labelled = np.ones_like(LOSSES, bool)
    labelled[2, 1] = labelled[3, 2] = False
    totals, _ = run_of(f"dwa(by={by})", LOSSES * labelled, labelled, epochs=np.arange(5))
    ratio = [LOSSES[2, 0] / LOSSES[1, 0], LOSSES[1, 1] / LOSSES[0, 1]]
    want = softmax_weights(ratio, 10) @ LOSSES[3, :2]
    assert totals[3] == pytest.approx(want, rel=1e-5)


def test_dynamic_weights_are_finite_for_losses_of_zero_and_of_any_size():
    state = {"last": jnp.array([1e30, 0.0, 1.0]), "before": jnp.array([1e-30, 1.0, 0.0])}
    weights = dynamic_weights(state, jnp.ones(3, bool), 0.1)
    np.testing.assert_allclose(weights, [3, 0, 0], atol=1e-6)
    np.testing.assert_array_equal(dynamic_weights(state, jnp.zeros(3, bool), 0.1), 0)


@pytest.mark.parametrize("dynamic", [0.0, 1.0, 4.0])
def test_restrained_weights_follow_the_formula(dynamic):
    a, phi = np.array([0.3, -0.6, 0.4]), 0.7
    text = f"druw(phi={phi}, temperature=0.5, dynamic={dynamic})"
    totals, _ = run_of(text, LOSSES[:3], alpha=a)
    fixed = 1 / (3 * a**2)
    rest = np.log(1 + a**2).sum() + abs(phi - np.abs(a).sum())
    lam = softmax_weights(LOSSES[1] / LOSSES[0], 0.5)
    weights = (np.ones(3), np.ones(3), lam)
    want = [(dynamic * w + fixed) @ x + rest for w, x in zip(weights, LOSSES)]
    np.testing.assert_allclose(totals, want, rtol=1e-5)
    if not dynamic:
        np.testing.assert_allclose(run_of(f"rruw(phi={phi})", LOSSES[:3], alpha=a)[0], want, 1e-5)


@pytest.mark.parametrize("text", ["rruw", "druw"])
def test_a_restrained_weight_without_labels_stays_and_the_others_are_held_as_before(text):
    chosen, losses = rule("config.weighting", text), jnp.array([0.5, 0.0, 0.7])
    state, a = chosen.init(3)[1], jnp.array([0.5, 0.4, 0.3])

    def total(a, labelled):
        params = {"alpha": a}
        return chosen.combine(params, state, losses, jnp.asarray(labelled), jnp.float32(0))[0]

    every = jax.grad(total)(a, [True] * 3)
    some = jax.grad(total)(a, [True, False, True])
    assert some[1] == 0 != every[1]
    np.testing.assert_array_equal(some[jnp.array([0, 2])], every[jnp.array([0, 2])])
    assert total(a, [False] * 3) == 0


def test_the_restraint_does_not_pull_where_it_is_met():
    chosen = rule("config.weighting", "rruw")
    for n in (2, 4):
        a, every = chosen.init(n)[0]["alpha"], jnp.ones(n, bool)
        zero, epoch = jnp.zeros(n), jnp.float32(0)
        slope = jax.grad(lambda a: chosen.combine({"alpha": a}, {}, zero, every, epoch)[0])(a)  # noqa: B023
        np.testing.assert_allclose(slope, 2 * a / (1 + a**2), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dva", "config.weighting = 'dva': Did you mean 'dwa'?"),
        ("dwa(by=day)", "config.weighting = 'dwa(by=day)': by: Known: step, epoch."),
        ("dwa(temperatur=2)", "no such option as 'temperatur'. Did you mean 'temperature'?"),
        ("dwa(temperature=0)", "temperature: expected a number above 0, got '0'."),
        ("rruw(phi=nan)", "phi: expected a number above 0, got 'nan'."),
        ("druw(dynamic=-1)", "dynamic: expected a number from 0 on, got '-1'."),
        ("dwa(by=step", "expected NAME or NAME(OPTION=VALUE, ...)."),
        ("fixed(a=1)", "no such option as 'a'. fixed has none."),
        ("dwa(by=step, by=epoch)", "by is there twice. Leave one."),
    ],
)
def test_a_wrong_rule_or_option_is_named(text, message):
    with pytest.raises(UserError) as error:
        rule("config.weighting", text)
    assert message in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("across", "inside"),
    [
        ("druw(by=epoch)", "dwa"),
        ("dwa", "rruw"),
        ("rruw", "druw"),
        ("uncertainty", "dwa(by=epoch)"),
    ],
)
def test_a_run_stopped_under_a_rule_goes_on_to_the_same_bits(tmp_path, monkeypatch, across, inside):
    store = small_store(tmp_path / "store").path

    def system():
        config = tiny_config(store, weighting=across)
        config.task.au.weighting = inside
        return systems.build(config)

    want = train(system(), Run(tmp_path / "unbroken"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(3)))
        with pytest.raises(Stopped):
            train(system(), Run(tmp_path / "broken"))
    got = train(system(), Run(tmp_path / "broken"))
    assert checkpoint.digest(got) == checkpoint.digest(want)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(got.weighting))


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


def test_a_rule_is_trained_with_the_model_and_kept_in_its_checkpoint(tmp_path):
    store = small_store(tmp_path / "store").path
    system, run = tiny_system(store, weighting="druw"), Run(tmp_path / "run")
    state = train(system, run)
    learned = state.params["weighting"]["alpha"]
    assert set(learned) == {task.name for task in system.tasks}
    assert all(float(value) != 0.25 and np.isfinite(value) for value in learned.values())
    assert (np.asarray(state.weighting["before"]) > 0).all()
    assert "weighting" not in state.variables()["params"]
    with Checkpoints(run.checkpoints) as checkpoints:
        _, kept, _ = checkpoints.restore_last(jax.eval_shape(system.init))
    jax.tree.map(np.testing.assert_array_equal, kept.params["weighting"], state.params["weighting"])
    jax.tree.map(np.testing.assert_array_equal, kept.weighting, state.weighting)
