"""The family "image": VGG-19 and ResNet-18 of a public classifier of FER2013, EfficientNet of RAS.

Source of the names: github.com/WuJie1010/Facial-Expression-Recognition.Pytorch. torchvision's
VGG-19 with batch norms has the same names of convolutions. That classifier has one output layer,
`classifier` or `linear`; with a layer of features this is a torch.nn.Sequential of both and the
ReLU between them. Nothing is published of the six convolutions: their names are those of such a
network, `features` and `classifier`. EfficientNet has those of torchvision;
with a layer of features those of the frame encoder (GRADA) that github.com/SMIL-SPCRAS/CVPRW-26
calls: its `classifier` is our task expression, the two rows of its `regression` are valence and
arousal. In which order it has its eight emotions is not published.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, rules
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.vision import BACKBONES, SixConv
from affect_jax.models.blocks.vision.vgg import DEPTHS
from data_pipelines.errors import UserError

REGRESSION = "regression"
ROWS = ("valence", "arousal")  # of that layer


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file. UserError where there is none, or it is damaged."""
    del model
    return by_row(files.load(path))


def by_row(state_dict: Mapping[str, np.ndarray]) -> files.StateDict:
    """Tensors with those of the layer `regression` row by row: regression.0.weight [1, D]."""
    found: files.StateDict = {}
    for name, x in state_dict.items():
        layer, _, part = name.rpartition(".")
        if layer == REGRESSION and x.ndim:
            found |= {f"{layer}.{i}.{part}": x[i : i + 1] for i in range(len(x))}
        else:
            found[name] = x
    return found


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules of the backbone and of what follows it.

    Where ours reads a layer of features and the file has none, or there are several tasks, the
    output layers are as drawn. So are those of an EfficientNet with tasks that the original has
    not.

    Args:
        state_dict: as `by_row` gives it.
    """
    layered = any(name.startswith("model.") or name in _LAYERED for name in state_dict)
    return _whole(model, tasks, layered)


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original's model. UserError where the original has no such model."""
    own = rules.to_original(_whole(model, tasks, bool(model.feature)), variables)
    for part in ("weight", "bias"):
        rows = [own.pop(f"{REGRESSION}.{i}.{part}", None) for i in range(len(ROWS))]
        if any(row is not None for row in rows):
            if any(row is None for row in rows):
                raise UserError(f"the original predicts {' and '.join(ROWS)}, and not one alone.")
            own[f"{REGRESSION}.{part}"] = np.concatenate(rows)
    return own


def _whole(model: Any, tasks: Sequence[str], layered: bool) -> Table:
    """`layered`: of a file with a layer of features."""
    name = model.backbone.name
    if name in _EFFICIENTNETS:
        return Table(_efficientnet_family(model, tasks, "model." if layered else ""))
    output, backbone = _BACKBONES[name]
    own = backbone("backbone/", model.backbone)
    channels = model.backbone.get("channels", BACKBONES[name].channels)[-1]
    if model.feature and layered:
        own += _behind_map(f"{output}.0", "feature", channels)
        own += rules.linear(f"{output}.2", f"task_{tasks[0]}") if len(tasks) == 1 else ()
    elif not model.feature and len(tasks) == 1:
        own += _behind_map(output, f"task_{tasks[0]}", channels)
    return Table(own)


def _behind_map(original: str, path: str, channels: int) -> tuple[Rule, ...]:
    """A linear layer on a flattened map: channel by channel there, place by place here."""

    def forward(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), channels, -1).transpose(2, 1, 0).reshape(-1, len(x))

    def backward(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, channels, x.shape[-1]).transpose(2, 1, 0).reshape(x.shape[-1], -1)

    _, bias = rules.linear(original, path)
    return Rule(f"{original}.weight", f"{path}/kernel", forward, backward), bias


def _efficientnet_family(model: Any, tasks: Sequence[str], prefix: str) -> tuple[Rule, ...]:
    stages = model.backbone.get("stages", BACKBONES[model.backbone.name].stages)
    own = _efficientnet(f"{prefix}features", "backbone/", stages)
    if not model.feature:
        return own + (rules.linear("classifier.1", f"task_{tasks[0]}") if len(tasks) == 1 else ())
    return own + behind(tasks)


def behind(tasks: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of the layers behind the backbone of a frame encoder, and of the tasks that it has."""
    own = rules.linear("embeddings_layer", "feature")
    own += rules.batch_norm("batchnorm", "feature_norm")
    heads = {"expression": "classifier"} | {t: f"{REGRESSION}.{i}" for i, t in enumerate(ROWS)}
    for task in tasks:
        if task in heads:
            own += rules.linear(heads[task], f"task_{task}")
    return own


def _efficientnet(there: str, here: str, stages: Sequence[Sequence[int]]) -> tuple[Rule, ...]:
    """Rules of torchvision's `features` below `there`, and of ours below `here`."""

    def normed(original: str, path: str) -> tuple[Rule, ...]:
        return (
            *rules.conv(f"{there}.{original}.0", f"{here}{path}/conv"),
            *rules.batch_norm(f"{there}.{original}.1", f"{here}{path}/norm"),
        )

    own = normed("0", "stem")
    for i, (expand, *_) in enumerate(stages, 1):
        block, path = f"{i}.{{j}}.block", f"stage_{i}_{{j}}"
        parts = ["expand"] * (expand > 1) + ["depthwise", "", "project"]
        for number, part in enumerate(parts):
            if part:
                own += normed(f"{block}.{number}", f"{path}/{part}")
                continue
            for layer, name in (("fc1", "squeeze"), ("fc2", "excite")):
                own += rules.conv(f"{there}.{block}.{number}.{layer}", f"{here}{path}/{name}")
    return own + normed(str(len(stages) + 1), "last")


def _six_conv(path: str, group: Any) -> tuple[Rule, ...]:
    own, place, pooled = [], 0, group.get("pooled", SixConv.pooled)
    for i in range(6):
        own += rules.conv(f"features.{place}", f"{path}conv_{i}")
        place += 3 if i in pooled else 2  # convolution, ReLU, pooling
    return tuple(own)


def _vgg19(path: str, group: Any) -> tuple[Rule, ...]:
    del group
    own, place, i = [], 0, 0
    for depth in DEPTHS:
        for _ in range(depth):
            own += rules.conv(f"features.{place}", f"{path}conv_{i}")
            own += rules.batch_norm(f"features.{place + 1}", f"{path}norm_{i}")
            place, i = place + 3, i + 1  # convolution, norm, ReLU
        place += 1  # pooling
    return tuple(own)


def _resnet18(path: str, group: Any) -> tuple[Rule, ...]:
    del group
    there, here = "layer{i}.{j}", f"{path}layer_{{i}}_{{j}}"
    return (
        *rules.conv("conv1", f"{path}conv_1"),
        *rules.batch_norm("bn1", f"{path}norm_1"),
        *rules.conv(f"{there}.conv{{k}}", f"{here}/conv_{{k}}"),
        *rules.batch_norm(f"{there}.bn{{k}}", f"{here}/norm_{{k}}"),
        *rules.conv(f"{there}.shortcut.0", f"{here}/shortcut"),
        *rules.batch_norm(f"{there}.shortcut.1", f"{here}/shortcut_norm"),
    )


_EFFICIENTNETS = ("efficientnet_b1", "efficientnet_b4")
# Name of the output layer; and rules of the backbone below a path that ends in its slash, by
# config.model.backbone.
_BACKBONES: dict[str, tuple[str, Callable[[str, Any], tuple[Rule, ...]]]] = {
    "six_conv": ("classifier", _six_conv),
    "vgg19": ("classifier", _vgg19),
    "resnet18": ("linear", _resnet18),
}
# Those of torchvision's VGG-19, which is another, are classifier.0, 3 and 6.
_LAYERED = {f"{output}.2.weight" for output, _ in _BACKBONES.values()}
