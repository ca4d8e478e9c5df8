"""The system of pictures: what is fed of them in training and in evaluation, and its keys."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import systems
from affect_jax.augment_images import ten_crops
from configs.fer2013 import get_config
from data_pipelines.errors import UserError
from data_pipelines.store_writer import StoreWriter

SIDE = 18


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Six grey pictures of noise, the same in colour, and vectors."""
    path = tmp_path_factory.mktemp("image") / "store"
    features = {
        "face": dict(shape=(SIDE, SIDE), dtype="uint8"),
        "colour": dict(shape=(SIDE, SIDE, 3), dtype="uint8"),
        "vector": dict(size=3),
        "sound": dict(shape=(), dtype="int16", axis="rate", rate_hz=16_000),
    }
    labels = {"expression": dict(kind="classes", size=7)}
    rng = np.random.default_rng(0)
    with StoreWriter(path, name="faces", features=features, labels=labels) as writer:
        for i in range(6):
            face = rng.integers(0, 256, (1, SIDE, SIDE)).astype(np.uint8)
            streams = {"face": face, "colour": np.stack([face] * 3, -1)}
            streams |= {"vector": np.zeros((1, 3)), "sound": np.zeros(4, np.int16)}
            writer.add(track=f"p{i}", split="train", features=streams, labels={"expression": [i]})
    return path


def config(store, **changes):
    c = get_config("smoke")
    c.data.root, c.data.split, c.data.train_split, c.folds.cut = str(store), "", "train", ""
    c.task.expression.names = ()
    c.image.flip = False
    with c.unlocked(), c.ignore_type():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def fed(store, train=False, **changes):
    """The pictures of all rows as the model gets them."""
    system = systems.build(config(store, **changes))
    rows, shape = system.data.training_rows, system.data.shape(training=train)
    batch = system.data.source(labels=train).batch(rows, shape, np.arange(6, dtype=np.int32))
    keys = jax.vmap(jax.random.key)(jnp.arange(6)) if train else None
    prepared = jax.jit(lambda batch: system.prepare(batch, keys, train))(batch)
    (name,) = system.data.features
    stored = np.float32(batch["inputs"][name]) / 255
    return np.asarray(prepared["inputs"][name]), stored if stored.ndim == 4 else stored[..., None]


@pytest.mark.parametrize("name", ["face", "colour"])
def test_unasked_a_picture_is_fed_whole_as_parts_of_255(store, name):
    for train in (False, True):
        x, stored = fed(store, train, model__features=(name,))
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, stored, rtol=1e-6)


def test_in_training_places_are_drawn_and_elsewhere_the_middle_is_fed(store):
    x, stored = fed(store, image__crop=16)
    np.testing.assert_allclose(x, stored[:, 1:17, 1:17], rtol=1e-6)
    x, _ = fed(store, True, image__crop=16)
    views = np.asarray([stored[:, i : i + 16, j : j + 16] for i in range(3) for j in range(3)])
    places = np.isclose(views, x).all((2, 3, 4))  # [9, rows]
    assert places.any(0).all() and len(set(places.argmax(0))) > 1


def test_ten_views_are_those_of_the_ten_crops(store):
    x, stored = fed(store, image__crop=16, image__views=10)
    assert x.shape == (6, 10, 16, 16, 1)
    np.testing.assert_allclose(x, ten_crops(jnp.asarray(stored), 16), rtol=1e-6)
    system = systems.build(config(store, image__crop=16, image__views=10))
    assert system._shapes[0].predictions["expression"].shape == (1, 7)


def test_pictures_are_changed_in_training_alone(store):
    changes = dict(image__flip=True, image__rotation=20.0, image__erase=0.5)
    x, stored = fed(store, True, **changes)
    assert (x != stored).any((1, 2, 3)).all()
    x, stored = fed(store, **changes)
    np.testing.assert_allclose(x, stored, rtol=1e-6)


def test_a_mean_is_subtracted_and_a_deviation_divided_by_in_each_colour(store):
    mean, std = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
    for name in ("colour", "face"):
        changes = dict(image__mean=mean, image__std=std, model__features=(name,))
        for train in (False, True):
            x, stored = fed(store, train, **changes)
            want = (stored - np.float32(mean)) / np.float32(std)
            np.testing.assert_allclose(x, want, atol=1e-5)


def test_a_run_of_before_has_no_mean_and_deviation(store):
    c = config(store)
    del c.image["mean"], c.image["std"]
    assert systems.build(c).variable_shapes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(image__std=(0.0,)), r"config.image.std = .*expected one number above 0 or three"),
        (dict(image__mean=(1.0, 2.0)), "config.image.mean = .*expected one number or three"),
        (dict(image__views=5), "config.image.views = 5: expected 1 or 10"),
        (dict(image__views=10), "config.image.views = 10: of crops; set config.image.crop"),
        (dict(image__crop=20), "config.image.crop = 20: pictures of .* are 18 x 18"),
        (dict(image__erase=2.0), "config.image.erase = 2.0: expected a number from 0 to 1"),
        (dict(image__flip=1), "config.image.flip = 1: expected true or false"),
        (dict(image__flipp=True), "config.image.flipp: no such key. Did you mean 'flip'"),
        (dict(model__features=("vector",)), r"feature 'vector' has items of shape \(3,\)"),
        (dict(model__features=("sound",)), r"feature 'sound' has items of shape \(\)"),
        (dict(data__clips=False, data__length=1), "config.data.clips is false"),
        (dict(model__backbone__name="vgg19", model__backbone__channels=(2,) * 5), "too small"),
    ],
)
def test_what_does_not_fit_is_one_line(store, changes, message):
    with pytest.raises(UserError, match=message):
        assert systems.build(config(store, **changes)).variable_shapes


def test_a_config_without_its_keys_is_one_line(store):
    c = config(store)
    del c["image"]
    with pytest.raises(UserError, match="config.image.views is missing"):
        systems.build(c)
