"""Truncated back-propagation: an update a segment, the state handed on, reset at a new track."""

import contextlib
import dataclasses

import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from affect_jax import checkpoint, systems
from affect_jax import train as loop
from affect_jax.objective import task_losses
from affect_jax.predict import Predictor
from affect_jax.run import Run
from affect_jax.train import Stopped, train
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.test_train import _StopAfter
from tests.tiny import prepared, tiny_config, tiny_system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s").path


def recurrent(store, *, layers=1, **changes):
    config = tiny_config(store, model__head__dropout=0.0, **changes)
    config.model.encoder = ConfigDict(dict(name="lstm", hidden=8, layers=layers))
    return systems.build(config)


@pytest.fixture(scope="module")
def whole(store):
    """(variables, predictions of every training track read in one segment)."""
    system = recurrent(store, layers=2, data__length=24)
    variables = system.init().variables()
    return variables, dict(Predictor(system, "train").tracks(variables))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_segments_with_carried_state_are_one_pass_over_the_track(whole, store, batch_size):
    variables, want = whole
    system = recurrent(store, layers=2, data__eval_batch_size=batch_size)
    got = dict(Predictor(system, "train").tracks(variables))
    assert got.keys() == want.keys() and len(got) == 4
    for track, raw in got.items():
        for task in raw:
            np.testing.assert_allclose(raw[task], want[track][task], atol=1e-6)


def test_predictions_do_not_depend_on_the_order_of_the_tracks(whole, store, monkeypatch):
    variables, want = whole
    system = recurrent(store, layers=2, data__eval_batch_size=3)
    ordered = system.data.evaluation_plan

    def mixed(rows, *, carries):
        return dataclasses.replace(
            ordered(rows, carries=carries), shuffle=True, seed=1, batch_size=2
        )

    monkeypatch.setattr(system.data, "evaluation_plan", mixed)
    got = dict(Predictor(system, "train").tracks(variables))
    assert list(got) != list(want)
    for track, raw in got.items():
        for task in raw:
            np.testing.assert_allclose(raw[task], want[track][task], atol=1e-6)


def test_no_gradient_flows_into_the_segment_before(store):
    system = recurrent(store, optim__lr=0.0, data__batch_size=1)
    rows = system.data.rows("train")
    table = system.data.training_plan(carries=True).epoch(0)
    at = next(i for i in range(1, len(table)) if not rows.first[table[i, 0]])
    first, second = (prepared(system, rows, table[i], labels=True) for i in (at - 1, at))
    state = system.init()
    zeros = state.carry
    # Fresh heads hardly let a gradient through.
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(state.params)))
    noise = jax.tree.unflatten(jax.tree.structure(state.params), list(keys))
    params = jax.tree.map(lambda p, k: p + jax.random.normal(k, p.shape), state.params, noise)
    state = state.replace(params=params)

    def total(params, cut):
        carry = system.model.apply({"params": params}, first, zeros).carry
        carry = jax.lax.stop_gradient(carry) if cut else carry
        predictions = system.model.apply({"params": params}, second, carry).predictions
        losses, _ = task_losses(system.tasks, predictions, second)
        return sum(task.weight * losses[task.name] for task in system.tasks)

    norm = jax.jit(
        lambda params, cut: optax.tree.norm(jax.grad(total)(params, cut)), static_argnums=1
    )
    step = jax.jit(system.programs()["train"].step)
    after, _ = step(state, first, 0.0, 0.0)
    _, logs = step(after, second, 0.0, 0.0)
    np.testing.assert_allclose(logs["gradient_norm"], norm(params, True), rtol=1e-5)
    assert abs(norm(params, False) / norm(params, True) - 1) > 1e-3


def test_a_recurrent_run_stopped_within_an_epoch_goes_on_to_the_same_bits(
    store, tmp_path, monkeypatch
):
    def system():
        return recurrent(store, checkpoint_every_steps=2)

    unbroken, run = Run(tmp_path / "unbroken"), Run(tmp_path / "broken")
    want = train(system(), unbroken)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(1)))
        with pytest.raises(Stopped):
            train(system(), run)
    got = train(system(), run)
    assert any(np.asarray(leaf).any() for leaf in jax.tree.leaves(want.carry))
    assert checkpoint.digest(got) == checkpoint.digest(want)
    assert run.metrics_file.read_text() == unbroken.metrics_file.read_text()


def test_a_model_without_state_takes_tracks_in_order_on_request(store):
    for lanes in (False, True):
        system = tiny_system(store, data__lanes=lanes)
        assert system.data.training_plan(carries=system.carries).lanes is lanes
    system = recurrent(store)
    assert system.data.training_plan(carries=system.carries).lanes is True


def test_windows_that_overlap_are_refused_with_carried_state(store):
    with pytest.raises(UserError, match=r"config.data.hop = 2: .* set 0, segments end to end"):
        recurrent(store, data__hop=2).data.training_plan(carries=True)
