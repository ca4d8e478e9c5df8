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
    "six_conv": ("features.8.weight", "features.13.bias", "classifier.weight"),
}
BEHIND = {"vgg19": "classifier", "resnet18": "linear", "six_conv": "classifier"}


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


@pytest.mark.parametrize("feature", [0, 5])
@pytest.mark.parametrize("backbone", NAMES)
def test_weights_are_written_by_the_original_s_names_and_come_back(backbone, feature, tmp_path):
    variables, c = drawn(shapes(backbone, feature)), config(backbone, feature)
    written = FAMILY.to_original(c, ("expression",), variables)
    *names, output = NAMES[backbone]
    behind = [f"{BEHIND[backbone]}.{i}.weight" for i in (0, 2)] if feature else [output]
    assert {*names, *behind} <= set(written)
    # As the original's program keeps it: below "net", with counts of batches.
    counts = {n.replace("mean", "x"): np.zeros((), np.int64) for n in written if "_mean" in n}
    counts = {n.replace("running_x", "num_batches_tracked"): x for n, x in counts.items()}
    whole = {f"net.module.{name}": x for name, x in (written | counts).items()}
    files.save_safetensors(tmp_path / "a.safetensors", whole)
    loaded = FAMILY.load(tmp_path / "a.safetensors", c)
    table = FAMILY.table(c, ("expression",), loaded)
    back, report = interop.to_variables(table, loaded, shapes(backbone, feature))
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


def test_the_output_layer_of_torchvision_s_vgg_is_not_taken_for_a_layer_of_features():
    c, variables = config("vgg19", 5), drawn(shapes("vgg19"))
    written = FAMILY.to_original(config("vgg19"), ("expression",), variables)
    written |= {f"classifier.{i}.weight": np.zeros((3, 3), np.float32) for i in (0, 3, 6)}
    table = FAMILY.table(c, ("expression",), written)
    variables, report = interop.to_variables(table, written, shapes("vgg19", 5))
    assert set(variables["params"]) == {"backbone"} and not report.mismatched


@pytest.mark.slow
def test_six_convolutions_give_in_torch_what_they_give_here():
    torch = pytest.importorskip("torch")
    nn, layers, before, c = torch.nn, [], 3, config("six_conv", feature=5)
    c.backbone.channels, c.backbone.pooled = (2, 3, 4, 5, 6, 7), (1, 2, 5)
    for i, size in enumerate(c.backbone.channels):
        layers += [nn.Conv2d(before, size, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] * (i in c.backbone.pooled)
        before = size
    behind = nn.Sequential(nn.Linear(7 * 3 * 2, 5), nn.ReLU(), nn.Linear(5, 7))
    net = nn.Sequential()
    net.add_module("features", nn.Sequential(*layers))
    net.add_module("flat", nn.Flatten())
    net.add_module("classifier", behind)
    module = models.build(c, (Task("expression", "classes", 7),))
    x = np.random.default_rng(1).random((2, 24, 16, 3), np.float32)
    batch = {"inputs": {"face": x}, "mask": np.ones(2, bool)}
    template = jax.eval_shape(module.init, jax.random.key(0), batch)
    tensors = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    table = FAMILY.table(c, ("expression",), tensors)
    variables, report = interop.to_variables(table, tensors, dict(template))
    report.require_complete("torch")
    theirs = net(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    ours = module.apply(variables, batch).predictions["expression"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


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
