"""Systems that are no part of the project train through its loop: what a new one can rely on."""

import contextlib
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from affect_jax import checkpoint, systems
from affect_jax import config as configs
from affect_jax import train as loop
from affect_jax.main import cli
from affect_jax.optim import paths
from affect_jax.run import Run
from affect_jax.step import chunk
from tests.conftest import ROOT
from tests.test_train import _StopAfter
from tests.toys.stores import pictures, sound

TOYS = ROOT / "tests" / "toys"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("toys") / "pictures")


def digest(run):
    folder = Run(run).checkpoints
    return checkpoint.digest(checkpoint.last_whole(folder)[1])


def kept(run):
    """The rows that were selected when the newest checkpoint was written."""
    return np.asarray(checkpoint.last_whole(Run(run).checkpoints)[1]["extra"]["kept"])


def selector(store, run, *more):
    config = TOYS / "selector_config.py"
    flags = [f"--config={config}", f"--config.data.root={store}", f"--workdir={run}", *more]
    return cli(flags)


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    """(run, programs that were compiled, rows that each training phase was fed)."""
    programs, fed = {}, []

    def compiled(step, *arguments):
        programs[step] = chunk(step, *arguments)
        return programs[step]

    def phase(self, phase):
        if phase.rows is not None:
            fed.append(phase.rows.tolist())
        return ran(self, phase)

    ran = loop._Loop._phase
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "chunk", compiled)
        patch.setattr(loop._Loop, "_phase", phase)
        run = tmp_path_factory.mktemp("runs") / "whole"
        assert selector(store, run, "--config.epochs=4") == 0
    return run, programs, fed


def test_a_selector_and_its_classifier_train_in_turns(whole):
    run, _, fed = whole
    assert [record["epoch"] for record in Run(run).records()] == [1, 2, 3, 4]
    assert len({tuple(rows) for rows in fed}) == 4 and len({len(rows) for rows in fed}) > 1
    assert np.flatnonzero(kept(run)).tolist() == fed[-1]
    policy = checkpoint.last_whole(Run(run).checkpoints)[1]["extra"]["policy"]
    assert all(np.asarray(leaf).any() for leaf in policy.values())


def test_a_changing_number_of_rows_compiles_nothing_anew(whole):
    _, programs, fed = whole
    assert {-(-len(rows) // 4) for rows in fed} > {6} or len({-(-len(r) // 4) for r in fed}) > 1
    # One program for a chunk of the full table, and one for a single step.
    assert sorted(program._cache_size() for program in programs.values()) == [1, 2]


def test_places_that_do_not_exist_write_nothing_over_the_last_row(store):
    config = configs.load(str(TOYS / "selector_config.py"))
    config.data.root = str(store)
    system = systems.build(config)
    state, data = system.init(), system.data
    source, shape, rows = data.source(), data.shape(training=True), data.training_rows
    table = data.training_plan(carries=False).epoch(0)
    assert (table[-1] < 0).any()
    step = jax.jit(system.programs()["score"].step)
    for ids in table:
        batch = system.prepare(source.batch(rows, shape, ids), None, False)
        state, _ = step(state, batch, 0.0, 0.0)
    all_rows = np.arange(len(rows), dtype=np.int32)
    batch = system.prepare(source.batch(rows, shape, all_rows), None, False)
    logits = system.model.apply(state.variables(), batch).predictions["kind"]
    chosen = jax.nn.softmax(logits)[all_rows, batch["labels"]["kind"]]
    np.testing.assert_allclose(state.extra["chosen"], chosen, rtol=1e-5)


# A look at the signals is taken once a chunk. A score phase has 2 chunks, training some more.
@pytest.mark.parametrize("looks", [0, 1, 2, 3, 4, 9])
def test_a_selector_that_is_killed_in_any_phase_goes_the_same_way(store, tmp_path, whole, looks):
    run, epochs = tmp_path / "run", "--config.epochs=4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(looks)))
        assert selector(store, run, epochs) == 0
    assert Run(run).started and not Run(run).finished
    state = checkpoint.last_whole(Run(run).checkpoints)[1]
    assert int(state["position"]) < 8
    assert selector(store, run, epochs) == 0
    assert digest(run) == digest(whole[0])
    assert Run(run).metrics_file.read_text() == Run(whole[0]).metrics_file.read_text()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return sound(tmp_path_factory.mktemp("toys") / "sound")


def flags(store, run, *more):
    config = TOYS / "clips_config.py"
    return [f"--config={config}", f"--config.data.root={store}", f"--workdir={run}", *more]


@pytest.fixture(scope="module")
def heard(sounds, tmp_path_factory):
    """A run of the clips, on streamed data."""
    run = tmp_path_factory.mktemp("runs") / "heard"
    assert cli(flags(sounds, run, "--config.data.feeder=streamed")) == 0
    return run


def state_of(run):
    return checkpoint.last_whole(Run(run).checkpoints)[1]


def test_clips_of_raw_sound_are_trained_on_and_scored(heard):
    state, run = state_of(heard), Run(heard)
    assert int(state["step"]) == 3 * 4
    stats = state["batch_stats"]["norm"]
    assert np.asarray(stats["mean"]).any() and (np.asarray(stats["var"]) != 1).all()
    average = state["ema_batch_stats"]["norm"]["var"]
    assert (average != stats["var"]).all() and (np.asarray(average) != 1).all()
    record = run.records()[-1]
    assert record["group_lr"]["ears"] == pytest.approx(record["lr"] / 2)
    with np.load(run.predictions / "validation" / "loudness.npz") as arrays:
        assert arrays["raw"].shape == (6, 1) and arrays["frame"].tolist() == [1] * 6
    scores = json.loads((run.predictions / "validation" / "scores.json").read_text())
    assert set(scores) == {"tone/f1", "tone/uar", "loudness/ccc", "loudness/rmse"}


@pytest.mark.parametrize("looks", [0, 3])
def test_clips_that_are_killed_go_on_to_the_same_bits(sounds, heard, tmp_path, looks):
    run, how = tmp_path / "run", "--config.data.feeder=streamed"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(looks)))
        assert cli(flags(sounds, run, how)) == 0
    assert Run(run).started and not Run(run).finished
    assert cli(flags(sounds, run, how)) == 0
    assert digest(run) == digest(heard)
    assert Run(run).metrics_file.read_text() == Run(heard).metrics_file.read_text()


def assert_near(run, other):
    state, expected = state_of(run), state_of(other)
    for part in ("params", "batch_stats", "ema", "ema_batch_stats"):
        theirs = paths(expected[part])
        for name, leaf in paths(state[part]).items():
            np.testing.assert_allclose(leaf, theirs[name], rtol=1e-3, atol=2e-4, err_msg=name)


def test_resident_clips_end_where_streamed_ones_do(sounds, heard, tmp_path):
    assert cli(flags(sounds, tmp_path / "run", "--config.data.feeder=resident")) == 0
    assert_near(tmp_path / "run", heard)


@pytest.mark.slow
def test_two_devices_end_where_one_does(sounds, heard, tmp_path):
    command = [sys.executable, "-m", "affect_jax.main", *flags(sounds, tmp_path / "run")]
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        command, check=True, cwd=ROOT, env=os.environ | two, capture_output=True, text=True
    )
    assert "on 2 cpu device(s)" in done.stderr
    assert_near(tmp_path / "run", heard)
