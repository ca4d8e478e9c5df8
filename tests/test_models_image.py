"""Networks on pictures: masks, views, grey and colour, training mode, what the config may say."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import models
from affect_jax.models.blocks.vision import BACKBONES
from affect_jax.models.blocks.vision.layers import convolution, halved
from affect_jax.tasks import Task
from configs.fer2013 import image_model
from data_pipelines.errors import UserError

TASKS = (Task("kind", "classes", 3), Task("pose", "values", 2))
CHANNELS = {"six_conv": (2, 3, 4, 4, 5, 5), "vgg19": (2, 3, 4, 5, 6), "resnet18": (2, 3, 4, 5)}
SIZES = {name: {"channels": channels} for name, channels in CHANNELS.items()}
SIZES["efficientnet_b1"] = dict(stem=3, stages=((1, 3, 1, 4, 1), (2, 5, 2, 4, 2)), last=12)


def slow(backbone):
    """It compiles many layers."""
    return pytest.param(backbone, marks=pytest.mark.slow)


def config(backbone="six_conv", **changes) -> ConfigDict:
    c = image_model()
    c.backbone = ConfigDict(dict(name=backbone, **SIZES[backbone]))
    c.feature = 6
    with c.unlocked(), c.ignore_type():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def batch_of(x, mask=None):
    return {"inputs": {"face": x}, "mask": np.ones(len(x), bool) if mask is None else mask}


@functools.cache
def pictures(side=32):
    return np.random.default_rng(0).random((4, side, side, 3), np.float32)


def drawn(module):
    """Variables of a module, drawn in numpy, which compiles nothing."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), batch_of(pictures()))
    rng = np.random.default_rng(0)

    def leaf(path, x):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
        spread = (2 / np.prod(x.shape[:-1])) ** 0.5 if x.ndim > 1 else 0.1
        return rng.normal(0, spread, x.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@functools.cache
def model(backbone):
    """(module, variables)."""
    module = models.build(config(backbone), TASKS)
    return module, drawn(module)


@pytest.mark.parametrize("backbone", ["six_conv", "resnet18", "efficientnet_b1", slow("vgg19")])
def test_a_picture_has_the_same_answer_in_any_batch(backbone):
    module, variables = model(backbone)
    run = jax.jit(module.apply)
    whole = run(variables, batch_of(pictures()))
    for task in TASKS:
        assert whole.predictions[task.name].shape == (4, task.size)
        assert whole.predictions[task.name].dtype == jnp.float32
    embedding = whole.aux["arrays"]["embedding"]
    assert embedding.shape == (4, 6) and np.ptp(embedding, axis=0).any() and (embedding >= 0).all()
    mask, filled = np.array([True, True, False, False]), pictures().copy()
    filled[2:] = 1e3
    part = run(variables, batch_of(filled, mask))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[:2], b[:2], atol=1e-5), whole, part)


@pytest.mark.parametrize(
    "backbone", ["six_conv", *map(slow, ("resnet18", "vgg19", "efficientnet_b1"))]
)
def test_in_training_every_parameter_has_a_gradient_and_filling_has_no_say(backbone):
    module, variables = model(backbone)

    @jax.jit
    def step(params, batch):
        def loss(params):
            out, updated = module.apply(
                variables | {"params": params}, batch, train=True, mutable=["batch_stats"]
            )
            squares = [(p**2).sum(1) for p in out.predictions.values()]
            return jnp.where(batch["mask"], sum(squares), 0).sum(), updated

        return jax.grad(loss, has_aux=True)(params)

    mask = np.array([True, True, True, False])
    x, other = pictures().copy(), pictures().copy()
    other[3] = 1e3
    gradients, updated = step(variables["params"], batch_of(x, mask))
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all(), path
        # In front of a batch norm, a bias has none.
        assert np.asarray(leaf).any() or "bias" in str(path), path
    before = variables.get("batch_stats", {})
    moved = jax.tree.map(lambda a, b: (a != b).any(), before, updated.get("batch_stats", {}))
    assert all(jax.tree.leaves(moved))
    again = step(variables["params"], batch_of(other, mask))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)  # noqa: E731
    jax.tree.map(close, again, (gradients, updated))


def test_several_views_have_the_mean_of_their_answers():
    module, variables = model("six_conv")
    run = jax.jit(module.apply)
    views = np.stack([pictures(), 1 - pictures(), pictures() ** 2], 1)
    got = run(variables, batch_of(views))
    each = [run(variables, batch_of(views[:, i])) for i in range(3)]
    mean = jax.tree.map(lambda *x: sum(x) / 3, *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, mean)


def test_a_grey_picture_is_one_of_three_equal_channels():
    module, variables = model("six_conv")
    grey = pictures()[..., :1]
    run = jax.jit(module.apply)
    want = run(variables, batch_of(np.repeat(grey, 3, -1))).predictions["kind"]
    for x in (grey, grey[..., 0]):
        got = run(variables, batch_of(x)).predictions["kind"]
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_without_a_layer_of_features_the_heads_read_the_backbone():
    module = models.build(config(feature=0), TASKS)
    out, variables = jax.eval_shape(
        module.init_with_output, jax.random.key(0), batch_of(pictures())
    )
    assert out.aux["arrays"]["embedding"].shape == (4, 2 * 2 * 5)
    assert set(variables["params"]) == {"backbone", "task_kind", "task_pose"}


def test_half_precision_keeps_float32_parameters_and_predictions():
    module, variables = model("six_conv")
    half = models.build(config(dtype="bfloat16"), TASKS)
    got, want = (jax.jit(one.apply)(variables, batch_of(pictures())) for one in (half, module))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), got, want)
    assert got.predictions["kind"].dtype == jnp.float32
    assert (got.predictions["kind"] != want.predictions["kind"]).any()


def test_the_full_vgg19_has_the_parameters_of_the_original():
    c = config("vgg19", feature=0)
    c.backbone = ConfigDict(dict(name="vgg19"))
    module = models.build(c, (Task("expression", "classes", 7),))
    shapes = jax.eval_shape(module.init, jax.random.key(0), batch_of(pictures(44)))["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == 20_038_983
    assert shapes["task_expression"]["kernel"].shape == (512, 7)


@pytest.mark.parametrize(("name", "count"), [("b1", 6_513_184), ("b4", 17_548_616)])
def test_the_full_efficientnets_have_the_parameters_of_torchvision_s(name, count):
    module = BACKBONES[f"efficientnet_{name}"]()
    x, mask = jnp.zeros((1, 32, 32, 3)), jnp.ones(1, bool)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, mask)["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(shapes)) == count


def test_a_feature_layer_may_have_a_batch_norm_and_tanh():
    module = models.build(config(feature_norm=True, activation="tanh"), TASKS)
    variables = drawn(module)
    shift = variables["params"]["feature_norm"]["bias"]
    shift[...] = 0
    out = jax.jit(module.apply)(variables, batch_of(pictures()))
    embedding = out.aux["arrays"]["embedding"]
    assert (np.abs(embedding) < 1).all() and (embedding < 0).any()
    shift[...] = 50
    out = jax.jit(module.apply)(variables, batch_of(pictures()))
    np.testing.assert_array_equal(out.aux["arrays"]["embedding"], 1)


def test_a_model_of_before_has_no_keys_of_what_follows_the_feature_layer():
    old = config()
    with old.unlocked():
        del old.feature_norm, old.activation
    module = models.build(old, TASKS)
    assert (module.feature_norm, module.activation) == (False, nn.relu)


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        return convolution(x, 64, 3, name="one")


def test_convolutions_start_as_those_of_torch():
    module = Convolution()
    params = module.init(jax.random.key(0), jnp.zeros((1, 2, 2, 8)))["params"]["one"]
    bound = 1 / math.sqrt(9 * 8)
    for leaf in (params["kernel"], params["bias"]):
        assert 0.8 * bound < np.abs(leaf).max() <= bound
        assert np.std(leaf) == pytest.approx(bound / math.sqrt(3), rel=0.2)


def test_the_largest_of_four_pixels_is_kept_and_an_odd_edge_is_cut():
    x = np.random.default_rng(0).random((2, 5, 6, 3), np.float32)
    want = np.stack(
        [[x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max((1, 2)) for j in range(3)] for i in (0, 1)]
    )
    np.testing.assert_array_equal(halved(jnp.asarray(x)), np.moveaxis(want, 2, 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(heads=3), "config.model.heads: no such key"),
        (dict(feature=-1), "config.model.feature = -1: expected a number from 0 on"),
        (dict(features=("face", "body")), "features = .*: expected one, of pictures"),
        (dict(dropout=1.0), "config.model: dropout = 1.0"),
        (dict(dtype="half"), "config.model.dtype = 'half'"),
        (dict(backbone__name="vgg"), "backbone.name = 'vgg': no such choice. Did you mean 'vgg19'"),
        (dict(backbone__channels=(1, 2)), r"config.model.backbone: channels = \(1, 2\)"),
        (dict(backbone__channels=(0,) * 6), "expected 6 numbers from 1 on"),
        (dict(backbone__pooled=(1, 6)), r"pooled = \(1, 6\): expected numbers from 0 to 5"),
        (dict(backbone__depth=3), "config.model.backbone.depth: no such key"),
        (dict(activation="rleu"), "config.model.activation = 'rleu': .* Did you mean 'relu'"),
        (dict(feature=0, feature_norm=True), "config.model.feature_norm: there is no layer"),
    ],
)
def test_a_wrong_key_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        models.build(config(**changes), TASKS)


def test_a_stage_that_is_none_is_one_line():
    for stages in ((), ((1, 3, 1, 4),), ((1, 2, 1, 4, 1),), ((1, 3, 0, 4, 1),)):
        c = config("efficientnet_b1")
        c.backbone.stages = stages
        with pytest.raises(UserError, match="config.model.backbone: stages"):
            models.build(c, TASKS)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 31, 32, 3), "pictures of 31 x 32 are too small for it, it needs 32 x 32"),
        ((4, 512), r"'face' has items of shape \(512,\), expected pictures"),
        ((4, 2, 2, 32, 32, 3), r"'face' has items of shape \(2, 2, 32, 32, 3\)"),
    ],
)
def test_what_is_no_picture_for_the_backbone_is_one_line(shape, message):
    module = models.build(config("vgg19"), TASKS)
    with pytest.raises(UserError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), batch_of(np.zeros(shape, np.float32)))


def test_frames_in_time_are_refused():
    batch = batch_of(np.zeros((2, 5, 32, 32), np.float32), np.ones((2, 5), bool))
    with pytest.raises(UserError, match="config.data.clips is false"):
        jax.eval_shape(models.build(config(), TASKS).init, jax.random.key(0), batch)


def test_of_equal_pixels_the_first_has_the_gradient():
    def total(x):
        return halved(x).sum()

    gradient = jax.grad(total)(np.zeros((1, 2, 5, 1), np.float32))
    np.testing.assert_array_equal(gradient[0, ..., 0], [[1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
