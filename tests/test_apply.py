"""Evaluate and predict: whole folders, in the run or elsewhere, whoever else writes or dies."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from affect_jax import apply as module
from affect_jax import config as configs
from affect_jax import finish, systems
from affect_jax.checkpoint import Checkpoints
from affect_jax.environment import environment
from affect_jax.main import cli
from affect_jax.places import fingerprint, origin_of, place_of, require_free
from affect_jax.prediction_files import Predictions, find_tasks, read_split, splits
from affect_jax.report import plots
from affect_jax.restore import system_of
from affect_jax.run import Run
from data_pipelines.store import Store
from tests.conftest import ROOT
from tests.stores import small_store
from tests.tiny import tiny_config


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def untrained(store, tmp_path_factory):
    """A run of two checkpoints with other weights, as a training leaves it, without its report."""
    run = Run(tmp_path_factory.mktemp("runs") / "tiny")
    run.create()
    config = tiny_config(store.path, keep_epochs="1,2")
    system = systems.build(config)
    run.write_tasks(system.tasks)
    run.write_statistics(system.data.statistics)
    configs.save(config, run.config_file)
    state = system.init()
    with Checkpoints(run.checkpoints) as checkpoints:
        for step in (1, 2):
            params = jax.tree.map(lambda p, scale=step: scale * p, state.params)
            checkpoints.save(step, state.replace(params=params), {"environment": environment()})
            run.append({"step": step, "epoch": step, "lr": 1.0, "loss": {"total": 1.0}})
    return run.folder


@pytest.fixture
def run(untrained, tmp_path):
    return Run(shutil.copytree(untrained, tmp_path / "run"))


def command(run, *flags, mode="predict"):
    return cli([f"--mode={mode}", f"--workdir={run.folder}", *flags])


def contents(folder):
    return {p.relative_to(folder): p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_with_an_output_folder_nothing_is_written_in_the_run(run, tmp_path, capsys):
    before, out = contents(run.folder), tmp_path / "out"
    assert command(run, f"--output={out}", mode="evaluate") == 0
    assert contents(run.folder) == before
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert json.loads((out / "scores.json").read_text()) == printed
    assert sorted(read_split(out, find_tasks(out)), key=lambda t: t.name)[0].name == "arousal"
    card = (out / "README.md").read_text()
    assert "predictions of validation" in card and "| validation | predicted |" in card
    assert "plots/traces_validation.png" in card
    assert (out / "plots" / "traces_validation.png").is_file()
    assert require_free(str(out)) == out  # what was written before may be replaced


def test_an_output_folder_with_other_things_is_refused(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    for folder, holds in ((tmp_path / "mine", "thesis.tex"), (run.folder, "checkpoints")):
        assert command(run, f"--output={folder}") == 2
        assert f"holds {holds}" in capsys.readouterr().err
    assert cli([f"--workdir={run.folder}", "--output=x"]) == 2
    assert "only --mode=evaluate and --mode=predict" in capsys.readouterr().err


def test_a_run_that_cannot_be_written_names_the_flag(run, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda *_: False)  # who is root may write anywhere
    assert command(run) == 2
    err = capsys.readouterr().err
    assert "--output=FOLDER" in err and err.count("\n") == 1
    assert not run.predictions.exists()


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(module.report, "write_all", lambda *_, **__: [])


def test_predictions_of_other_data_get_a_folder_of_their_own(run, tmp_path, undrawn, capsys):
    own = run.predictions / "validation"
    own.mkdir(parents=True)
    (own / "valence.npz").touch()
    other = small_store(tmp_path / "other", seed=1)
    assert command(run, f"--config.data.root={other.path}") == 0
    assert "is of other data and stays" in capsys.readouterr().err
    assert [p.name for p in own.iterdir()] == ["valence.npz"]
    (name,) = {*splits(run.predictions)} - {"validation"}
    labels = Predictions.read(run.predictions / name / "valence.npz").label
    np.testing.assert_array_equal(labels, other.label("valence")[0][-len(labels) :])


def test_the_place_of_predictions_follows_the_data_wherever_they_lie(run, store, tmp_path):
    own = configs.read(run.config_file)
    other = small_store(tmp_path / "other", seed=1)
    moved = Store(shutil.copytree(other.path, tmp_path / "moved"))
    aside = f"@{fingerprint(other)[:8]}"

    def place(store, split):
        return place_of(run, own, origin_of(run, store, split, 1)).name

    assert place(store, "validation") == "validation"  # the training's before it is predicted
    assert place(other, "validation") == f"validation{aside}"
    assert place(other, "test") == "test"  # nobody's
    (run.predictions / "test").mkdir(parents=True)
    origin = origin_of(run, other, "test", 1)
    (run.predictions / "test" / "origin.json").write_text(json.dumps(origin))
    assert place(moved, "test") == "test"
    assert place(store, "test") == f"test@{fingerprint(store)[:8]}"


def test_a_split_that_is_a_path_is_not_predicted(run, tmp_path, capsys):
    store = small_store(tmp_path / "s")
    text = (store.path / "manifest.json").read_text().replace('"validation"', '"../../../evil"')
    (store.path / "manifest.json").write_text(text)
    flags = (f"--config.data.root={store.path}", "--config.data.split=../../../evil")
    assert command(run, *flags) == 2
    err = capsys.readouterr().err
    assert "evil" in err and err.count("\n") == 1
    assert not (tmp_path / "evil").exists() and not (run.folder.parent.parent / "evil").exists()


def test_two_at_once_leave_the_files_of_one(run, undrawn, monkeypatch):
    """Both have predicted before either takes its place."""
    together, real, made = threading.Barrier(2), module.predict_split, {}

    def predict_split(system, variables, split, folder, origin):
        scores = real(system, variables, split, folder, origin)
        made[origin["step"]] = {p.name: p.read_bytes() for p in folder.iterdir()}
        together.wait(60)
        return scores

    monkeypatch.setattr(module, "predict_split", predict_split)
    codes = []
    threads = [
        threading.Thread(target=lambda f=f: codes.append(command(run, f"--config.checkpoint={f}")))
        for f in ("epoch:1", "epoch:2")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    place = run.predictions / "validation"
    assert codes == [0, 0] and list(run.predictions.iterdir()) == [place]
    found = {p.name: p.read_bytes() for p in place.iterdir()}
    assert found == made[json.loads(found["origin.json"])["step"]]
    assert made[1]["valence.npz"] != made[2]["valence.npz"]


def test_a_killed_one_leaves_the_old_files_and_nothing_that_stays(run, undrawn):
    (run.predictions / "validation").mkdir(parents=True)
    (run.predictions / "validation" / "valence.npz").touch()
    code = (
        "import os, signal, sys\n"
        "from affect_jax import apply, main\n"
        "def killed(*a): os.kill(os.getpid(), signal.SIGKILL)\n"
        "apply.predict_split = killed\n"
        "main.cli(sys.argv[1:])"
    )
    flags = ["--mode=predict", f"--workdir={run.folder}", "--config.checkpoint=epoch:1"]
    done = subprocess.run([sys.executable, "-c", code, *flags], cwd=ROOT, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert [p.name for p in (run.predictions / "validation").iterdir()] == ["valence.npz"]
    assert len(list(run.predictions.iterdir())) == 2 and splits(run.predictions) == ["validation"]
    assert command(run, "--config.data.split=train") == 0  # another split clears it away, too
    assert sorted(p.name for p in run.predictions.iterdir()) == ["train", "validation"]


def test_a_full_disk_is_one_line_with_the_folder(run, monkeypatch, capsys):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "predict_split", full)
    assert command(run) == 2
    line = f"error: {run.predictions / 'validation'}: a file cannot be written (No space left on"
    assert line in capsys.readouterr().err and not run.predictions.exists()


def test_a_finished_run_gets_its_pictures_and_its_card_again(run, capsys):
    run.finished_file.write_text(json.dumps({"step": 2, "scores": {}}))
    flags = ("--config.data.split=train", "--config.checkpoint=epoch:1")
    assert command(run, *flags, mode="evaluate") == 0
    card = (run.folder / "README.md").read_text()
    assert "### train" in card and "Predicted at step 1." in card and "step 2 (`best`)" in card
    assert "![traces train](plots/traces_train.png)" in card
    assert (run.folder / "plots" / "f1_train_au.png").is_file()


def test_a_report_that_fails_loses_no_run(run, store, monkeypatch, caplog):
    def broken(*args, **options):
        raise RuntimeError("of a library")

    monkeypatch.setattr(plots, "draw_traces", broken)
    monkeypatch.setattr(finish.report, "write_card", broken)
    config = configs.read(run.config_file)
    assert "finished: " in finish.finish(system_of(run, config), run)
    assert (run.predictions / "validation" / "scores.json").is_file()
    assert json.loads(run.finished_file.read_text())["step"] == 2
    lines = [line for line in caplog.messages if ": not written" in line]
    missing = {line.split(": not written")[0].rsplit("/")[-1] for line in lines}
    assert missing == {"traces_validation.png", "README.md"}
