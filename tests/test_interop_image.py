"""Weights of the public classifier of FER2013: its names, what is left out, and the way back."""

import functools

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.interop import files
from affect_jax.interop.families import family_of
from affect_jax.tasks import Task
from configs.fer2013 import get_config
from data_pipelines.errors import UserError

FAMILY = family_of("image")
CHANNELS = {"vgg19": (2, 3, 4, 5, 6), "resnet18": (2, 3, 4, 5), "six_conv": (2,) * 6}
NAMES = {
    "vgg19": ("features.49.weight", "features.50.running_var", "classifier.bias"),
    "resnet18": ("layer2.0.shortcut.1.running_mean", "layer4.1.conv2.weight", "linear.weight"),
}


def config(backbone, feature=0):
    c = get_config().model
    c.backbone = ConfigDict(dict(name=backbone, channels=CHANNELS[backbone]))
    c.feature = feature
    return c


@functools.cache
def shapes(backbone, feature=0):
    """Shapes of the variables of a model of seven expressions."""
    module = models.build(config(backbone, feature), (Task("expression", "classes", 7),))
    batch = {"inputs": {"face": np.zeros((1, 32, 32), np.float32)}, "mask": np.ones(1, bool)}
    return dict(jax.eval_shape(module.init, jax.random.key(0), batch))


def drawn(tree):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), tree)


@pytest.mark.parametrize("backbone", NAMES)
def test_weights_are_written_by_the_original_s_names_and_come_back(backbone, tmp_path):
    variables, c = drawn(shapes(backbone)), config(backbone)
    written = FAMILY.to_original(c, ("expression",), variables)
    assert set(NAMES[backbone]) <= set(written)
    # As the original's program keeps it: below "net", with counts of batches.
    counts = {n.replace("mean", "x"): np.zeros((), np.int64) for n in written if "_mean" in n}
    counts = {n.replace("running_x", "num_batches_tracked"): x for n, x in counts.items()}
    whole = {f"net.module.{name}": x for name, x in (written | counts).items()}
    files.save_safetensors(tmp_path / "a.safetensors", whole)
    loaded = FAMILY.load(tmp_path / "a.safetensors", c)
    table = FAMILY.table(c, ("expression",), loaded)
    back, report = interop.to_variables(table, loaded, shapes(backbone))
    report.require_complete("a.safetensors")
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_a_layer_of_features_that_the_file_lacks_is_as_drawn_and_so_is_the_head():
    written = FAMILY.to_original(config("vgg19"), ("expression",), drawn(shapes("vgg19")))
    c = config("vgg19", feature=5)
    table = FAMILY.table(c, ("expression",), written)
    variables, report = interop.to_variables(table, written, shapes("vgg19", 5))
    assert set(variables["params"]) == {"backbone"} and not report.mismatched
    assert set(report.unknown) == {"classifier.weight", "classifier.bias"}
    assert {path.split("/")[0] for path in report.missing} == {"feature", "task_expression"}
    with pytest.raises(UserError, match="no rule for the parameter feature"):
        FAMILY.to_original(c, ("expression",), drawn(shapes("vgg19", 5)))


def test_the_small_network_has_no_original():
    with pytest.raises(UserError, match="backbone.name = 'six_conv': no original of it is known"):
        FAMILY.table(config("six_conv"), ("expression",), {})


def frame_encoder(feature):
    c = get_config("efficientnet_b1,smoke").model
    c.backbone.stages = ((1, 3, 1, 2, 1), (2, 5, 2, 3, 2))
    c.feature, c.feature_norm, c.activation = feature, bool(feature), "tanh"
    return c


@pytest.mark.parametrize(
    ("feature", "tasks", "some"),
    [
        (0, ("expression",), {"features.2.1.block.2.fc1.bias", "classifier.1.weight"}),
        (
            4,
            ("expression", "valence", "arousal"),
            {"model.features.3.1.running_var", "embeddings_layer.bias", "batchnorm.weight"},
        ),
    ],
)
def test_an_efficientnet_has_torchvision_s_names_and_a_frame_encoder_its_own(feature, tasks, some):
    c = frame_encoder(feature)
    kinds = [Task(t, "classes", 8) if t == "expression" else Task(t, "values", 1) for t in tasks]
    batch = {"inputs": {"face": np.zeros((1, 32, 32), np.float32)}, "mask": np.ones(1, bool)}
    template = dict(jax.eval_shape(models.build(c, kinds).init, jax.random.key(0), batch))
    variables = drawn(template)
    written = FAMILY.to_original(c, tasks, variables)
    assert some <= set(written)
    if feature:
        rows = [variables["params"][f"task_{t}"]["kernel"][:, 0] for t in tasks[1:]]
        np.testing.assert_array_equal(written["regression.weight"], rows)
        with pytest.raises(UserError, match="predicts valence and arousal, and not one alone"):
            left = {k: v for k, v in variables["params"].items() if k != "task_arousal"}
            FAMILY.to_original(c, tasks, variables | {"params": left})
    loaded = FAMILY.by_row(written)
    back, report = interop.to_variables(FAMILY.table(c, tasks, loaded), loaded, template)
    report.require_complete("memory")
    jax.tree.map(np.testing.assert_array_equal, back, variables)
