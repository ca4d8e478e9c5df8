"""The system of windows of sound: labels of steps in training, frames in evaluation, one run."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import systems
from affect_jax.check import check
from affect_jax.predict import Predictor
from affect_jax.run import Run
from affect_jax.state import of_the_model
from affect_jax.train import train
from configs.ras_audio import get_config
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter

RATE = 16_000
FEATURES = {
    "sound": dict(shape=(), dtype="int16", axis="rate", rate_hz=RATE),
    "face": dict(size=2),
}
LABELS = {name: dict(kind="values", size=1) for name in ("valence", "arousal")}
# Track: frames a second, seconds of sound, seconds of frames. The third has no sound, and the
# sound of the last ends early.
TRACKS = {
    "a": (30, 1.0, 1.0),
    "b": ("30000/1001", 1.2, 1.2),
    "c": (25, 0.0, 0.8),
    "d": (25, 0.7, 1.0),
    "e": (30, 0.9, 0.9),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path, rng = tmp_path_factory.mktemp("windows") / "store", np.random.default_rng(0)
    with StoreWriter(path, name="sound", features=FEATURES, labels=LABELS) as writer:
        for i, (name, (fps, sound, shown)) in enumerate(TRACKS.items()):
            frames = round(shown * (30 if fps == "30000/1001" else fps))
            there = rng.random(frames) < 0.8
            features = {"face": np.zeros((frames, 2))}
            if sound:
                wave = 1000 * rng.normal(size=round(sound * RATE))
                features["sound"] = np.round(wave).astype(np.int16)
            writer.add(
                track=name,
                split="train" if i < 4 else "validation",
                features=features,
                labels={task: (rng.normal(size=frames), there) for task in LABELS},
                fps=fps,
            )
    return path


def config(root, **changes):
    c = get_config("smoke")
    c.data.root = str(root)
    c.data.seconds, c.data.hop_seconds = 0.4, 0.3
    with c.unlocked(), c.ignore_type():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def test_a_step_of_training_is_the_mean_of_the_labelled_frames_that_are_shown_in_it(root):
    system = systems.build(config(root))
    data, rows = system.data, system.data.training_rows
    ids = np.array([*range(len(rows)), -1], np.int32)
    stored = data.source(labels=True).batch(rows, data.shape(training=True), ids)
    keys = jax.vmap(jax.random.key)(jnp.arange(len(ids)))
    batch = jax.jit(lambda x: system.prepare(x, keys, True))(stored)
    assert batch["mask"].all(1).tolist() == [*[True] * len(rows), False]
    assert "times" not in batch and not batch["label_mask"]["valence"][-1].any()
    steps = []
    for row in range(len(rows)):
        track = data.store.tracks[rows.track[row]]
        frames = np.arange(rows.start[row], rows.stop[row])
        begin = Fraction(*rows.begin[row].tolist())
        times = [Fraction(2 * int(frame) + 1, 2) / track.fps - begin for frame in frames]
        step = np.array([min(time // Fraction(1, 10), 3) for time in times])
        values, there = (x[track.span][frames, 0] for x in data.store.label("arousal"))
        for i in range(4):
            own = there & (step == i)
            heard = TRACKS[track.name][1] > begin + Fraction(2 * i + 1, 20)
            mask = bool(batch["label_mask"]["arousal"][row, i, 0])
            assert mask == (own.any() and heard)
            if mask:
                steps.append(len(frames[own]))
                value = batch["labels"]["arousal"][row, i, 0]
                np.testing.assert_allclose(value, values[own].mean(), rtol=1e-5)
    assert len(steps) > 20 and max(steps) == 3


@pytest.mark.slow
def test_a_training_scores_every_frame_and_gives_embeddings_of_frames(root, tmp_path):
    system, run = systems.build(config(root)), Run(tmp_path)
    check(system)
    state = train(system, run)
    scores = run.records()[-1]["scores"]["validation"]
    assert np.isfinite([scores["CCC"], scores["valence/ccc"]]).all()
    variables = of_the_model(state.params, state.batch_stats)
    predictor = Predictor(system, "train+validation", arrays=["embedding"])
    assert predictor.shapes["embedding"] == (16,) and not predictor.of_rows
    found = dict(predictor.tracks(variables))
    for i, track in enumerate(system.data.store.tracks):
        assert found[i]["valence"].shape == (track.frames, 1)
        assert found[i]["embedding"].shape == (track.frames, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(data__clips=True), "config.data.clips: speech_windows reads windows in time"),
        (dict(model__features=("face",)), "config.audio.level: none of config.model.features"),
        (
            dict(model__features=("face",), audio__level="none"),
            "config.model.features: 'face' is no sound",
        ),
        (dict(audio__mixup=0.4), "config.audio.mixup: is for clips. Leave it off."),
        (
            dict(task__valence=dict(kind="classes", size=2, loss="ce", metrics=("f1",))),
            "label 'valence' is values of size 1",
        ),
        (dict(data__seconds=0.1, data__hop_seconds=0.0), "config.model.steps = 4: a row has"),
        (
            dict(model=dict(name="multitask", features=("face",))),
            "config.model.name = 'multitask': predicts no steps",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(root, changes, message):
    with pytest.raises(UserError) as error:
        systems.build(config(root, **changes)).variable_shapes  # noqa: B018
    assert message in str(error.value) and "\n" not in str(error.value)


def test_tasks_that_have_no_mean_are_refused(tmp_path):
    labels = {"kind": dict(kind="classes", size=2)}
    with StoreWriter(tmp_path / "s", name="s", features=FEATURES, labels=labels) as writer:
        for split in ("train", "validation"):
            writer.add(
                track=split,
                split=split,
                features={"sound": np.zeros(8000, np.int16), "face": np.zeros((15, 2))},
                labels={"kind": np.zeros(15, int)},
                fps=30,
            )
    c = config(tmp_path / "s", tasks=("kind",))
    c.task = dict(kind=dict(kind="classes", size=2, loss="ce", metrics=("f1",)))
    c.total.terms, c.monitor = (("kind/f1", 1.0),), ("kind/f1",)
    with pytest.raises(UserError, match="config.task.kind.kind = 'classes': a step has the mean"):
        systems.build(c)
