"""A sweep, with a stub for the training where the training is not what is tested."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax.main import cli
from affect_jax.run import Run
from affect_jax.sweep import objective_of
from affect_jax.train import Stopped
from data_pipelines.errors import UserError
from data_pipelines.replace_file import replace_json
from tests.conftest import ROOT
from tests.stores import small_store
from tests.tiny import tiny_config

SPACE = "(('optim.lr', (1e-3, 1e-2)), ('model.encoder.heads', (2, 4)))"
FILES = ("results.csv", "best.json", "README.md", "plots/sweep.png", "sweep.json")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s").path


def flags(store, folder, *more, folds="false"):
    return [
        "--mode=sweep",
        "--config=configs/mtl.py:smoke",
        f"--workdir={folder}",
        f"--config.data.root={store}",
        "--config.model.features=a",
        "--config.tasks=valence",
        "--config.data.length=4",
        "--config.epochs=1",
        "--config.folds.count=2",
        f"--config.sweep.folds={folds}",
        f"--config.sweep.space={SPACE}",
        *more,
    ]


def results(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def everything(folder):
    """Files and numbers that must not depend on how often the command was killed."""
    place = bytes(pathlib.Path(folder).resolve())
    return {name: (folder / name).read_bytes().replace(place, b"SWEEP") for name in FILES}


@pytest.fixture
def stub(monkeypatch):
    """Trainings that only write a score, 10 lr + heads; .before(run) is called in each."""

    class Stub:
        def __init__(self):
            self.trained = []
            self.before = lambda run: None

        def __call__(self, config, run):
            run.create()
            configs.save(config, run.config_file)
            self.trained.append(run.folder.name)
            self.before(run)
            score = 10 * config.optim.lr + config.model.encoder.heads
            replace_json(run.finished_file, {"step": 1, "scores": {"valence/ccc": score}})

    stub = Stub()
    monkeypatch.setattr("affect_jax.sweep.train_run", stub)
    return stub


def test_every_setting_is_trained_and_the_best_config_is_one_that_a_run_takes(
    stub, store, tmp_path, capsys
):
    folder = tmp_path / "w"
    assert cli(flags(store, folder)) == 0
    rows = results(folder)
    assert [(r["trial"], r["optim.lr"], r["model.encoder.heads"]) for r in rows] == [
        ("trial1", "0.001", "2"),
        ("trial2", "0.001", "4"),
        ("trial3", "0.01", "2"),
        ("trial4", "0.01", "4"),
    ]
    scores = [float(row["valence/ccc"]) for row in rows]
    assert scores == pytest.approx([2.01, 4.01, 2.1, 4.1])
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["trial"] == "trial4" and last["valence/ccc"] == pytest.approx(4.1)
    best = configs.load(str(folder / "best.json"))
    assert (best.optim.lr, best.model.encoder.heads, best.sweep.space) == (1e-2, 4, ())
    assert best.folds.official and best.folds.cut == ""
    text = (folder / "README.md").read_text()
    assert text.index("trial4") < text.index("trial2") < text.index("trial3")
    assert "split `validation` at checkpoint `best`" in text
    with pytest.raises(UserError, match="has no variants"):
        configs.load(f"{folder / 'best.json'}:paper")


@pytest.mark.parametrize("killed", ["trial1", "trial3"])
def test_a_sweep_killed_in_a_trial_goes_on_to_the_same_table(stub, store, tmp_path, killed):
    assert cli(flags(store, tmp_path / "whole")) == 0

    def kill(run):
        if run.folder.name == killed and stub.trained.count(killed) < 2:
            raise KeyboardInterrupt

    stub.trained, stub.before = [], kill
    assert cli(flags(store, tmp_path / "w")) == 130
    assert not (tmp_path / "w" / "best.json").exists()
    assert cli(["--mode=sweep", f"--workdir={tmp_path / 'w'}"]) == 0
    expected = [f"trial{i}" for i in range(1, 5)]
    assert sorted(stub.trained) == sorted([*expected, killed])
    assert everything(tmp_path / "w") == everything(tmp_path / "whole")
    assert cli(["--mode=sweep", f"--workdir={tmp_path / 'w'}"]) == 0
    assert len(stub.trained) == 5


def test_a_trial_that_fails_is_named_and_left_out(stub, store, tmp_path, capsys):
    def fail(run):
        if run.folder.name == "trial4":
            raise UserError("the loss is not finite.")
        if run.folder.name == "trial2":
            raise ValueError("of ours")

    stub.before = fail
    assert cli(flags(store, tmp_path / "w")) == 0
    said = capsys.readouterr()
    assert "trial4: given up: the loss is not finite." in said.err
    assert json.loads(said.out.splitlines()[-1])["trial"] == "trial3"
    rows = {row["trial"]: row for row in results(tmp_path / "w")}
    assert rows["trial2"]["failed"] == "ValueError: of ours" and rows["trial2"]["valence/ccc"] == ""
    assert (
        "| trial4 | 0.01 | 4 | the loss is not finite. |"
        in (tmp_path / "w" / "README.md").read_text()
    )
    stub.trained, stub.before = [], lambda run: None
    (tmp_path / "w" / "failed.json").unlink()
    assert cli(["--mode=sweep", f"--workdir={tmp_path / 'w'}"]) == 0
    assert stub.trained == ["trial2", "trial4"]


def full(run):
    try:
        raise OSError(28, "No space left on device")
    except OSError:
        raise UserError("the disk: no room.") from None


def stopped(run):
    raise Stopped(7)


def test_what_concerns_all_trials_ends_the_sweep(stub, store, tmp_path, capsys):
    stub.before = full
    assert cli(flags(store, tmp_path / "w")) == 2
    assert capsys.readouterr().err.endswith("error: the disk: no room.\n")
    stub.before = stopped
    assert cli(flags(store, tmp_path / "w")) == 0
    again = f"Go on with: python -m affect_jax.main --mode=sweep --workdir={tmp_path / 'w'}"
    assert again in capsys.readouterr().out
    assert stub.trained == ["trial1", "trial1"] and not (tmp_path / "w" / "failed.json").exists()


def test_where_every_trial_fails_the_first_reason_is_said(stub, store, tmp_path, capsys):
    def fail(run):
        raise UserError(f"{run.folder.name} is bad.")

    stub.before = fail
    assert cli(flags(store, tmp_path / "w")) == 2
    assert "no trial has a score: trial1 is bad." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.sweep.seed=1"], "was started with sweep.seed = 0, now it is 1: other trials"),
        (["--config.epochs=2"], "was started with epochs = 1, now it is 2: other trials"),
    ],
)
def test_a_sweep_goes_on_with_the_trials_that_it_was_started_with(
    stub, store, tmp_path, capsys, more, message
):
    random = ["--config.sweep.method=random", "--config.sweep.trials=1"]
    assert cli(flags(store, tmp_path / "w", *random)) == 0
    assert cli(flags(store, tmp_path / "w", *random, *more)) == 2
    assert message in capsys.readouterr().err
    assert cli(flags(store, tmp_path / "w", *random[:1], "--config.sweep.trials=3")) == 0
    assert stub.trained == ["trial1", "trial2", "trial3"]


def test_data_that_change_between_trials_are_refused(stub, store, tmp_path, capsys):
    data = shutil.copytree(store, tmp_path / "s")
    stub.before = lambda run: None if run.folder.name == "trial1" else stopped(run)
    folder = tmp_path / "w"
    assert cli(flags(data, folder)) == 0
    (folder / "trial1" / "checkpoints" / "1").mkdir(parents=True)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["tracks"][0]["group"] = "another"
    (data / "manifest.json").write_text(json.dumps(manifest))
    assert cli(["--mode=sweep", f"--workdir={folder}"]) == 2
    assert "is not what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--config.sweep.space=()"], "config.sweep.space is empty"),
        (["--config.sweep.spcae=()"], "no such key. Did you mean 'sweep.space'"),
        (["--config.sweep.method=gird"], "Did you mean 'grid'"),
        (["--config.sweep.objective=valence/cc"], "Did you mean 'valence/ccc'"),
        (["--config.sweep.trials=0"], "expected a number from 1 on"),
        (["--config.data.split="], "config.sweep.folds is false and config.data.split is empty"),
        (["--config.sweep.space=(('optim.lrr',(1,)),)"], "Did you mean 'optim.lr'"),
        (["--config.data.split=nowhere"], "no split 'nowhere'"),
        (["--config.sweep.folds=true", "--config.folds.count=1"], "expected at least 2"),
    ],
)
def test_a_sweep_that_cannot_be_made_is_refused_before_it_begins(
    stub, store, tmp_path, capsys, more, message
):
    assert cli([*flags(store, tmp_path / "w"), *more]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "w").exists() and not stub.trained


def test_the_objective_is_the_first_monitored_score_that_the_tasks_have(store):
    config = tiny_config(store)
    assert objective_of(config) == "P_MTL"
    assert objective_of(tiny_config(store, tasks="arousal")) == "arousal/ccc"
    assert objective_of(tiny_config(store, sweep__objective="valence/rmse")) == "valence/rmse"


def test_one_command_on_the_folder_of_a_sweep_names_its_trials(stub, store, tmp_path, capsys):
    assert cli(flags(store, tmp_path / "w")) == 0
    assert cli(["--mode=evaluate", f"--workdir={tmp_path / 'w'}"]) == 2
    assert "holds a sweep. Take one of its trials" in capsys.readouterr().err


def test_the_best_of_a_config_that_is_scored_on_a_fold_is_trained_on_all_of_them(
    store, tmp_path, monkeypatch
):
    def stub(config, folder):
        folder.create()
        whole = dict(folds={}, mean={}, std={}, marks=[], checkpoint="last")
        replace_json(folder.scores_file, whole | {"pooled": {"valence/ccc": config.optim.lr}})

    monkeypatch.setattr("affect_jax.sweep.cross_validate", stub)
    own = ("folds.official=false", "folds.cut=train", "data.split=fold1", "data.train_split=fold2")
    command = flags(store, tmp_path, *(f"--config.{change}" for change in own), folds="true")
    assert cli(command) == cli(command) == 0
    best = configs.load(str(tmp_path / "best.json"))
    assert (best.data.train_split, best.data.split, best.folds.cut) == ("train", "", "")
    assert "pooled over 2 folds of split `train`" in (tmp_path / "README.md").read_text()


@pytest.mark.slow
def test_settings_are_scored_on_folds_of_the_training_split_alone(store, tmp_path, capsys):
    folder = tmp_path / "w"
    assert cli(flags(store, folder, "--config.checkpoint=last", folds="true")) == 0
    rows = results(folder)
    for row in rows:
        scores = json.loads((folder / row["trial"] / "scores.json").read_text())
        assert float(row["valence/ccc"]) == scores["pooled"]["valence/ccc"]
        assert float(row["deviation of valence/ccc"]) == scores["std"]["valence/ccc"]
        for fold in scores["folds"]:
            own = configs.read(folder / row["trial"] / fold / "config.json").data
            assert "validation" not in own.train_split + own.split
    best = max(rows, key=lambda row: float(row["valence/ccc"]))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["trial"] == best["trial"]
    run = [f"--config={folder / 'best.json'}", f"--workdir={tmp_path / 'run'}"]
    assert cli(run) == 0
    own = configs.read(tmp_path / "run" / "config.json")
    assert own.data.train_split == "train" and own.data.split == "validation"
    assert str(own.optim.lr) == best["optim.lr"]


@pytest.fixture(scope="module")
def unbroken(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "w"
    assert cli(flags(store, folder, "--config.epochs=2")) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["trial2  epoch   1/2", "trial3 of 4"])
def test_a_killed_sweep_goes_on_to_the_same_table(unbroken, store, tmp_path, number, moment):
    folder = tmp_path / "w"
    process = subprocess.Popen(
        [sys.executable, "-m", "affect_jax.main", *flags(store, folder, "--config.epochs=2")],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    guard = threading.Timer(300, process.kill)
    guard.start()
    for line in process.stderr:
        if line.startswith(moment):
            process.send_signal(number)
    process.wait()
    guard.cancel()
    assert not (folder / "best.json").exists()
    assert cli(["--mode=sweep", f"--workdir={folder}"]) == 0
    assert everything(folder) == everything(unbroken)
    for trial in ("trial1", "trial2", "trial3", "trial4"):
        mine, theirs = (Run(place / trial).metrics_file for place in (folder, unbroken))
        assert mine.read_text() == theirs.read_text()
        arrays = [np.load(f.parent / "predictions/validation/valence.npz") for f in (mine, theirs)]
        np.testing.assert_array_equal(arrays[0]["raw"], arrays[1]["raw"])
