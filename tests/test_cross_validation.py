import json
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from affect_jax import checkpoint, systems
from affect_jax import config as configs
from affect_jax.ensemble.__main__ import cli as ensemble
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.member import KINDS
from affect_jax.ensemble.members.run import RunMember, predict_run
from affect_jax.ensemble.seen import seen
from affect_jax.folds import Folds, cross_validate, fold_configs, over_folds
from affect_jax.main import cli
from affect_jax.prediction_files import Predictions
from affect_jax.restore import choose_step
from affect_jax.run import Run
from affect_jax.train import Stopped
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.conftest import ROOT
from tests.tiny import tiny_config

FRAMES = (11, 3, 24, 17, 8, 9)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One feature, whose extractor has seen the training labels, and valence; a pair of people."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("store") / "s"
    features = {"a": dict(size=3, trained_on=("train",))}
    labels = {"valence": dict(kind="values", size=1)}
    with StoreWriter(path, name="small", features=features, labels=labels) as writer:
        for i, n in enumerate((*FRAMES, 9, 14)):
            split = "train" if i < len(FRAMES) else "validation"
            x = np.cumsum(rng.normal(size=(n, 3)), 0)
            valence = np.where(rng.random(n) < 0.2, np.nan, np.tanh(x[:, 0]))
            group = "pair" if i < 2 else f"video{i}"
            writer.add(
                track=f"{group}_{i}",
                split=split,
                group=group,
                features={"a": x},
                labels={"valence": valence},
            )
    return path


def flags(store, folder):
    return [
        "--mode=folds",
        "--config=configs/mtl.py:smoke",
        f"--workdir={folder}",
        f"--config.data.root={store}",
        "--config.model.features=a",
        "--config.tasks=valence",
        "--config.data.length=4",
        "--config.folds.count=2",
        "--config.checkpoint=last",
        "--config.keep_epochs=1",
    ]


@pytest.fixture(scope="module")
def unbroken(store, tmp_path_factory):
    """A finished cross-validation: two folds and the official one."""
    folder = tmp_path_factory.mktemp("runs") / "folds"
    assert cli(flags(store, folder)) == 0
    return folder


def everything(folder):
    """What must not depend on how often the command was killed."""
    found = {name: (folder / name).read_bytes() for name in ("scores.json", "README.md")}
    for run in sorted(folder.glob("fold[0-9]")):
        step, raw = checkpoint.last_whole(run / "checkpoints")
        found[run.name] = step, checkpoint.digest(raw), (run / "metrics.jsonl").read_text()
    return found


def test_every_run_says_what_it_was_trained_on_and_shares_no_video_with_its_fold(unbroken):
    held_out = []
    for name in ("fold1", "fold2", "fold3"):
        config = configs.read(unbroken / name / "config.json")
        store = systems.build(config).data.store
        train, fold = (
            {store.tracks[i].group for i in store.split(split)}
            for split in (config.data.train_split, config.data.split)
        )
        assert not train & fold and train | fold == {track.group for track in store.tracks}
        held_out.append(config.data.split)
    assert held_out == ["fold1", "fold2", "validation"]


def test_pooled_predictions_are_those_of_the_run_that_has_not_seen_the_video(unbroken):
    theirs = {}
    for name in ("fold1", "fold2"):
        with np.load(unbroken / name / "predictions" / name / "valence.npz") as file:
            for i, track in enumerate(file["tracks"]):
                theirs[str(track)] = file["raw"][file["track"] == i]
    with np.load(unbroken / "predictions" / "train" / "valence.npz") as file:
        assert set(file["tracks"]) == set(theirs) and len(theirs) == len(FRAMES)
        for i, track in enumerate(file["tracks"]):
            np.testing.assert_array_equal(file["raw"][file["track"] == i], theirs[str(track)])
        mask = file["label_mask"][:, 0]
        p, t = (file[k][mask, 0].astype(np.float64) for k in ("raw", "label"))
    scores = json.loads((unbroken / "scores.json").read_text())
    ccc = 2 * np.cov(p, t, ddof=0)[0, 1] / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert scores["pooled"]["valence/ccc"] == pytest.approx(ccc, rel=1e-5)
    values = [fold["scores"]["valence/ccc"] for fold in scores["folds"].values()]
    assert len(values) == 3 and scores["mean"]["valence/ccc"] == pytest.approx(np.mean(values))
    assert scores["std"]["valence/ccc"] == pytest.approx(np.std(values, ddof=1))


def test_a_feature_that_has_seen_the_labels_is_marked_in_every_report(unbroken):
    scores = json.loads((unbroken / "scores.json").read_text())
    assert len(scores["marks"]) == 1
    assert "'a' was trained on train: scores of valence on train are" in scores["marks"][0]
    assert f"**Mark: {scores['marks'][0]}**" in (unbroken / "README.md").read_text()


def test_a_fold_is_a_run_that_is_evaluated_on_what_it_left_out(unbroken, capsys):
    assert cli(["--mode=evaluate", f"--workdir={unbroken / 'fold2'}"]) == 0
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    scores = json.loads((unbroken / "scores.json").read_text())
    assert printed == scores["folds"]["fold2"]["scores"]
    assert cli(["--mode=evaluate", f"--workdir={unbroken}"]) == 2
    assert (
        f"holds folds. Take one of them, --workdir={unbroken / 'fold1'}" in capsys.readouterr().err
    )


def test_a_finished_cross_validation_prints_its_scores_and_trains_nothing(unbroken, capsys):
    before = everything(unbroken)
    assert cli(["--mode=folds", f"--workdir={unbroken}"]) == 0
    printed = capsys.readouterr()
    pooled = json.loads((unbroken / "scores.json").read_text())["pooled"]
    assert json.loads(printed.out.splitlines()[-1]) == pooled
    assert "python -m affect_jax.ensemble" in printed.out and "step" not in printed.err
    config = configs.read(unbroken / "folds.json")
    config.data.root = os.path.relpath(config.data.root)
    assert cross_validate(config, Folds(unbroken)) == printed.out.removesuffix("\n")
    assert everything(unbroken) == before
    assert cli(["--mode=folds", f"--workdir={unbroken}", "--config.folds.seed=1"]) == 2
    assert "other folds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "moment", ["fold2  epoch   1/2", pytest.param("fold2: predicting", marks=pytest.mark.slow)]
)
def test_a_killed_cross_validation_goes_on_to_the_same_bits(unbroken, store, tmp_path, moment):
    folder = tmp_path / "folds"
    if moment.startswith("fold2  epoch"):  # the first fold is finished
        shutil.copytree(unbroken / "fold1", folder / "fold1")
        shutil.copy(unbroken / "folds.json", folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "affect_jax.main", *flags(store, folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    guard = threading.Timer(300, process.kill)
    guard.start()
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith(moment):
            process.kill()  # SIGKILL
    process.wait()
    guard.cancel()
    assert seen[-1].startswith(moment) and not (folder / "scores.json").exists()
    assert cli(["--mode=folds", f"--workdir={folder}"]) == 0
    mine, theirs = everything(folder), everything(unbroken)
    mine["README.md"] = mine["README.md"].replace(bytes(folder), bytes(unbroken))
    assert mine == theirs


def test_damaged_results_are_made_again_and_changed_data_refused(unbroken, store, tmp_path, capsys):
    folder = shutil.copytree(unbroken, tmp_path / "folds")
    scores = (folder / "scores.json").read_bytes()
    (folder / "scores.json").write_text("")
    (folder / "fold1" / "finished.json").write_text("")
    assert cli(["--mode=folds", f"--workdir={folder}"]) == 0
    assert (folder / "scores.json").read_bytes() == scores
    hashes = json.loads((folder / "data.json").read_text())
    hashes["features/a.npy"] = "0" * 64
    (folder / "data.json").write_text(json.dumps(hashes))
    (folder / "scores.json").unlink()
    capsys.readouterr()
    assert cli(["--mode=folds", f"--workdir={folder}"]) == 2
    err = capsys.readouterr().err
    assert "SHA-256 of features/a.npy was 000000000000" in err and err.count("\n") == 1


def test_a_signal_says_how_to_go_on_with_all_folds(store, tmp_path, monkeypatch, capsys):
    def stop(config, run):
        raise Stopped(7)

    monkeypatch.setattr("affect_jax.folds.train_run", stop)
    assert cli(flags(store, tmp_path / "f")) == 0
    again = f"Go on with: python -m affect_jax.main --mode=folds --workdir={tmp_path / 'f'}"
    assert again in capsys.readouterr().out and (tmp_path / "f" / "folds.json").is_file()


def test_a_config_that_is_scored_on_a_fold_itself_has_the_folds_of_the_split_that_it_cuts(
    store, tmp_path, monkeypatch, capsys
):
    plan = fold_configs(tiny_config(store, folds__official=False))
    assert {k: c.to_json() for k, c in fold_configs(plan["fold2"]).items()} == {
        k: c.to_json() for k, c in plan.items()
    }

    def stop(config, run):
        raise Stopped(7)

    monkeypatch.setattr("affect_jax.folds.train_run", stop)
    own = ("folds.official=false", "folds.cut=train", "data.split=fold1", "data.train_split=fold2")
    command = [*flags(store, tmp_path / "f"), *(f"--config.{change}" for change in own)]
    assert cli(command) == cli(command) == 0  # the second finds the same config in the folder
    assert "fold1, 1 of 2: trained on fold2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(folds__count=1), "expected at least 2"),
        (dict(folds__count=6), "has 5 groups .* too few"),
        (dict(data__split=""), "Name the split that is the last fold"),
        (dict(data__split="train"), "is in 'train' and in 'train'"),
        (dict(folds__cut="train"), "this is the config of one fold"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(store, changes, message):
    with pytest.raises(UserError, match=message):
        fold_configs(tiny_config(store, **changes))


def test_a_fold_without_a_row_that_is_kept_is_refused_before_the_first(store, tmp_path, capsys):
    first = Store(store).tracks[0].name
    (tmp_path / "keep.txt").write_text(f"{first}\n")
    keep = f"--config.data.keep={tmp_path / 'keep.txt'}"
    assert cli([*flags(store, tmp_path / "folds"), keep, "--config.folds.official=false"]) == 2
    assert re.search(r"fold\d: .*keep.txt: keeps no row", capsys.readouterr().err)
    assert not (tmp_path / "folds").exists()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Other data, whose split is called `train` too."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("store") / "elsewhere"
    features, labels = {"a": dict(size=3)}, {"valence": dict(kind="values", size=1)}
    with StoreWriter(path, name="elsewhere", features=features, labels=labels) as writer:
        for i in range(2):
            x = np.cumsum(rng.normal(size=(9, 3)), 0)
            valence = {"valence": np.tanh(x[:, 0])}
            writer.add(track=f"other{i}", split="train", features={"a": x}, labels=valence)
    return path


MEANS = ("--values=mean", "--smooth=none", "--match=no")


def test_folds_are_applied_at_the_checkpoint_of_their_held_out_predictions(
    unbroken, elsewhere, tmp_path, capsys
):
    folder, out, expected = tmp_path / "folds", tmp_path / "out", []
    shutil.copytree(unbroken, folder)
    for fold in ("fold1", "fold2", "fold3"):
        run = Run(folder / fold)
        config = configs.read(run.config_file)
        config.checkpoint = "epoch:1"
        configs.save(config, run.config_file)
        assert choose_step(run, config.checkpoint)[0] < choose_step(run, "last")[0]
        predict_run(run, str(elsewhere), "train", "last", tmp_path / fold)
        expected.append(Predictions.read(tmp_path / fold / "valence.npz").raw)
    assert ensemble([f"folds:{folder}", f"--out={out}", *MEANS]) == 0
    data = [f"--config.data.root={elsewhere}", "--config.data.split=train"]
    assert ensemble([f"--apply={out}", *data]) == 0
    made = Predictions.read(out / "predictions" / "train" / "valence.npz").raw
    np.testing.assert_allclose(made, np.mean(expected, 0), atol=1e-6)
    said = capsys.readouterr()
    scores = json.loads(said.out.splitlines()[-1])
    assert not scores["trained_on_this_split"] and not scores["chosen_on_this_split"]
    # What the folds say of a feature, those that they are combined with hear too.
    assert "warning: folds: the extractor of feature 'a' was trained on train: " in said.err


def test_an_ensemble_says_which_members_were_trained_on_what_it_reports(
    unbroken, store, tmp_path, capsys
):
    out = tmp_path / "out"
    assert ensemble([str(unbroken), f"--out={out}", *MEANS]) == 0
    data = [f"--config.data.root={store}", "--config.data.split=validation"]
    assert ensemble([f"--apply={out}", *data]) == 0
    said = capsys.readouterr()
    scores = json.loads(said.out.splitlines()[-1])
    assert scores == json.loads((out / "predictions" / "validation" / "scores.json").read_text())
    assert scores["trained_on_this_split"] and not scores["fitted_on_this_split"]
    assert "warning: split 'validation' trained fold1, fold2: " in said.err
    assert "ensemble (trained on this split)" in said.out


def test_what_members_have_seen_is_known_by_track(unbroken, store, tmp_path):
    tracks = {}
    for track in Store(store).tracks:
        tracks.setdefault(track.split, set()).add(track.name)

    def known(split, kind, where, checkpoint="", of=None):
        at = (checkpoint,) if checkpoint else ()
        found = seen([KINDS[kind](str(where), *at)], split, tracks.get(of or split, set()))
        return bool(found.trained), bool(found.chosen)

    whole, neither = {"kind": "folds", "where": unbroken}, (False, False)
    assert known("train", **whole) == known("validation", **whole) == neither
    assert known("all", **whole, of="train") == (True, False)
    for fold, which, split, expected in (
        ("fold1", "", "train", (True, False)),
        ("fold3", "", "validation", neither),
        ("fold3", "epoch:1", "validation", neither),
        ("fold3", "best", "validation", (False, True)),
        ("fold3", "valence/ccc", "validation", (False, True)),
        ("fold3", "best", "elsewhere", neither),
    ):
        assert known(split, "run", unbroken / fold, which) == expected
    stored = unbroken / "fold1" / "predictions" / "fold1"
    assert known("validation", "predictions", stored) == (True, False)
    Fitted(tmp_path, (RunMember(str(unbroken / "fold1")),), (), {}).write()
    assert known("validation", "ensemble", tmp_path) == (True, False)
    gone = shutil.copytree(unbroken / "fold3", tmp_path / "fold3")
    config = configs.read(gone / "config.json")
    config.data.root = str(tmp_path / "nowhere")
    configs.save(config, gone / "config.json")
    assert known("train", "run", gone) == (True, False)
    assert known("test", "run", gone) == neither


def test_without_the_official_fold_its_split_is_in_no_config(store):
    plan = fold_configs(tiny_config(store, folds__count=3, folds__official=False))
    splits = {(c.data.train_split, c.data.split) for c in plan.values()}
    assert splits == {("fold2+fold3", "fold1"), ("fold1+fold3", "fold2"), ("fold1+fold2", "fold3")}


def test_the_mean_of_a_score_is_over_the_folds_that_have_it():
    every = [{"a/ccc": 0.5, "b/f1": 0.25, "b/confusion": [[1]]}, {"a/ccc": 0.25}, {}]
    assert over_folds(every) == {"a/ccc": [0.5, 0.25]}  # of one fold there is no deviation
