"""The system of sound: levels, changes in training, and the labels of a culture."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType

from affect_jax import systems
from affect_jax.systems.audio import LEVELS
from configs.emogator import get_config
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter

RATE = 16_000
COUNTRIES = ("China", "South Africa")
COLUMNS = ("China_Awe", "China_Fear", "SouthAfrica_Awe", "South Africa_Fear")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four clips of noise about a mean, from soft to loud; the country of the last is not known."""
    path = tmp_path_factory.mktemp("audio") / "store"
    features = {
        "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=RATE),
        "fast": dict(shape=(), dtype="int16", axis="rate", rate_hz=2 * RATE),
        "face": dict(size=2),
    }
    labels = {
        "culture": dict(kind="values", size=4, names=COLUMNS),
        "country": dict(kind="classes", size=2, names=COUNTRIES),
        "emotion": dict(kind="classes", size=30),
    }
    rng = np.random.default_rng(0)
    with StoreWriter(path, name="sound", features=features, labels=labels) as writer:
        for i, size in enumerate((900, 400, 700, 800)):
            wave = 50 * (i + 1) ** 2 * (1 + rng.normal(size=size))
            writer.add(
                track=f"clip{i}",
                split="train",
                features={
                    "audio": np.round(wave).astype(np.int16),
                    "fast": np.zeros(2 * size, np.int16),
                    "face": np.zeros((1, 2)),
                },
                labels={
                    "culture": [[0.1, 0.2, 0.3, 0.4]],
                    "country": ([i % 2], [i < 3]),
                    "emotion": [i],
                },
            )
    return path


def config(root, **changes):
    c = get_config("smoke")
    c.data.root, c.data.split = str(root), ""
    c.task.culture = dict(kind="values", size=4, names=COLUMNS, loss="mse", metrics=("ccc",))
    c.task.emotion.names = ()
    c.audio.mixup = 0.0
    for name in c.audio.augment:
        c.audio.augment[name].probability = 0.0
    with c.unlocked(), c.ignore_type():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def prepared(system, train=False, ids=(0, 1, 2, 3)):
    """The batch of all clips, or of these and empty places (-1), prepared."""
    data = system.data
    rows, shape = data.training_rows, data.shape(training=train)
    batch = data.source(labels=train).batch(rows, shape, np.asarray(ids, np.int32))
    keys = jax.vmap(jax.random.key)(jnp.arange(len(ids))) if train else None
    return jax.jit(lambda batch: system.prepare(batch, keys, train))(batch)


@pytest.mark.parametrize("level", ["none", "rms", "peak", "standard"])
def test_a_level_is_that_of_the_samples_that_exist(root, level):
    batch = prepared(systems.build(config(root, audio__level=level)))
    x, mask = (np.asarray(batch[kind]["audio"]) for kind in ("inputs", "inputs_mask"))
    assert x.dtype == np.float32 and not x[~mask].any()
    rows = [np.float64(row[there]) for row, there in zip(x, mask, strict=True)]
    assert [len(row) for row in rows] == [900, 400, 700, 800]
    if level == "none":
        assert all((row * 2**15 == np.round(row * 2**15)).all() for row in rows)
    for row in rows if level == "rms" else ():
        assert np.sqrt((row**2).mean()) == pytest.approx(0.1, rel=1e-4)
    for row in rows if level == "peak" else ():
        assert np.abs(row).max() == pytest.approx(1, rel=1e-5)
    for row in rows if level == "standard" else ():
        assert row.mean() == pytest.approx(0, abs=1e-4)
        assert row.std() == pytest.approx(1, rel=0.03)  # 1e-7 is added to the variance


@pytest.mark.parametrize("level", ["rms", "peak", "standard"])
def test_silence_stays_silent(level):
    silent = LEVELS[level](jnp.zeros((1, 4)), jnp.ones((1, 4), bool))
    assert np.isfinite(silent).all() and not np.asarray(silent).any()


def test_sound_is_changed_in_training_alone_and_then_has_its_level(root):
    system = systems.build(config(root, audio__augment__noise__probability=1.0))
    x, changed = (np.asarray(prepared(system, train)["inputs"]["audio"]) for train in (0, 1))
    assert (np.abs(changed - x).max(1) > 1e-3).all()
    mask = np.asarray(prepared(system)["inputs_mask"]["audio"])
    power = (np.float64(changed) ** 2).sum(1) / mask.sum(1)
    np.testing.assert_allclose(np.sqrt(power), 0.1, rtol=1e-4)


def test_each_of_several_devices_transforms_its_own_clips(root):
    changes = dict(audio__augment__reverb__probability=0.5, audio__augment__band__probability=0.5)
    system = systems.build(config(root, **changes))

    def transformed(devices, rows):
        """Rows of all fast Fourier transforms, as a device computes them."""
        system.data.mesh = AbstractMesh((devices,), ("data",), axis_types=(AxisType.Auto,))
        model, example = system.make_model(), system.data.example(rows, training=True)

        def forward(variables, keys):
            batch = system.prepare(example, keys, True)
            return model.apply(variables, batch, train=False).predictions

        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), rows))
        traced = str(jax.make_jaxpr(forward)(system.variable_shapes, keys))
        return [int(x) for x in re.findall(r":[cf]\d+\[(\d+),.* = fft", traced)]

    assert transformed(1, 4) == [4] * 5  # two of a band, two of a room, one of the spectrogram
    assert transformed(2, 4) == [2] * 5
    assert transformed(2, 3) == [3] * 5


def test_mixtures_are_heard_in_training_alone(root):
    system = systems.build(config(root, audio__mixup=1.0))
    mixed, plain = (prepared(systems.build(config(root, audio__mixup=a)), True) for a in (1.0, 0.0))
    assert (mixed["inputs"]["audio"] != plain["inputs"]["audio"]).any(1).all()
    assert mixed["labels"]["emotion"].shape == (4, 30) and plain["labels"]["emotion"].shape == (4,)
    heard = prepared(system)["inputs"]["audio"]
    np.testing.assert_array_equal(heard, prepared(systems.build(config(root)))["inputs"]["audio"])


def test_clips_are_mixed_alike_where_a_batch_is_widened_for_more_devices(root):
    system = systems.build(config(root, audio__mixup=1.0, data__batch_size=3))
    one, more = (prepared(system, True, ids) for ids in ((0, 1, 2), (0, 1, 2, -1)))
    assert (
        (one["inputs"]["audio"] != prepared(system, ids=(0, 1, 2))["inputs"]["audio"]).any(1).all()
    )
    for kind in ("inputs", "inputs_mask", "labels", "label_mask"):
        for name, x in one[kind].items():
            np.testing.assert_array_equal(more[kind][name][:3], x, err_msg=name)
    assert not more["label_mask"]["emotion"][3]


def test_in_training_only_columns_of_the_own_culture_have_labels(root):
    system = systems.build(config(root, audio__own_culture=True, tasks=("culture",)))
    masks = prepared(system, train=True)["label_mask"]["culture"]
    china, south_africa = [True, True, False, False], [False, False, True, True]
    assert masks.tolist() == [china, south_africa, china, [True] * 4]
    assert system.data.store.label("culture")[1].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(audio__level="loud"), "config.audio.level = 'loud': no such choice"),
        (dict(audio__own_culture=True), "own_culture: config.tasks has no 'culture'"),
        (dict(audio__mixup=-0.5), "config.audio.mixup = -0.5: expected a number from 0 on"),
        (
            dict(audio__mixup=0.5, task__emotion__loss="balanced_ce"),
            "config.task.emotion.loss = 'balanced_ce': not with config.audio.mixup",
        ),
        (dict(model__features=("fast",)), "feature 'fast' has 32000 samples a second, expected"),
        (dict(model__features=("face",)), "config.audio.level: none of config.model.features"),
    ],
)
def test_keys_that_do_not_fit_are_one_line(root, changes, message):
    with pytest.raises(UserError, match=message):
        systems.build(config(root, **changes))


def test_a_config_without_its_keys_is_one_line(root):
    c = config(root)
    del c["audio"]
    with pytest.raises(UserError, match="config.audio.level is missing"):
        systems.build(c)


@pytest.mark.parametrize(
    ("weights", "norm", "masked"),
    [("", "group", True), ("a_file", "group", False), ("a_file", "layer", True)],
)
def test_padding_is_heard_by_weights_that_heard_it(root, caplog, weights, norm, masked):
    c = get_config("raw,smoke")
    c.model.backbone.feat_extract_norm = norm
    c.data.root, c.model.padding, c.init.weights, c.task.emotion.names = (
        str(root),
        "auto",
        weights,
        (),
    )
    with caplog.at_level("INFO"):
        system = systems.build(c)
    assert system.model.masked is masked and system.config.model.padding == "auto"
    assert ("padding is heard" in caplog.text) is not masked


@pytest.mark.parametrize(("padding", "does"), [("heard", "masks"), ("masked", "hears")])
def test_padding_that_is_asked_for_against_the_run_before_is_warned_of(
    root, caplog, padding, does, tmp_path
):
    c = get_config("raw,smoke")
    c.data.root, c.task.emotion.names = str(root), ()
    c.model.padding = "masked" if does == "masks" else "heard"
    (tmp_path / "config.json").write_text(c.to_json_best_effort())
    c.init.run, c.model.padding = str(tmp_path), padding
    assert systems.build(c).model.masked is (padding == "masked")
    assert f"padding is {padding}, but {tmp_path}, which this run begins with, {does} it" in (
        caplog.text
    )
    c.model.padding = "masked" if does == "masks" else "heard"
    caplog.clear()
    systems.build(c)
    assert not caplog.text
