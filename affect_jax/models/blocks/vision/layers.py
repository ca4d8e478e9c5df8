"""Layers that networks on pictures share."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.convolution import fast_in_scan
from affect_jax.models.blocks.linear import KERNEL


def convolution(
    x: jax.Array, size: int, window: int, stride: int = 1, groups: int = 1, **options: Any
) -> jax.Array:
    """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), size]: zeros around, window is odd.

    Starts as torch.nn.Conv2d does, weights and biases uniform within +- 1 / sqrt(inputs).

    Args:
        groups: of channels that are kept apart.
        options: of flax.linen.Conv: name, dtype, use_bias, kernel_init, bias_init.
    """
    bound = (window**2 * x.shape[-1] // groups) ** -0.5

    def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    options = {"kernel_init": KERNEL, "bias_init": uniform, **options}
    if groups == 1:
        options["conv_general_dilated"] = fast_in_scan
    return nn.Conv(
        size,
        (window, window),
        (stride, stride),
        [(window // 2, window // 2)] * 2,
        feature_group_count=groups,
        **options,
    )(x)


def halved(x: jax.Array) -> jax.Array:
    """Largest of each 2 x 2 pixels: [B, H, W, C] -> [B, H // 2, W // 2, C]."""
    rows, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    # The gradient of a pooling operation is a scatter, which is slow on a CPU; that of a maximum
    # over axes divides by the number of entries that equal it, none where XLA computes them anew.
    x = x.reshape(rows, height // 2, 2, width // 2, 2, channels)
    x = _larger(x[:, :, 0], x[:, :, 1])
    return _larger(x[:, :, :, 0], x[:, :, :, 1])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    """Larger of two, the first where they are equal; all of the gradient goes to that one."""
    return jnp.where(a >= b, a, b)


def require_channels(channels: tuple[int, ...], count: int) -> None:
    """ValueError unless these are `count` numbers of channels."""
    if len(channels) != count or min(channels, default=0) < 1:
        raise ValueError(f"channels = {channels}: expected {count} numbers from 1 on")
