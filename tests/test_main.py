import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax.main import cli, parse, resolve
from affect_jax.run import Run
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter
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
    features = {"a": dict(size=5), "b": dict(size=3)}
    with StoreWriter(tmp_path / "bare", name="bare", features=features, labels={}) as writer:
        x = {"a": np.zeros((7, 5)), "b": np.ones((7, 3))}
        writer.add(track="me", split="test", features=x)
    flags = [f"--workdir={workdir}", f"--config.data.root={tmp_path / 'bare'}"]
    old = workdir / "predictions" / "test" / "scores.json"
    old.parent.mkdir()
    old.write_text("{}")  # of a labelled store that was evaluated before
    assert cli(["--mode=predict", *flags, "--config.data.split=test"]) == 0
    assert not old.exists()
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
        (
            ["--workdir=x", "--config=configs/mtl.py", "--config.epochs=x"],
            "expected a whole number",
        ),
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
        ("optim.groups=head", "names 'head', which config.optim.group does not define"),
        ("weighting=fixd", "Did you mean 'fixed'"),
        ("monitor=valence/cc", "Did you mean 'valence/ccc'"),
        ("monitor=expression/confusion", "no score that is one number: 'expression/confusion'"),
        ("total.terms=(('valence/ccx', 1),)", "config.total.terms: no score that is one number"),
        ("data.feeder=foo", "config.data.feeder = 'foo': Known: auto"),
        ("data.batch_size=0", "config.data.batch_size = 0: expected a number from 1 on"),
        ("freeze=*", "config.freeze: '*' is no regular expression"),
        ("init.run=/nowhere", "/nowhere: no run here"),
        ("tasks=", "config.tasks is empty"),
        ("tasks=('valence',2)", "config.tasks = ('valence', 2): expected names"),
        ("task.valence.names=(1,)", "config.task.valence.names = (1,): expected names"),
        ("model.head.layers=(8.5,)", "config.model.head.layers = (8.5,): expected whole numbers"),
        ("model.encoder.dropout=nan", "config.model.encoder.dropout = nan: expected a finite"),
        ("keep_epochs=1-99999999999", "config.keep_epochs: names epoch 99999999999"),
        ("data.eval_batch_size=100000000", "config.data.eval_batch_size = 100000000: a batch"),
    ],
)
def test_a_wrong_value_is_named_before_anything_is_trained(
    change, message, store, tmp_path, capsys
):
    flags = [f"--config.data.root={store}", "--config.model.features=a,b", f"--config.{change}"]
    assert cli(["--config=configs/mtl.py:smoke", f"--workdir={tmp_path / 'runs/run'}", *flags]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())  # so the right value can follow


def test_another_config_on_an_existing_run_is_refused(workdir, store, capsys):
    flags = ["--config=configs/mtl.py:smoke", f"--workdir={workdir}"]
    assert cli([*flags, f"--config.data.root={store}", "--config.data.length=4"]) == 2
    assert "was started with model.features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.split=tset", "has no split 'tset'"),
        ("model.encoder.hidden=32", "has shape"),
    ],
)
def test_a_mistake_on_a_finished_run_changes_nothing(change, message, workdir, capsys):
    before = {name: (workdir / name).read_bytes() for name in ("config.json", "finished.json")}
    assert cli([f"--workdir={workdir}", f"--config.{change}"]) == 2
    assert message in capsys.readouterr().err
    assert before == {name: (workdir / name).read_bytes() for name in before}


def test_until_the_first_checkpoint_another_config_is_taken(workdir, store, tmp_path):
    flags = ["--config=configs/mtl.py:smoke", f"--config.data.root={store}"]
    flags, changes = parse([*flags, "--config.seed=3", f"--workdir={tmp_path}"])
    shutil.copy(workdir / "config.json", tmp_path)
    assert resolve(flags, changes, Run(tmp_path)).seed == 3
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(UserError, match="was started with data.length = 4, now it is 64"):
        resolve(flags, changes, Run(tmp_path))


def test_a_run_is_extended_where_its_schedule_allows_it(store, tmp_path):
    base = ["--config=configs/mtl.py:smoke", f"--config.data.root={store}", f"--workdir={tmp_path}"]

    def resolved(*more):
        flags, changes = parse([*base, *more])
        return resolve(flags, changes, Run(tmp_path))

    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    constant = "--config.optim.schedule=constant"
    configs.save(resolved(constant), tmp_path / "config.json")
    assert resolved(constant, "--config.epochs=4").epochs == 4
    flags, changes = parse([f"--workdir={tmp_path}", "--config.epochs=4"])
    assert resolve(flags, changes, Run(tmp_path)).epochs == 4
    with pytest.raises(UserError, match=r"was started with seed = 0, now it is 1\."):
        resolved(constant, "--config.epochs=4", "--config.seed=1")
    cosine = resolved(constant).copy_and_resolve_references()
    cosine.optim.schedule = "cosine"
    configs.save(cosine, tmp_path / "config.json")
    with pytest.raises(UserError, match="schedule = 'cosine' the .*--config.init.run="):
        resolved("--config.optim.schedule=cosine", "--config.epochs=4")


def test_the_store_of_a_run_is_found_from_every_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(store.parent)
    root = f"--config.data.root={store.name},twin:mtl, {store.name}"
    flags, changes = parse(["--config=configs/mtl.py:smoke", root, f"--workdir={tmp_path}"])
    config = resolve(flags, changes, Run(tmp_path))
    assert config.data.root == f"{store},twin:mtl,{store}"
    config.data.root = store.name  # as an older version kept it
    configs.save(config, tmp_path / "config.json")
    assert configs.read(tmp_path / "config.json").data.root == str(store)


def test_a_store_that_changed_is_said_by_evaluate(copied, tmp_path, capsys):
    root = tmp_path / "store"
    small_store(root)
    config = configs.read(copied / "config.json")
    config.data.root = str(root)
    configs.save(config, copied / "config.json")
    assert cli(["--mode=evaluate", f"--workdir={copied}"]) == 0
    assert "changed since" not in capsys.readouterr().err
    shutil.rmtree(root)
    small_store(root, seed=1)
    assert cli(["--mode=evaluate", f"--workdir={copied}"]) == 0
    assert "warning: " + str(root) + " has changed since the training" in capsys.readouterr().err
    # The training that would go on with it is refused.
    assert cli([f"--workdir={copied}", "--config.checkpoint=last"]) == 2
    assert "is not what" in capsys.readouterr().err
    assert (copied / "finished.json").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tasks=valence", "--config.tasks=('valence',): what"),
        ("task.au.decode=argmax", "fixed since its training"),
        ("model.encoder.hidden=32", "head/hidden_0/kernel is (16, 8) in its checkpoints, (32, 8)"),
        ("model.features=a", "encoder/projection/kernel is (8, 16) in its checkpoints, (5, 16)"),
        ("model.features=mae", "/s has no feature 'mae'. Did you mean 'a'?"),
    ],
)
def test_what_does_not_fit_the_weights_of_a_run_is_one_line(change, message, workdir, capsys):
    assert cli(["--mode=evaluate", f"--workdir={workdir}", f"--config.{change}"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


@pytest.fixture
def copied(workdir, tmp_path):
    return shutil.copytree(workdir, tmp_path / "copy", ignore=shutil.ignore_patterns("events"))


def cut(file):
    file.write_bytes(file.read_bytes()[:99])


def without(*keys):
    def change(file):
        text = json.loads(file.read_text())
        for key in keys:
            group, _, last = key.rpartition(".")
            del (text[group] if group else text)[last]
        file.write_text(json.dumps(text))

    return change


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("statistics.npz", pathlib.Path.unlink, "statistics.npz: not the means and deviations"),
        ("statistics.npz", cut, "statistics.npz: not the means and deviations"),
        ("tasks.json", pathlib.Path.unlink, "copy/tasks.json: not a task table"),
        ("tasks.json", cut, "copy/tasks.json: not a task table"),
        ("config.json", cut, "copy/config.json: not a config as a run keeps it"),
        ("config.json", without("data"), "copy/config.json: config.data is missing. All keys"),
        ("config.json", without("data.root", "optim"), "config.data.root is missing (and 1 more)"),
        ("config.json", lambda file: file.write_text("{}"), "config.checkpoint is missing (and "),
    ],
)
def test_a_damaged_file_of_a_run_is_named(name, damage, message, copied, capsys):
    damage(copied / name)
    assert cli(["--mode=evaluate", f"--workdir={copied}"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_a_run_of_before_a_key_came_is_evaluated_and_gone_on_with(copied, store, capsys):
    without("data.label_delay", "folds", "keep_epochs")(copied / "config.json")
    assert cli(["--mode=evaluate", f"--workdir={copied}"]) == 0
    assert "P_MTL" in json.loads(capsys.readouterr().out.splitlines()[-1])
    flags = [f"--config.data.root={store}", "--config.model.features=a,b", "--config.data.length=4"]
    assert cli(["--config=configs/mtl.py:smoke", f"--workdir={copied}", *flags]) == 0
    assert "this run is finished" in capsys.readouterr().out


def test_an_input_that_is_no_number_is_named_and_nothing_is_scored(copied, tmp_path, capsys):
    store = small_store(tmp_path / "s")
    track = next(track for track in store.tracks if track.split == "validation")
    np.load(store.path / "features" / "a.npy", mmap_mode="r+")[track.offset + 5, 1] = np.nan
    image = store.frames[track.offset + 5]
    assert cli(["--mode=evaluate", f"--workdir={copied}", f"--config.data.root={store.path}"]) == 2
    out, err = capsys.readouterr()
    assert f"feature 'a' of track validation0, image {image}" in err and not out
    assert f"for track validation0, image {store.frames[track.offset + 4]}, is not finite" in err


def test_tasks_without_labels_are_said_to_be_left_out(copied, tmp_path, capsys):
    labels = {"valence": dict(kind="values", size=1)}
    features = {"a": dict(size=5), "b": dict(size=3)}
    with StoreWriter(tmp_path / "s", name="some", features=features, labels=labels) as writer:
        x = {"a": np.ones((7, 5)), "b": np.ones((7, 3))}
        target = {"valence": np.linspace(-1, 1, 7)}
        writer.add(track="me", split="validation", features=x, labels=target)
    flags = [f"--workdir={copied}", f"--config.data.root={tmp_path / 's'}"]
    assert cli(["--mode=evaluate", *flags]) == 0
    out, err = capsys.readouterr()
    assert set(json.loads(out.splitlines()[-1])) == {
        f"valence/{m}" for m in ("ccc", "pearson", "rmse")
    }
    assert "no label of arousal, expression, au in split 'validation': not scored" in err


def test_help_is_quick_because_it_imports_no_jax():
    command = [sys.executable, "-X", "importtime", "-m", "affect_jax.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and "--workdir" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"jax", "numpy", "flax", "grain"}
