"""Kinds of members: features of a store, runs, folds, and heads over bins."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from affect_jax.bins import uniform_bins
from affect_jax.ensemble.__main__ import cli
from affect_jax.ensemble.fitted import Fitted
from affect_jax.prediction_files import Predictions, find_tasks
from affect_jax.run import Run
from affect_jax.tasks import Task, decode, to_json
from data_pipelines.sources import avec2019
from data_pipelines.store_writer import StoreWriter
from tests.ensembles import FIT, MEANS, TEST, labels_of, run, write_members


@pytest.fixture
def members(tmp_path):
    return write_members(tmp_path)


def test_a_head_over_bins_joins_as_the_values_it_decodes_to(members, tmp_path):
    bins = Task("valence", "bins", 1, loss="ce", metrics=("ccc",), **uniform_bins(5))
    stored = Predictions.read(tmp_path / "m0/predictions/fit/valence.npz")
    raw = np.random.default_rng(0).normal(size=(160, 1, 5)).astype(np.float32)
    folder = tmp_path / "bins" / "predictions" / "fit"
    dataclasses.replace(stored, raw=raw).write(folder / "valence.npz")
    (folder / "tasks.json").write_text(to_json((bins,)))
    out = tmp_path / "fitted"
    assert cli([members[0], str(folder), f"--out={out}", "--tasks=valence", *MEANS]) == 0
    assert [task.kind for task in find_tasks(out)] == ["values"]
    made = Predictions.read(out / "predictions/fit/valence.npz").raw
    np.testing.assert_allclose(made, (stored.raw + decode(bins, raw)) / 2, atol=1e-6)


@pytest.fixture
def store(tmp_path):
    """Tracks of both splits with two features that are predictions of valence and arousal."""
    features = {name: dict(size=2, columns=("valence", "arousal")) for name in ("face", "voice")}
    labels = {name: dict(kind="values", size=1) for name in ("valence", "arousal")}
    rng = np.random.default_rng(0)
    features["plain"] = dict(size=2)
    with StoreWriter(tmp_path / "store", name="toy", features=features, labels=labels) as writer:
        for track in (*FIT, *TEST):
            y = labels_of(track, 40)["valence"]
            y = np.c_[y, -y]
            x = {
                name: 0.4 * y + s * rng.normal(size=y.shape)
                for name, s in (("face", 0.2), ("voice", 0.5), ("plain", 1))
            }
            writer.add(track=track, split="fit" if track in FIT else "test", features=x,
                       labels={"valence": y[:, 0], "arousal": y[:, 1]})  # fmt: skip
    return tmp_path / "store"


def test_features_that_are_predictions_are_members(store, tmp_path, capsys):
    out = tmp_path / "fitted"
    data = [f"--config.data.root={store}", "--config.data.split=fit"]
    code, lines, _ = run(capsys, "feature:*", f"--out={out}", *data)
    assert code == 0
    kept = json.loads((out / "ensemble.json").read_text())
    assert kept["members"] == [{"kind": "feature", "where": n} for n in ("face", "voice")]
    assert kept["fitted_on"]["store"] == "toy" and list(kept["recipes"]) == ["valence", "arousal"]
    data = [f"--config.data.root={store}", "--config.data.split=test"]
    code, lines, _ = run(capsys, f"--apply={out}", *data)
    scores = json.loads(lines[-1])
    assert code == 0 and scores["valence/ccc"] > 0.8 and not scores["fitted_on_this_split"]
    code, _, error = run(capsys, "feature:plain", f"--out={out}", *data)
    assert code == 2 and "no such feature whose columns name labels" in error and "face" in error


def test_columns_of_one_name_are_the_values_of_one_label(tmp_path, capsys):
    path, out, rng = tmp_path / "store", tmp_path / "out", np.random.default_rng(0)
    features = {"x": dict(size=3, columns=("mood", "valence", "mood"))}
    labels = {"mood": dict(kind="values", size=2, names=("a", "b"))}
    y = rng.normal(size=(6, 3)).astype(np.float32)
    with StoreWriter(path, name="toy", features=features, labels=labels) as writer:
        writer.add(track="t", split="fit", features={"x": y}, labels={"mood": y[:, ::2]})
    data = [f"--config.data.root={path}", "--config.data.split=fit"]
    code, lines, _ = run(capsys, "feature:x", f"--out={out}", *MEANS, *data)
    assert code == 0 and json.loads(lines[-1])["mood/ccc"] == pytest.approx(1)
    made = Predictions.read(out / "predictions" / "fit" / "mood.npz")
    np.testing.assert_allclose(made.raw, y[:, ::2], atol=1e-6)
    (mood, valence) = Fitted.read(out).tasks
    assert (mood.size, mood.names, valence.size) == (2, ("a", "b"), 1)
    labels["mood"]["size"], labels["mood"]["names"] = 3, ()
    with StoreWriter(path, name="toy", features=features, labels=labels) as writer:
        writer.add(track="t", split="fit", features={"x": y})
    code, _, error = run(capsys, "feature:x", f"--out={out}", *MEANS, *data)
    assert code == 2 and "columns 'mood' are values of size 2, the label is values of" in error


def test_a_run_without_its_config_is_no_folder_of_predictions(tmp_path, capsys):
    np.savez(tmp_path / "statistics.npz", mean=np.zeros(2))
    code, _, error = run(capsys, tmp_path, f"--out={tmp_path}/o", *MEANS)
    assert code == 2 and "no run (config.json)" in error


@pytest.mark.slow
def test_two_runs_predict_other_data_and_keep_their_own_predictions(tmp_path, capsys):
    from affect_jax.main import cli as train

    runs = []
    for seed in (0, 1):
        runs.append(tmp_path / f"run{seed}")
        flags = [f"--config.seed={seed}", "--config.epochs=1"]
        assert train(["--config=configs/va.py:smoke", f"--workdir={runs[-1]}", *flags]) == 0
    own = [(run / "predictions/validation/valence.npz").read_bytes() for run in runs]
    out = tmp_path / "fitted"
    assert cli([*map(str, runs), f"--out={out}"]) == 0
    assert Fitted.read(out).total[0] == "CCC"
    data = ["--config.data.root=twin:va?seed=5&size=small", "--config.data.split=validation"]
    code, lines, _ = run(capsys, f"--apply={out}", *data)
    assert code == 0
    assert own == [(run / "predictions/validation/valence.npz").read_bytes() for run in runs]
    assert "CCC" in json.loads(lines[-1])
    # No split, no data: the mean of both is defined, and applied later.
    plain = tmp_path / "plain"
    for run_folder in runs:
        shutil.rmtree(run_folder / "predictions")
        config = json.loads((run_folder / "config.json").read_text())
        config["data"]["split"] = ""
        (run_folder / "config.json").write_text(json.dumps(config))
    code, lines, said = run(capsys, *runs, f"--out={plain}")
    assert code == 0 and "nothing fitted" in lines[-1] and "in training" not in said
    Run(runs[1]).finished_file.unlink()
    code, _, said = run(capsys, *runs, f"--out={plain}")
    assert code == 0 and "warning: run1: in training still" in said
    code, lines, _ = run(capsys, f"--apply={plain}", *data)
    assert code == 0 and json.loads(lines[-1])["fitted_on_this_split"] is False
    code, _, error = run(capsys, *runs, f"--out={plain}", "--match=yes")
    assert code == 2 and "this needs data to fit on" in error


@pytest.mark.slow
def test_folds_are_one_member_with_held_out_predictions_or_many(tmp_path, capsys):
    from affect_jax.main import cli as train

    folds = tmp_path / "folds"
    flags = ["--mode=folds", "--config.folds.count=2", "--config.folds.official=false"]
    flags += ["--config.epochs=1", f"--workdir={folds}"]
    assert train(["--config=configs/va.py:smoke", *flags]) == 0
    one, many = tmp_path / "one", tmp_path / "many"
    assert cli([f"folds:{folds}", f"--out={one}", *MEANS]) == 0
    (folds / "scores.json").rename(tmp_path / "scores.json")
    code, _, error = run(capsys, f"folds:{folds}", f"--out={one}", *MEANS)
    assert code == 2 and "not all folds are trained" in error
    (tmp_path / "scores.json").rename(folds / "scores.json")
    held_out = Predictions.read(folds / "predictions/train/valence.npz").raw
    made = Predictions.read(one / "predictions/train/valence.npz").raw
    np.testing.assert_array_equal(made, held_out)
    code, lines, _ = run(capsys, folds, f"--out={many}")
    assert code == 0 and "2 members, nothing fitted" in lines[-1]
    data = ["--config.data.root=twin:va?size=small", "--config.data.split=validation"]
    files = []
    for fitted in (one, many):
        code, lines, _ = run(capsys, f"--apply={fitted}", *data)
        assert code == 0 and "CCC" in json.loads(lines[-1])
        files.append(Predictions.read(fitted / "predictions/validation/valence.npz").raw)
    np.testing.assert_allclose(files[0], files[1], atol=1e-6)


@pytest.mark.slow
def test_nine_systems_together_beat_their_mean_on_recordings_that_were_not_fitted_on(
    shared, tmp_path, capsys
):
    store, out = tmp_path / "store", tmp_path / "fitted"
    avec2019.fill(shared / "data" / "avec2019", store)
    data = f"--config.data.root={store}"
    assert cli(["feature:*", f"--out={out}", data, "--config.data.split=fit"]) == 0
    code, lines, _ = run(capsys, f"--apply={out}", data, "--config.data.split=report")
    scores = json.loads(lines[-1])
    assert code == 0 and not scores["fitted_on_this_split"]
    assert scores["arousal/ccc"] > 0.569 and scores["valence/ccc"] > 0.445  # the plain mean
