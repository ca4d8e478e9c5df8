"""Predictions as features of a new store: of a run, of a cross-validation, and what is refused."""

import hashlib
import json

import numpy as np
import pytest

from affect_jax import systems
from affect_jax.ensemble.__main__ import cli as ensemble
from affect_jax.export import Exported, Trained, _fed, cli, export
from affect_jax.folds import Folds, cross_validate
from affect_jax.main import cli as train
from affect_jax.places import fingerprint
from affect_jax.predict import Predictor
from affect_jax.prediction_files import Predictions
from affect_jax.restore import choose_step
from affect_jax.run import Run
from affect_jax.train_run import train_run
from data_pipelines.join import open_store
from data_pipelines.source import Source
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from data_pipelines.trained_on import seen
from data_pipelines.verify import check
from tests.given_model import given
from tests.stores import small_store
from tests.tiny import tiny_config

FRAMES = {"train": (11, 3, 24, 17), "validation": (9, 14), "test": (6,)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(
        tmp_path_factory.mktemp("data") / "small",
        frames=FRAMES["train"],
        validation=FRAMES["validation"],
    )


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    """A finished run on two tasks, in a folder called `first`."""
    run = Run(tmp_path_factory.mktemp("runs") / "first")
    train_run(tiny_config(store.path, tasks="valence,expression", checkpoint="last"), run)
    return run


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Outputs of the run for all tracks of its data."""
    out = tmp_path_factory.mktemp("exported") / "out"
    assert cli([str(run.folder), f"--out={out}", "--arrays=embedding"]) == 0
    return Store(out)


def of_track(store, name, index):
    track = store.tracks[index]
    return np.asarray(store.feature(name)[track.offset : track.offset + track.frames])


def test_the_store_has_the_tracks_of_the_data_and_what_the_run_predicts(store, run, exported):
    def described(of):
        frames = {t.name: of.frames[t.offset : t.offset + t.frames].tolist() for t in of.tracks}
        return {t.name: (t.split, t.group, t.fps, t.frames, frames[t.name]) for t in of.tracks}

    assert described(exported) == described(store) and not exported.labels
    assert check(exported).problems == []
    assert {name: f.shape for name, f in exported.features.items()} == {
        "first/valence": (1,),
        "first/expression": (8,),
        "first/embedding": (16,),
    }
    for task in ("valence", "expression"):
        stored = Predictions.read(run.predictions / "validation" / f"{task}.npz")
        for i, track in enumerate(exported.tracks):
            if track.split == "validation":
                raw = stored.raw[stored.track == stored.tracks.tolist().index(track.name)]
                np.testing.assert_array_equal(of_track(exported, f"first/{task}", i), raw)


def test_the_store_says_which_run_at_which_step_made_it_of_which_data(store, run, exported):
    step, _ = choose_step(run, "last")
    digest = hashlib.sha256(run.config_file.read_bytes()).hexdigest()
    assert exported.manifest["origin"] == {
        "run": "first",
        "folder": str(run.folder),
        "step": step,
        "config": digest,
        "store": str(store.path),
        "sha256": fingerprint(store),
    }
    feature = exported.features["first/valence"]
    assert feature.extractor == f"first, step {step}, config {digest[:12]}"
    assert feature.columns == ("valence",) and feature.trained_on == ("small train",)


def test_a_second_training_reads_the_predictions_and_hears_what_they_have_seen(
    store, exported, tmp_path, capsys
):
    root, features = f"{store.path},{exported.path}", ("first/valence", "first/embedding")
    joined = open_store(root)
    for split, tasks in (("train", ("valence", "arousal")), ("validation", ())):
        marked = seen(joined, features, split, ("valence", "arousal"))
        assert marked == (dict.fromkeys(features, tasks) if tasks else {})
    config = tiny_config(store.path, tasks="arousal", epochs=1, checkpoint="last")
    config.data.root, config.model.features = root, ("a", *features)
    second = Run(tmp_path / "second")
    train_run(config, second)
    out = tmp_path / "out"
    assert cli([str(second.folder), f"--out={out}", "--splits=validation"]) == 0
    said = capsys.readouterr()
    assert said.err.endswith("validation: 2 tracks\n") and said.out.endswith(f"{root},{out}\n")
    inherited = Store(out).features["second/arousal"].trained_on
    assert inherited == ("small train", "small+first train")
    assert Store(out).splits == ("validation",)


def test_an_exported_prediction_of_values_is_a_member_of_an_ensemble(
    store, run, exported, tmp_path, capsys
):
    out, split = tmp_path / "out", "validation"
    data = [f"--config.data.root={store.path},{exported.path}"]
    plain = ["--values=mean", "--smooth=none", "--match=no"]
    member = ["feature:first/valence", f"--out={out}", *plain]
    assert ensemble([*member, *data, f"--config.data.split={split}"]) == 0
    assert "warning" not in capsys.readouterr().err
    made = Predictions.read(out / "predictions" / split / "valence.npz")
    own = Predictions.read(run.predictions / split / "valence.npz")
    np.testing.assert_allclose(made.raw, np.clip(own.raw, -1, 1), atol=1e-6)
    assert ensemble([f"--apply={out}", *data, "--config.data.split=train"]) == 0
    assert "split 'train' trained first/valence: " in capsys.readouterr().err


def test_frames_for_which_the_run_is_fed_nothing_are_gaps(tmp_path):
    store = small_store(tmp_path / "small", frames=(11, 9), validation=(9,), gaps=True)
    mask = np.asarray(store.feature_mask("b"))
    config = tiny_config(store.path, tasks="valence", data__normalise="none")
    config.model.features = ("b",)
    system = systems.build(config)
    trained = Trained(None, config, system, 7, system.init().variables())
    export(Exported("b", store.path / "manifest.json", (trained,), {}), tmp_path / "out", (), ())
    assert 0 < mask.sum() < len(mask)
    np.testing.assert_array_equal(Store(tmp_path / "out").feature_mask("b/valence"), mask)


def test_another_stream_or_one_with_rows_of_its_own_is_enough_to_be_fed(tmp_path):
    store = small_store(tmp_path / "small", frames=(11, 9), validation=(9,), gaps=True)
    of_both, of_one = (Source(store, names, ()) for names in (("a", "b"), ("b",)))
    assert _fed(of_both, 1).all() and not _fed(of_one, 1).all()
    sound = {"sound": dict(shape=(), axis="rate", rate_hz=100)}
    with StoreWriter(tmp_path / "own", name="own", features=sound, labels={}) as writer:
        for track, samples in (("heard", 50), ("silent", 0)):
            x = {"sound": np.zeros(samples)}
            writer.add(track=track, split="train", frames=[1, 2], fps=10, features=x)
    source = Source(Store(tmp_path / "own"), ("sound",), ())
    assert [_fed(source, track).tolist() for track in (0, 1)] == [[True] * 2, [False] * 2]


def test_an_array_with_an_item_a_row_is_a_table_with_the_rows_spans(store, tmp_path):
    system, variables = given(store, data__hop=2)
    trained = Trained(None, system.config, system, 7, variables)
    source = Exported("given", store.path / "manifest.json", (trained,), {})
    export(source, tmp_path / "out", (), ("frames", "total"))
    made = open_store(f"{store.path},{tmp_path / 'out'}")
    assert check(Store(tmp_path / "out")).problems == []
    frames, total = (made.features[f"given/{name}"] for name in ("frames", "total"))
    assert (frames.axis, frames.shape, total.axis, total.shape) == ("frame", (5,), "table", (4,))
    predictor = Predictor(system, "train+validation", arrays=("total",))
    for index, arrays in predictor.tracks(variables):
        rows = made.rows("given/total", index)
        np.testing.assert_array_equal(made.feature("given/total")[rows], arrays["total"])
        np.testing.assert_array_equal(made.spans("given/total")[rows], predictor.spans(index))


@pytest.fixture(scope="module")
def three_splits(tmp_path_factory):
    """One feature and valence; a pair of people; a split that belongs to no fold."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "three"
    labels = {"valence": dict(kind="values", size=1)}
    with StoreWriter(path, name="three", features={"a": dict(size=3)}, labels=labels) as writer:
        for split, sizes in FRAMES.items():
            for i, n in enumerate(sizes):
                x = np.cumsum(rng.normal(size=(n, 3)), 0)
                group = "pair" if split == "train" and i < 2 else f"{split}{i}"
                valence = {"valence": np.tanh(x[:, 0])}
                name = f"{split}_{i}"
                writer.add(track=name, split=split, group=group, features={"a": x}, labels=valence)
    return path


@pytest.mark.slow
def test_of_folds_each_track_is_predicted_by_the_run_that_has_not_seen_it(
    three_splits, tmp_path, capsys
):
    folds, out = Folds(tmp_path / "folds"), tmp_path / "out"
    config = tiny_config(three_splits, tasks="valence", epochs=1, folds__count=2)
    config.model.features = ("a",)
    cross_validate(config, folds)
    assert cli([str(folds.folder), f"--out={out}"]) == 2
    assert f"Give folds:{folds.folder}" in capsys.readouterr().err
    assert cli([f"folds:{folds.folder}", f"--out={out}"]) == 0
    made = Store(out)
    name, of = "folds/valence", {track.name: i for i, track in enumerate(made.tracks)}
    for split in ("train", "validation"):
        held_out = Predictions.read(folds.predictions / split / "valence.npz")
        for i, track in enumerate(held_out.tracks):
            raw = held_out.raw[held_out.track == i]
            np.testing.assert_array_equal(of_track(made, name, of[str(track)]), raw)
    means = []
    for fold in ("fold1", "fold2", "fold3"):
        place = tmp_path / fold
        predict = ["--mode=predict", f"--workdir={folds.folder / fold}", f"--output={place}"]
        assert train([*predict, "--config.data.split=test", "--config.checkpoint=last"]) == 0
        means.append(Predictions.read(place / "valence.npz").raw)
    np.testing.assert_allclose(of_track(made, name, of["test_0"]), np.mean(means, 0), atol=1e-6)
    feature = made.features[name]
    assert feature.trained_on == ("three train out of fold", "three validation out of fold")
    joined = open_store(f"{three_splits},{out}")
    assert all(not seen(joined, [name], split, ["valence"]) for split in FRAMES)
    one = tmp_path / "one"
    assert cli([str(folds.folder / "fold1"), f"--out={one}", "--splits=test"]) == 0
    entries = Store(one).features["fold1/valence"].trained_on
    assert entries == ("three train", "three validation")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splits=trian"], "no split 'trian'. Did you mean 'train'?"),
        (["--arrays=embeding"], "array 'embeding': the model gives no such array. Did you mean"),
        (["--arrays=valence"], "array 'valence'"),
        (["--checkpoint=epoch:9"], "no checkpoint of epoch 9"),
        (["--out={data}"], "is the data that is predicted"),
        (["--out={run}"], "exists and is no store"),
        (["--config.data.root={run}"], "is no store"),
        (["--split=train"], "unknown argument '--split=train'. Did you mean --splits?"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(store, run, tmp_path, capsys, flags, message):
    before = json.loads((store.path / "manifest.json").read_text())
    flags = [flag.format(data=store.path, run=run.folder) for flag in flags]
    out = [] if flags[0].startswith("--out") else [f"--out={tmp_path / 'out'}"]
    assert cli([str(run.folder), *out, *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not any(tmp_path.iterdir())
    assert json.loads((store.path / "manifest.json").read_text()) == before


@pytest.mark.parametrize("named", ["nowhere", "folds:nowhere"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, capsys, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    assert cli([named, "--out=out"]) == 2
    error = capsys.readouterr().err
    assert "nowhere" in error and error.count("\n") == 1 and not any(tmp_path.iterdir())
