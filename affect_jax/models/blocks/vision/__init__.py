"""Convolutional networks that make a vector of a picture: one of BACKBONES, by name.

Each is called as backbone(pictures [B, H, W, 3], mask [B], train) -> [B, D], and has `halvings`:
how often it halves the sides, so that a picture needs 2 ** halvings pixels a side.
"""

from __future__ import annotations

import flax.linen as nn

from affect_jax.models.blocks.vision.efficientnet import EfficientNetB1, EfficientNetB4
from affect_jax.models.blocks.vision.resnet import ResNet18
from affect_jax.models.blocks.vision.six_conv import SixConv
from affect_jax.models.blocks.vision.vgg import Vgg19

BACKBONES: dict[str, type[nn.Module]] = {
    "six_conv": SixConv,
    "vgg19": Vgg19,
    "resnet18": ResNet18,
    "efficientnet_b1": EfficientNetB1,
    "efficientnet_b4": EfficientNetB4,
}

__all__ = ["BACKBONES", "EfficientNetB1", "EfficientNetB4", "ResNet18", "SixConv", "Vgg19"]
