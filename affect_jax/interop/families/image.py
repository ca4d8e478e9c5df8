"""The family "image": VGG-19 and ResNet-18 of a public classifier of FER2013.

Source of the names: github.com/WuJie1010/Facial-Expression-Recognition.Pytorch. torchvision's
VGG-19 with batch norms has the same names of convolutions.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, rules
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.vision.vgg import DEPTHS
from data_pipelines.errors import UserError


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file. UserError where there is none, or it is damaged."""
    del model
    return files.load(path)


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules of backbone and output layer.

    The original has one output layer, on the backbone: where ours reads a layer of features, or
    there are several tasks, the output layers are as drawn.

    Raises:
        UserError: the backbone has no original.
    """
    del state_dict
    return _whole(model, tasks)


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original's model. UserError where the original has no such model."""
    return rules.to_original(_whole(model, tasks), variables)


def _whole(model: Any, tasks: Sequence[str]) -> Table:
    name = model.backbone.name
    if name not in _BACKBONES:
        raise UserError(f"config.model.backbone.name = {name!r}: no original of it is known.")
    output, backbone = _BACKBONES[name]
    own = backbone("backbone/")
    if not model.feature and len(tasks) == 1:
        own += rules.linear(output, f"task_{tasks[0]}")
    return Table(own)


def _vgg19(path: str) -> tuple[Rule, ...]:
    own, place, i = [], 0, 0
    for depth in DEPTHS:
        for _ in range(depth):
            own += rules.conv(f"features.{place}", f"{path}conv_{i}")
            own += rules.batch_norm(f"features.{place + 1}", f"{path}norm_{i}")
            place, i = place + 3, i + 1  # convolution, norm, ReLU
        place += 1  # pooling
    return tuple(own)


def _resnet18(path: str) -> tuple[Rule, ...]:
    there, here = "layer{i}.{j}", f"{path}layer_{{i}}_{{j}}"
    return (
        *rules.conv("conv1", f"{path}conv_1"),
        *rules.batch_norm("bn1", f"{path}norm_1"),
        *rules.conv(f"{there}.conv{{k}}", f"{here}/conv_{{k}}"),
        *rules.batch_norm(f"{there}.bn{{k}}", f"{here}/norm_{{k}}"),
        *rules.conv(f"{there}.shortcut.0", f"{here}/shortcut"),
        *rules.batch_norm(f"{there}.shortcut.1", f"{here}/shortcut_norm"),
    )


# Name of the output layer, and rules of the backbone below a path that ends in its slash.
_BACKBONES: dict[str, tuple[str, Callable[[str], tuple[Rule, ...]]]] = {
    "vgg19": ("classifier", _vgg19),
    "resnet18": ("linear", _resnet18),
}
