"""Predictions of a track depend on nothing but the track: not on its batch, order or neighbours."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from affect_jax import systems
from affect_jax.metrics import ccc
from affect_jax.models import Output
from affect_jax.predict import Predictor, predict_split
from affect_jax.prediction_files import find_tasks
from affect_jax.run import Run
from affect_jax.state import State
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import to_json
from affect_jax.train import train
from configs import mtl, va
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.given_model import given
from tests.stores import LABELS, small_store
from tests.tiny import tiny_config, tiny_system

ENCODERS = mtl.ENCODERS | va.ENCODERS
REST = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ENCODERS
    if name not in ("lstm", "transformer_attention")
]


def predicted(store, split, encoder, variables=None, **changes):
    """({track: {task: raw}}, variables) of the tiny model; random parameters if none are given."""
    config = tiny_config(store, data__normalise="none", **changes)
    if encoder != "transformer":
        sizes = dict(hidden=8, layers=1, heads=2, ffn=8, memory=2, chunk=3, window=2)
        config.model.encoder = ConfigDict(ENCODERS[encoder])
        config.model.encoder.update({k: v for k, v in sizes.items() if k in ENCODERS[encoder]})
    system = systems.build(config)
    if variables is None:
        state: State = system.init()
        # Larger than at the start of a training, so that outputs are far above rounding.
        params = jax.tree.map(lambda p: 4 * p if p.ndim > 1 else p, state.params)
        variables = {"params": params, "batch_stats": state.batch_stats}
    tracks = Predictor(system, split).tracks(variables)
    return {system.data.store.tracks[i].name: raw for i, raw in tracks}, variables


def reordered(store: Store, folder, order):
    """The same tracks in another order, one of them alone in a split of its own."""
    features = {name: dict(size=f.size) for name, f in store.features.items()}
    with StoreWriter(folder, name="reordered", features=features, labels=LABELS) as writer:
        for i in order:
            track = store.tracks[i]
            rows = slice(track.offset, track.offset + track.frames)
            split = "alone" if i == order[0] else "rest"
            x = {name: store.feature(name)[rows] for name in features}
            writer.add(track=track.name, split=split, features=x, frames=store.frames[rows])
    return folder


@pytest.mark.parametrize("encoder", ["transformer", "lstm", "transformer_attention"] + REST)
def test_a_tracks_predictions_stay_when_batches_order_and_company_change(encoder, tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3, 24), validation=(9, 14))
    size = {"data__eval_batch_size": 3}
    whole, variables = predicted(store.path, "train+validation", encoder, **size)
    assert sorted(whole) == sorted(track.name for track in store.tracks)
    other = reordered(store, tmp_path / "other", [2, 4, 0, 3, 1])
    size = {"data__eval_batch_size": 2}
    again = {}
    for split in ("alone", "rest"):
        again |= predicted(other, split, encoder, variables, data__train_split=split, **size)[0]
    for name, raw in whole.items():
        assert len(raw["valence"]) == next(t.frames for t in store.tracks if t.name == name)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), raw, again[name])
    assert np.ptp(whole["train2"]["valence"]) > 1e-3  # or nothing was compared


def test_arrays_of_frames_and_of_rows_come_when_they_are_asked_for(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3, 24), validation=(9,))
    system, variables = given(store, data__hop=2, data__eval_batch_size=3)
    predictor = Predictor(system, "train", arrays=("frames", "total"))
    assert predictor.shapes == {"valence": (1,), "frames": (5,), "total": (4,)}
    assert predictor.of_rows == {"total"}
    tracks = dict(predictor.tracks(variables))
    assert sorted(tracks) == [0, 1, 2]
    for index, arrays in tracks.items():
        track = store.tracks[index]
        span = slice(track.offset, track.offset + track.frames)
        x, images = store.feature("a")[span], store.frames[span]
        np.testing.assert_allclose(arrays["valence"][:, 0], x.sum(1), atol=1e-5)
        np.testing.assert_allclose(arrays["frames"], x, rtol=2**-8)  # windows: their mean
        assert arrays["frames"].dtype == np.float32
        spans = predictor.spans(index)
        assert len(spans) == len(arrays["total"]) == max(1, -(-(track.frames - 4) // 2) + 1)
        assert (np.diff(spans[:, 0]) > 0).all()
        for (start, stop), total in zip(spans, arrays["total"]):
            inside = (images - 1 >= start) & (images - 1 < stop)
            assert inside.sum() == min(4, track.frames)
            np.testing.assert_allclose(total, np.full(4, x[inside, 0].sum()), atol=1e-5)
    plain = dict(Predictor(system, "train").tracks(variables))
    assert all(list(arrays) == ["valence"] for arrays in plain.values())
    jax.tree.map(
        np.testing.assert_array_equal,
        plain,
        {index: {"valence": arrays["valence"]} for index, arrays in tracks.items()},
    )


def test_what_a_frame_takes_of_windows_that_overlap_is_the_configs_choice(tmp_path):
    store = small_store(tmp_path / "store", frames=(8,), validation=(8,))
    size = {"data__length": 4, "data__hop": 2}
    mean, variables = predicted(store.path, "train", "transformer", **size)
    size["data__overlap"] = "last"
    last, _ = predicted(store.path, "train", "transformer", variables, **size)
    differs = np.abs(mean["train0"]["valence"] - last["train0"]["valence"])[:, 0] > 1e-6
    assert differs.tolist() == [False] * 2 + [True] * 4 + [False] * 2  # those that two windows have


def test_a_clip_is_a_track_of_one_frame_to_all_who_ask(tmp_path):
    store = small_store(tmp_path / "store", frames=(1,) * 5, validation=(1,))
    system, variables = given(store, data__clips=True, data__eval_batch_size=2)
    predictor = Predictor(system, "train", arrays=("frames", "total"))
    assert predictor.shapes == {"valence": (1,), "frames": (5,), "total": (4,)}
    assert predictor.of_rows == frozenset()
    tracks = dict(predictor.tracks(variables))
    assert list(tracks) == [0, 1, 2, 3, 4]
    for index, arrays in tracks.items():
        x = store.feature("a")[store.tracks[index].span]
        np.testing.assert_allclose(arrays["valence"], x.sum(1, keepdims=True), atol=1e-5)
        np.testing.assert_allclose(arrays["total"], np.repeat(x[:, :1], 4, 1), atol=1e-6)


def test_the_models_own_losses_have_their_mean_over_the_frames(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3, 24), validation=(9,))
    system, variables = given(store, data__eval_batch_size=4)
    predictor = Predictor(system, "train")
    assert predictor.losses.scores() == {}
    for _ in range(2):
        list(predictor.tracks(variables))
        # Of batches of 4, 4 and 2 rows; those of the first two tracks have 4, 4, 3 and 3 frames.
        mean = (14 * 2.5 + 16 * 6.5 + 8 * 9.5) / 38
        assert predictor.losses.scores() == {"aux/rows": pytest.approx(mean)}


def test_a_split_is_predicted_and_scored_without_tasks_of_training_alone(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3), validation=(9,))
    system, variables = given(store)
    (valence,) = system.tasks
    alone = dataclasses.replace(valence, name="arousal", train_only=True)
    system.tasks = (alone, valence)
    scores = predict_split(system, variables, "train", tmp_path / "out")
    assert "valence/ccc" in scores and scores["aux/rows"] == 2.5
    assert not [name for name in scores if name.startswith("arousal")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["scores.json", "valence.npz"]
    (tmp_path / "out" / "tasks.json").write_text(to_json(system.tasks))
    assert find_tasks(tmp_path / "out") == (valence,)


class Taught(nn.Module):
    """Arousal is 1, or twice the label of valence where that exists."""

    taught = ("arousal",)

    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0):
        raw = nn.Dense(1)(jnp.where(batch["mask"][..., None], batch["inputs"]["a"], 0))
        arrays = {}
        if batch["labels"]:
            label, mask = (batch[part]["valence"] for part in ("labels", "label_mask"))
            arrays["taught/arousal"] = jnp.where(mask, 2 * label, 1.0)
        return Output({"valence": raw, "arousal": jnp.ones_like(raw)}, None, {"arrays": arrays})


class TaughtSystem(Supervised):
    def make_model(self):
        return Taught()


def test_tasks_that_read_others_are_scored_on_the_labels_of_these_too(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3), validation=(9,))
    config = tiny_config(store.path, tasks="valence,arousal", data__normalise="none")
    system = TaughtSystem(config)
    scores = predict_split(system, system.init().variables(), "train", tmp_path / "out")
    span = slice(0, 14)
    (valence, known), (arousal, mask) = (
        [a[span] for a in store.label(name)] for name in ("valence", "arousal")
    )
    told = np.where(known, 2 * valence, 1)
    assert scores["taught/arousal/ccc"] == pytest.approx(float(ccc(told, arousal, mask)), abs=1e-5)
    assert scores["arousal/ccc"] == 0 and np.abs(scores["taught/arousal/ccc"]) > 1e-3
    assert not [name for name in scores if name.startswith("taught/valence")]
    written = {"scores.json", "valence.npz", "arousal.npz"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == written


@pytest.mark.parametrize("name", ["frame", "valence"])
def test_an_array_that_the_model_does_not_give_is_refused(tmp_path, name):
    system, _ = given(small_store(tmp_path / "store", frames=(11,), validation=(9,)))
    with pytest.raises(UserError, match=f"array '{name}': .*Known: frames, total"):
        Predictor(system, "train", arrays=(name,))


def test_weights_on_the_host_are_sent_to_the_devices_once(tmp_path):
    system = tiny_system(small_store(tmp_path / "store").path)
    predictor = Predictor(system, "validation")
    variables = jax.tree.map(np.asarray, system.init().variables())
    # Sends nothing but what is placed in words: the argument of a compiled function is not.
    with jax.transfer_guard_host_to_device("disallow"):
        assert list(predictor.tracks(variables))


def test_tracks_of_a_split_are_predicted_alone_when_asked(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3, 24), validation=(9, 2))
    system, variables = given(store, data__eval_batch_size=3)
    predictor = Predictor(system, "train+validation")
    everything = dict(predictor.tracks(variables))
    for only in ([0, 4], [2], []):
        some = dict(predictor.tracks(variables, np.array(only, int)))
        assert list(some) == only
        jax.tree.map(np.testing.assert_array_equal, some, {i: everything[i] for i in only})


def test_a_training_evaluates_the_models_own_losses_and_can_choose_by_them(tmp_path):
    store = small_store(tmp_path / "store", frames=(11, 3), validation=(9,))
    system, _ = given(store, epochs=1, monitor="aux/rows")
    run = Run(tmp_path / "run")
    state = train(system, run)
    assert run.records()[0]["scores"]["validation"]["aux/rows"] == 2.0
    assert float(state.best["aux/rows"]) == -2.0  # lower is better
