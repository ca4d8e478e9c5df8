import json
import os
import signal
import subprocess
import sys
import threading
import types

import jax
import numpy as np
import pytest

from affect_jax import checkpoint
from affect_jax import config as configs
from affect_jax.check import check
from affect_jax.diagnose import explain_non_finite
from affect_jax.optim import paths
from affect_jax.predict import Predictor
from affect_jax.restore import choose_step, weights
from affect_jax.run import Run
from affect_jax.scoring import score
from affect_jax.step import chunk
from affect_jax.train import Stopped, chunk_bounds, train
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter
from tests.conftest import ROOT
from tests.stores import small_store
from tests.tiny import prepared, tiny_config, tiny_system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s", gaps=True).path


@pytest.fixture(scope="module")
def unbroken(store, tmp_path_factory):
    """(run, final state) of two epochs without a break."""
    run = Run(tmp_path_factory.mktemp("run"))
    return run, train(tiny_system(store), run)


def losses(run):
    return [record["loss"] for record in run.records()]


def test_every_parameter_moves_and_every_evaluation_is_a_line(unbroken, store):
    run, state = unbroken
    fresh = tiny_system(store).init()
    for (name, before), after in zip(
        paths(fresh.params).items(), jax.tree.leaves(state.params), strict=True
    ):
        # The true gradient of a key's bias is zero: softmax does not see a constant.
        assert "key/bias" in name or (np.asarray(before) != after).any(), name
    assert [r["epoch"] for r in run.records()] == [1, 2]
    assert set(run.records()[0]["scores"]["validation"]) >= {
        "valence/ccc",
        "P_MTL",
        "expression/f1",
    }
    assert int(state.position) == 2 and int(state.batch) == 0


def test_streamed_training_equals_resident_training(unbroken, store, tmp_path):
    run = Run(tmp_path)
    state = train(tiny_system(store, data__feeder="streamed"), run)
    # Gathering inside or outside the program changes the order of sums at most.
    for a, b in zip(
        jax.tree.leaves(state.params), jax.tree.leaves(unbroken[1].params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        [r["total"] for r in losses(run)], [r["total"] for r in losses(unbroken[0])], rtol=1e-5
    )


class _StopAfter(list):
    """A list of signals that one joins after so many looks."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    def __bool__(self):
        self.looks -= 1
        return self.looks < 0


# A look at the signals is taken once a chunk; 5 chunks an epoch.
@pytest.mark.parametrize(("looks", "every"), [(0, 0), (4, 0), (6, 2)])
def test_a_run_stopped_between_chunks_goes_on_to_the_same_bits(
    unbroken, store, tmp_path, monkeypatch, looks, every
):
    import contextlib

    from affect_jax import train as module

    run = Run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_signals", lambda: contextlib.nullcontext(_StopAfter(looks)))
        with pytest.raises(Stopped) as stopped:
            train(tiny_system(store, checkpoint_every_steps=every), run)
    # A kill after the line and before its checkpoint: the line must not stay.
    run.append({"step": stopped.value.args[0]})
    run.append({"step": 10**6})
    state = train(tiny_system(store), run)
    assert checkpoint.digest(state) == checkpoint.digest(unbroken[1])
    assert run.metrics_file.read_text() == unbroken[0].metrics_file.read_text()


def test_a_real_signal_saves_and_says_how_to_go_on(store, tmp_path):
    command = [sys.executable, "-m", "affect_jax.main", "--config=configs/mtl.py:smoke"]
    command += [f"--workdir={tmp_path / 'run'}", f"--config.data.root={store}"]
    command += ["--config.model.features=a,b", "--config.epochs=100000", "--config.data.length=4"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    guard = threading.Timer(120, process.kill)
    guard.start()
    for line in process.stderr:
        if line.startswith("epoch   2"):
            process.send_signal(signal.SIGTERM)
            break
    out, _ = process.communicate()
    guard.cancel()
    assert process.returncode == 0
    assert "stopped at step" in out and "Go on with: python -m affect_jax.main" in out
    assert checkpoint.last_whole(tmp_path / "run" / "checkpoints") is not None


def test_a_loss_that_is_not_finite_names_track_image_and_feature(store, tmp_path):
    frames = np.arange(3, 13)
    x = np.ones((10, 2))
    x[6] = np.nan
    with StoreWriter(
        tmp_path / "s",
        name="bad",
        features={"a": dict(size=2)},
        labels={"valence": dict(kind="values", size=1)},
    ) as writer:
        writer.add(
            track="v7_left",
            split="train",
            features={"a": x},
            labels={"valence": np.linspace(-1, 1, 10)},
            frames=frames,
        )
    system = tiny_system(
        tmp_path / "s", model__features="a", tasks="valence", data__split="", data__normalise="none"
    )
    with pytest.raises(UserError, match=r"feature 'a' of track v7_left, image 9") as caught:
        train(system, Run(tmp_path / "run"))
    assert "last good checkpoint" not in str(caught.value)  # there is none


def test_a_label_with_which_nothing_can_be_computed_is_named_before_the_learning_rate(store):
    system = tiny_system(store)
    values, mask = (np.array(a) for a in system.data.store.label("arousal"))
    track = system.data.store.tracks[2]
    row = track.offset + 5
    values[row], mask[row] = 3e30, True
    labels = {"arousal": (values, mask)}
    whole = system.data.store.label
    system.data.store.label = lambda name: labels.get(name) or whole(name)
    rows = system.data.rows("train")
    ids = np.flatnonzero(rows.track == 2)
    said = explain_non_finite(system, rows, ids, 7, {"arousal": np.inf, "total": np.inf})
    image = system.data.store.frames[row]
    assert f"label 'arousal' of track {track.name}, image {image} (3e+30)" in said
    assert "diverged" not in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_that_end_a_process_are_noted(number):
    from affect_jax.train import _signals

    before = signal.getsignal(number)
    with _signals() as stop:
        os.kill(os.getpid(), number)
        assert stop == [number]
    assert signal.getsignal(number) == before


def test_a_hangup_that_is_ignored_stays_ignored():
    from affect_jax.train import _signals

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _signals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_log_that_was_damaged_costs_neither_lines_nor_checkpoints(
    unbroken, store, tmp_path, monkeypatch
):
    import contextlib

    from affect_jax import train as module

    run = Run(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_signals", lambda: contextlib.nullcontext(_StopAfter(6)))
        with pytest.raises(Stopped):
            train(tiny_system(store, keep_epochs=1), run)
    (first,) = run.records()
    run.metrics_file.write_bytes(b"\xff" + run.metrics_file.read_bytes()[1:])
    configs.save(tiny_config(store, keep_epochs=1), run.config_file)
    assert choose_step(run, "epoch:1")[0] == first["step"]
    state = train(tiny_system(store, keep_epochs=1), run)
    assert checkpoint.digest(state) == checkpoint.digest(unbroken[1])
    assert run.metrics_file.read_text() == unbroken[0].metrics_file.read_text()
    assert first["step"] in checkpoint.steps_in(run.checkpoints)
    assert (tmp_path / "metrics.jsonl.damaged-1").read_bytes()[:1] == b"\xff"


def test_frozen_parts_stay_and_weights_of_another_run_are_taken(unbroken, store, tmp_path):
    other, trained = unbroken
    config = tiny_config(store)
    (other.folder / "config.json").write_text(json.dumps(config.to_dict()))
    system = tiny_system(
        store,
        freeze="encoder/.*",
        init__run=other.folder,
        init__match="encoder/.*",
        ema_decay=0.5,
        epochs=1,
    )
    run = Run(tmp_path)
    state = train(system, run)
    assert set(state.ema) == set(state.params) - {"encoder"} == set(state.opt_state[1].mu)
    _, variables = weights(system, run, "last")
    jax.tree.map(np.testing.assert_array_equal, variables, state.variables())
    jax.tree.map(np.testing.assert_array_equal, variables["params"], state.params | state.ema)
    best = int(trained.best_step["P_MTL"])
    raw = checkpoint.read_raw(other.checkpoints, best)
    for name, leaf in paths(state.params["encoder"]).items():
        np.testing.assert_array_equal(leaf, paths(raw["params"]["encoder"])[name])
    heads = zip(
        jax.tree.leaves(state.params["valence"]),
        jax.tree.leaves(raw["params"]["valence"]),
        strict=True,
    )
    assert all((np.asarray(a) != b).any() for a, b in heads)


def test_overlapping_windows_are_trained_on_and_averaged_with_averaged_weights(store, tmp_path):
    changes = dict(data__hop=2, ema_decay=0.75, epochs=1)
    count = len(tiny_system(store, **changes).data.rows("train"))
    system, run = tiny_system(store, **changes, data__batch_size=count), Run(tmp_path)
    check(system)
    first = jax.device_get(system.init().params)
    state = train(system, run)
    step, variables = weights(system, run, "last")
    assert step == int(state.step) == 1 and count > len(tiny_system(store).data.rows("train"))
    average = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, first, jax.device_get(state.params))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), variables["params"], average
    )
    rows = system.data.rows("validation")
    batch = prepared(system, rows, np.arange(len(rows)))
    raw = np.asarray(jax.jit(system.model.apply)(variables, batch).predictions["valence"])
    found = dict(Predictor(system, "validation").tracks(variables))
    for track, predicted in found.items():
        total, count = np.zeros_like(predicted["valence"]), np.zeros((len(predicted["valence"]), 1))
        for row in np.flatnonzero(rows.track == track):
            total[rows.frames(row)] += raw[row, : rows.sizes[row]]
            count[rows.frames(row)] += 1
        assert count.min() >= 1 and count.max() >= 2
        np.testing.assert_allclose(predicted["valence"], total / count, atol=1e-5)
    scores = score(system.tasks, system.data.store, found.items())
    logged = run.records()[0]["scores"]["validation"]["valence/ccc"]
    assert logged == pytest.approx(scores["valence/ccc"], abs=1e-6)


def test_the_best_step_of_the_state_on_disk_is_kept_until_the_next_state_is_there():
    from affect_jax.train import _Loop

    loop, kept = object.__new__(_Loop), []
    loop.checkpoints = types.SimpleNamespace(steps=lambda: [3, 4, 5], keep=kept.extend)
    loop.config, loop.spared = types.SimpleNamespace(keep_epochs=()), set()
    loop.state = types.SimpleNamespace(best_step={"P_MTL": 6})  # about to be saved
    loop.saved_best = {3}
    loop._keep()
    assert set(kept) == {3, 4, 5, 6}


@pytest.mark.slow
def test_an_extended_run_ends_in_the_bits_of_one_that_was_longer_from_the_start(store, tmp_path):
    constant = dict(optim__schedule="constant", optim__lr=1e-3)
    extended, longer = Run(tmp_path / "extended"), Run(tmp_path / "longer")
    for epochs in (1, 2):
        state = train(tiny_system(store, **constant, epochs=epochs), extended)
    expected = train(tiny_system(store, **constant, epochs=2), longer)
    assert checkpoint.digest(state) == checkpoint.digest(expected)
    assert extended.metrics_file.read_text() == longer.metrics_file.read_text()


def test_early_stopping_ends_the_run_and_keeps_the_best_step(store, tmp_path):
    # A learning rate of zero: no evaluation after the first is better.
    system = tiny_system(store, epochs=9, early_stop=2, optim__lr=0.0)
    run = Run(tmp_path)
    state = train(system, run)
    assert [r["epoch"] for r in run.records()] == [1, 2, 3]
    assert int(state.best_step["P_MTL"]) == run.records()[0]["step"]
    assert run.records()[0]["step"] in checkpoint.steps_in(run.checkpoints)


def test_the_training_step_is_compiled_once_however_many_epochs(store, tmp_path, monkeypatch):
    from affect_jax import train as module

    programs = []

    def kept(*arguments):
        programs.append(chunk(*arguments))
        return programs[-1]

    monkeypatch.setattr(module, "chunk", kept)
    train(tiny_system(store, epochs=3, data__split="", chunk_steps=1), Run(tmp_path))
    assert [program._cache_size() for program in programs] == [1]


@pytest.mark.parametrize(
    ("total", "size", "bounds"),
    [
        (10, 4, [0, 3, 6, 9, 10]),
        (8, 4, [0, 4, 8]),
        (3, 32, [0, 3]),
        (0, 4, [0]),
        (7, 1, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_chunks_are_even_and_end_at_bounds_that_the_length_alone_decides(total, size, bounds):
    assert chunk_bounds(total, 0, size) == bounds
    for done in bounds:
        assert chunk_bounds(total, done, size) == [b for b in bounds if b >= done]


def test_one_and_eight_devices_train_to_the_same_parameters(store, tmp_path):
    # A larger eps: where the true gradient is zero, Adam would make steps of rounding noise.
    expected = train(tiny_system(store, optim__eps=1e-3, data__split=""), Run(tmp_path / "one"))
    code = (
        "import sys, numpy as np, jax\n"
        "from affect_jax.run import Run\nfrom affect_jax.train import train\n"
        "from tests.tiny import tiny_system\n"
        "assert jax.device_count() == 8\n"
        "system = tiny_system(sys.argv[1], optim__eps=1e-3, data__split='')\n"
        "state = train(system, Run(sys.argv[2]))\n"
        "np.savez(sys.argv[3], *[np.asarray(x) for x in jax.tree.leaves(state.params)])\n"
    )
    out = tmp_path / "params.npz"
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = os.environ | {"XLA_FLAGS": flags}
    subprocess.run(
        [sys.executable, "-c", code, str(store), str(tmp_path / "run"), str(out)],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=300,
    )
    with np.load(out) as arrays:
        theirs = [arrays[name] for name in arrays.files]
    for a, b in zip(theirs, jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # sums in another order
