"""The multi-task family: what it reads, where its parameters lie, what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import models
from affect_jax.models.multitask import join
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

TASKS = (
    Task("valence", "values", 1),
    Task("expression", "classes", 8),
    Task("au", "labels", 12),
)
B, T = 3, 4
SIZES = {"face": 5, "sound": 2}


def config(**changes) -> ConfigDict:
    encoder = dict(
        name="transformer", hidden=8, layers=1, heads=2, ffn=6, dropout=0.1, positions="sinusoid"
    )
    c = ConfigDict(
        dict(
            name="multitask",
            features=("face", "sound"),
            feature_norm=True,
            encoder=encoder,
            structure=dict(name="se"),
            head=dict(layers=(7, 6), dropout=0.1),
            dtype="float32",
        )
    )
    with c.unlocked():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    return {
        "inputs": {
            name: rng.normal(size=(B, T, d)).astype(np.float32) for name, d in SIZES.items()
        },
        "mask": np.arange(T) < np.array([[4], [2], [0]]),
        "inputs_mask": {"sound": rng.random((B, T)) < 0.5},
    }


@pytest.fixture(scope="module")
def params(batch):
    tree = jax.jit(models.build(config(), TASKS).init)(jax.random.key(0), batch)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), tree)


@jax.jit
def run(params, batch):
    return models.build(config(), TASKS).apply({"params": params}, batch)


def test_every_task_has_raw_float32_predictions_of_its_size(params, batch):
    out = run(params, batch)
    assert {name: p.shape for name, p in out.predictions.items()} == {
        "valence": (B, T, 1),
        "expression": (B, T, 8),
        "au": (B, T, 12),
    }
    assert {p.dtype for p in out.predictions.values()} == {jnp.dtype("float32")}
    assert out.carry is None and set(out.aux) == {"arrays"}
    assert jax.tree.map(jnp.shape, out.aux["arrays"]) == {"embedding": (B, T, 8)}
    assert all(np.isfinite(p).all() for p in out.predictions.values())


def test_sub_networks_are_the_first_keys_of_the_parameters(params, batch):
    assert set(params) == {"encoder", "feature_norm", "valence", "expression", "au"}
    head = jax.tree.map(jnp.shape, params["au"]["head"])
    assert head == {
        "hidden_0": {"kernel": (8, 7), "bias": (7,)},
        "hidden_1": {"kernel": (7, 6), "bias": (6,)},
        "out": {"kernel": (6, 12), "bias": (12,)},
    }
    plain = models.build(config(feature_norm=False), TASKS[:1])
    drawn = jax.eval_shape(plain.init, jax.random.key(0), batch)["params"]
    assert set(drawn) == {"encoder", "valence"}


def test_a_head_without_a_name_is_the_one_of_before_and_others_are_chosen_by_name(batch):
    for head, wanted in (
        (dict(layers=(), dropout=0.1), {"out"}),
        (dict(name="fc", dropout=0.1), {"out"}),
        (dict(name="norm", hidden=3, dropout=0.1), {"hidden", "norm", "out"}),
    ):
        c = config()
        with c.unlocked():
            c.head = ConfigDict(head)
        drawn = jax.eval_shape(models.build(c, TASKS[:1]).init, jax.random.key(0), batch)
        assert set(drawn["params"]["valence"]["head"]) == wanted


def test_items_of_several_axes_are_joined_as_vectors():
    x, mask = np.arange(24.0).reshape(1, 2, 3, 4), np.array([[True, False]])
    joined = join({"inputs": {"bins": x}, "mask": mask}, ("bins",))
    np.testing.assert_array_equal(joined[0], [np.arange(12), np.zeros(12)])


def test_features_are_joined_in_the_order_of_the_config(params, batch):
    width = params["encoder"]["projection"]["kernel"].shape[0]
    assert width == SIZES["face"] + SIZES["sound"]
    swapped = dict(params)
    roll = lambda x: jnp.roll(x, SIZES["sound"], axis=0)  # noqa: E731
    swapped["encoder"] = params["encoder"] | {
        "projection": {
            "kernel": roll(params["encoder"]["projection"]["kernel"]),
            "bias": params["encoder"]["projection"]["bias"],
        }
    }
    swapped["feature_norm"] = jax.tree.map(roll, params["feature_norm"])
    other = models.build(config(features=("sound", "face")), TASKS)
    got = jax.jit(other.apply)({"params": swapped}, batch).predictions["au"]
    np.testing.assert_allclose(got, run(params, batch).predictions["au"], atol=1e-5)


def test_what_stands_in_padding_or_where_a_feature_is_missing_changes_nothing(params, batch):
    exists = {"face": batch["mask"], "sound": batch["mask"] & batch["inputs_mask"]["sound"]}
    holes = {
        name: np.where(exists[name][..., None], x, np.nan) for name, x in batch["inputs"].items()
    }
    zeros = {name: np.nan_to_num(x) for name, x in holes.items()}
    want = run(params, batch | {"inputs": zeros}).predictions
    got = run(params, batch | {"inputs": holes}).predictions
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_a_row_does_not_depend_on_its_batch(params, batch):
    row = jax.tree.map(lambda x: x[1:2], batch)
    got, want = run(params, row).predictions, run(params, batch).predictions
    for task in want:
        np.testing.assert_allclose(got[task][0, :2], want[task][1, :2], atol=1e-6)


def test_each_task_trains_its_own_head_and_the_encoder(params, batch):
    def total(params):
        return (run(params, batch).predictions["valence"] ** 2).sum()

    moved = jax.tree.map(lambda g: bool((np.asarray(g) != 0).any()), jax.grad(total)(params))
    assert all(jax.tree.leaves([moved["encoder"], moved["valence"], moved["feature_norm"]]))
    assert not any(jax.tree.leaves([moved["expression"], moved["au"]]))


def test_dropout_needs_training_and_a_key(params, batch):
    model = models.build(config(), TASKS)
    rngs = {"dropout": jax.random.key(0)}
    trained = jax.jit(functools.partial(model.apply, train=True))(
        {"params": params}, batch, rngs=rngs
    )
    assert abs(trained.predictions["au"] - run(params, batch).predictions["au"]).max() > 1e-3


def test_bfloat16_gives_float32_predictions_near_those_of_float32(params, batch):
    model = models.build(config(dtype="bfloat16"), TASKS)
    half = jax.jit(model.apply)({"params": params}, batch)
    want = run(params, batch).predictions
    for task, got in half.predictions.items():
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got[batch["mask"]], want[task][batch["mask"]], atol=0.15)


def test_a_misspelt_family_names_the_nearest():
    with pytest.raises(UserError, match=r"config.model.name = 'multi': Did you mean 'mul"):
        models.build(config(name="multi"), TASKS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(structure__name="sa"), "config.model.structure.name = 'sa': no such choice."),
        (dict(dtype="float16"), "config.model.dtype = 'float16': no such choice. Did you mean"),
        (dict(features=()), "config.model.features is empty"),
        (
            dict(feature_nrom=True),
            "config.model.feature_nrom: no such key. Did you mean 'feature_norm'",
        ),
        (dict(encoder__name="lsmt"), "config.model.encoder.name = 'lsmt': no such choice."),
        (dict(encoder__heads=3), "config.model.encoder: heads = 3 does not divide hidden = 8."),
        (dict(encoder__layer=3), "config.model.encoder.layer: no such key. Did you mean 'layers'"),
        (dict(encoder__dropout=1.0), "config.model.encoder: dropout = 1.0"),
        (dict(head__dropout=-1.0), "config.model.head: dropout = -1.0"),
        (dict(head__name="nrom"), "config.model.head.name = 'nrom': no such choice. Did you mean"),
        (dict(head__name="norm"), "config.model.head.layers: no such key."),
        (dict(encoder__positions="sin"), "config.model.encoder: positions = 'sin': no such table."),
    ],
)
def test_wrong_keys_and_values_are_named(changes, message):
    with pytest.raises(UserError) as error:
        models.build(config(**changes), TASKS)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_a_missing_key_is_named():
    c = config()
    with c.unlocked():
        del c.encoder.ffn
    with pytest.raises(UserError, match=r"config.model.encoder.ffn is missing\."):
        models.build(c, TASKS)


def test_a_feature_that_the_data_lacks_is_named(batch):
    model = models.build(config(features=("face", "sounds")), TASKS)
    with pytest.raises(UserError, match="the data has no 'sounds'. Did you mean 'sound'"):
        jax.eval_shape(model.init, jax.random.key(0), batch)
