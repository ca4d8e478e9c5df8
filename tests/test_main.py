import json
import os
import subprocess
import sys

import pytest

from affect_jax.main import cli
from tests.conftest import ROOT
from tests.stores import small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s").path


@pytest.fixture(scope="module")
def workdir(store, tmp_path_factory):
    """A finished run of two epochs."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    flags = [f"--config.data.root={store}", "--config.model.features=a,b", "--config.data.length=4"]
    assert cli(["--config=configs/mtl.py:smoke", f"--workdir={folder}", *flags]) == 0
    return folder


def test_a_finished_run_has_everything_the_design_promises(workdir):
    for name in (
        "config.json",
        "tasks.json",
        "metrics.jsonl",
        "README.md",
        "predictions/validation/valence.npz",
        "predictions/validation/scores.json",
        "plots/curves.png",
    ):
        assert (workdir / name).is_file(), name
    assert list((workdir / "events").iterdir())
    assert b"wall" not in (workdir / "metrics.jsonl").read_bytes()


def test_the_same_command_on_a_finished_run_says_so(workdir, store, capsys):
    before = (workdir / "metrics.jsonl").read_bytes()
    assert cli([f"--workdir={workdir}"]) == 0
    assert "this run is finished" in capsys.readouterr().out
    assert (workdir / "metrics.jsonl").read_bytes() == before


def test_evaluate_prints_the_scores_as_json_last_and_writes_them(workdir, store, capsys):
    flags = ["--mode=evaluate", f"--workdir={workdir}"]
    assert cli([*flags, f"--config.data.root={store}", "--config.data.split=train"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    written = json.loads((workdir / "predictions" / "train" / "scores.json").read_text())
    assert printed == written and 0 <= printed["au/f1_binary"] <= 1


def test_evaluating_the_validation_split_again_gives_the_scores_of_training(workdir, capsys):
    assert cli(["--mode=evaluate", f"--workdir={workdir}"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    records = [json.loads(x) for x in (workdir / "metrics.jsonl").read_text().splitlines()]
    best = max(r["scores"]["validation"]["P_MTL"] for r in records)
    assert printed["P_MTL"] == pytest.approx(best, abs=1e-6)


def test_predict_works_on_a_store_without_labels(workdir, tmp_path, capsys):
    import numpy as np

    from data_pipelines.store_writer import StoreWriter

    features = {"a": dict(size=5), "b": dict(size=3)}
    with StoreWriter(tmp_path / "bare", name="bare", features=features, labels={}) as writer:
        x = {"a": np.zeros((7, 5)), "b": np.ones((7, 3))}
        writer.add(track="me", split="test", features=x)
    flags = [f"--workdir={workdir}", f"--config.data.root={tmp_path / 'bare'}"]
    assert cli(["--mode=predict", *flags, "--config.data.split=test"]) == 0
    with np.load(workdir / "predictions" / "test" / "expression.npz") as arrays:
        assert arrays["raw"].shape == (7, 8) and arrays["tracks"].tolist() == ["me"]
        assert arrays["frame"].tolist() == list(range(1, 8)) and "label" not in arrays
    assert cli(["--mode=evaluate", *flags, "--config.data.split=test"]) == 2
    assert "has no label" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mode=trian", "--workdir=x"], "Did you mean 'train'"),
        (["--wrokdir=x"], "unknown argument '--wrokdir=x'. Did you mean --workdir?"),
        (["--workdir"], "argument --workdir: expected one argument"),
        (["--workdir=~nosuchuser/x"], "~nosuchuser/x: no such home folder"),
        ([], "--workdir is missing"),
        (["--workdir=nowhere"], "no run here yet. Name its config"),
        (["--workdir=x", "--config=configs/nothing.py"], "no file configs/nothing.py"),
        (["--workdir=x", "--config=configs/mtl.py", "--config.epoch=3"], "Did you mean 'epochs'"),
        (["--workdir=x", "--config=configs/mtl.py", "--config.epochs=x"], "expected a int"),
        (["--workdir=x", "--config=configs/mtl.py", "--config.epochs"], "expected a value"),
        (
            ["--workdir=x", "--config=configs/mtl.py", "--config.data.root=/nowhere"],
            "is no store",
        ),
        (
            ["--workdir=x", "--config=configs/mtl.py", "--config.tasks=valense"],
            "Did you mean 'valence'",
        ),
        (["--mode=evaluate", "--workdir=nowhere"], "no run here"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(flags, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli(flags) == 2
    err = capsys.readouterr().err
    assert message in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.split=tset", "has no split 'tset'"),
        ("model.features=a,c", "has no feature 'c'"),
        ("model.encoder.name=transformr", "Did you mean 'transformer'"),
        ("data.normalise=yes", "config.data.normalise"),
        ("optim.schedule=cosin", "Did you mean 'cosine'"),
        ("weighting=fixd", "Did you mean 'fixed'"),
        ("monitor=valence/cc", "Did you mean 'valence/ccc'"),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_trained(
    change, message, store, tmp_path, capsys
):
    flags = [f"--config.data.root={store}", "--config.model.features=a,b", f"--config.{change}"]
    assert cli(["--config=configs/mtl.py:smoke", f"--workdir={tmp_path / 'run'}", *flags]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_another_config_on_an_existing_run_is_refused(workdir, store, capsys):
    flags = ["--config=configs/mtl.py:smoke", f"--workdir={workdir}"]
    assert cli([*flags, f"--config.data.root={store}", "--config.data.length=4"]) == 2
    assert "was started with model.features" in capsys.readouterr().err


def test_help_is_quick_because_it_imports_no_jax():
    command = [sys.executable, "-X", "importtime", "-m", "affect_jax.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and "--workdir" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"jax", "numpy", "flax", "grain"}
