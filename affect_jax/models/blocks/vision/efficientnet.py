"""EfficientNet B1 and B4, as torchvision has them and the face branch of team RAS reads them.

Source: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks",
ICML 2019; torchvision 0.29, without its stochastic depth in training.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.vision.layers import convolution, require_channels

SQUEEZE = 4  # channels of a block for each of its squeezed ones
_START = {
    "kernel_init": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    "bias_init": nn.initializers.zeros,
}


class Normed(nn.Module):
    """A convolution without bias, a batch norm, and SiLU where `active`.

    Attributes:
        size: channels.
        window: odd, of the convolution.
        stride: of the convolution.
        groups: of channels that the convolution keeps apart.
        active: SiLU follows.
        dtype: of the convolution and the result.
    """

    size: int
    window: int = 1
    stride: int = 1
    groups: int = 1
    active: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), size]."""
        options = dict(_START, dtype=self.dtype, use_bias=False, groups=self.groups, name="conv")
        x = convolution(x, self.size, self.window, self.stride, **options)
        x = BatchNorm(name="norm")(x, mask, train)
        return nn.silu(x) if self.active else x


class MBConv(nn.Module):
    """A block: widen, convolve each channel by itself, weigh the channels, narrow.

    It is added to its input where the shapes are equal.

    Attributes:
        expand: factor on the channels in between; 1: they are not widened.
        window, stride: of the convolution in between.
        size: channels that come out.
        dtype: of the convolutions and the result.
    """

    expand: int
    window: int
    stride: int
    size: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), size]."""
        channels = x.shape[-1]
        wide, options = channels * self.expand, dict(dtype=self.dtype)
        y = x
        if self.expand > 1:
            y = Normed(wide, name="expand", **options)(y, mask, train)
        depth = Normed(wide, self.window, self.stride, wide, name="depthwise", **options)
        y = depth(y, mask, train)
        weight = y.mean((1, 2), keepdims=True)
        squeezed = max(1, channels // SQUEEZE)
        weight = nn.silu(convolution(weight, squeezed, 1, name="squeeze", **_START, **options))
        weight = nn.sigmoid(convolution(weight, wide, 1, name="excite", **_START, **options))
        y = y * weight
        y = Normed(self.size, active=False, name="project", **options)(y, mask, train)
        return x + y if x.shape == y.shape and self.stride == 1 else y


class EfficientNetB1(nn.Module):
    """A convolution, stages of blocks, a convolution of 1 x 1, mean over all positions.

    Attributes:
        stem: channels of the first convolution.
        stages: (factor on the channels, window, stride, channels, blocks) of each. The first block
            has the stride, and the channels change there.
        last: channels of the last convolution.
        dtype: of the convolutions; parameters, norms and the result are float32.
    """

    stem: int = 32
    stages: tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 16, 2),
        (6, 3, 2, 24, 3),
        (6, 5, 2, 40, 3),
        (6, 3, 2, 80, 4),
        (6, 5, 1, 112, 4),
        (6, 5, 2, 192, 5),
        (6, 3, 1, 320, 2),
    )
    last: int = 1280
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_channels((self.stem, self.last), 2)
        if not self.stages:
            raise ValueError("stages = (): expected one or more")
        for stage in self.stages:
            if len(stage) != 5 or min(stage) < 1 or not stage[1] % 2:
                raise ValueError(
                    f"stages: {stage} is no (factor on the channels, odd window, stride, channels, "
                    "blocks), all from 1 on"
                )

    @property
    def halvings(self) -> int:
        """How often the sides are halved."""
        return 1 + sum(stride > 1 for _, _, stride, _, _ in self.stages)

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, last]."""
        options = dict(dtype=self.dtype)
        x = Normed(self.stem, 3, 2, name="stem", **options)(x.astype(self.dtype), mask, train)
        for i, (expand, window, stride, size, blocks) in enumerate(self.stages, 1):
            for j in range(blocks):
                step = stride if j == 0 else 1
                block = MBConv(expand, window, step, size, name=f"stage_{i}_{j}", **options)
                x = block(x, mask, train)
        x = Normed(self.last, name="last", **options)(x, mask, train)
        return x.astype(jnp.float32).mean((1, 2))


class EfficientNetB4(EfficientNetB1):
    """The wider and deeper one, for pictures of 380 x 380."""

    stem: int = 48
    stages: tuple[tuple[int, ...], ...] = (
        (1, 3, 1, 24, 2),
        (6, 3, 2, 32, 4),
        (6, 5, 2, 56, 4),
        (6, 3, 2, 112, 6),
        (6, 5, 1, 160, 6),
        (6, 5, 2, 272, 8),
        (6, 3, 1, 448, 2),
    )
    last: int = 1792
