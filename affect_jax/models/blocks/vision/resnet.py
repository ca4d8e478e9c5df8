"""ResNet-18 for small pictures, as a public classifier of FER2013 has it.

Source: He et al., "Deep residual learning for image recognition", CVPR 2016;
github.com/WuJie1010/Facial-Expression-Recognition.Pytorch.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.vision.layers import convolution, require_channels

BLOCKS = 2  # of each stage


class BasicBlock(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, which has one of 1 x 1 where the shape changes.

    Attributes:
        size: channels.
        stride: of the first convolution and the shortcut.
        dtype: of the convolutions and the result.
    """

    size: int
    stride: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """[B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), size]."""
        options = dict(dtype=self.dtype, use_bias=False)
        y = convolution(x, self.size, 3, self.stride, name="conv_1", **options)
        y = nn.relu(BatchNorm(name="norm_1")(y, mask, train))
        y = convolution(y, self.size, 3, name="conv_2", **options)
        y = BatchNorm(name="norm_2")(y, mask, train)
        if x.shape != y.shape:
            x = convolution(x, self.size, 1, self.stride, name="shortcut", **options)
            x = BatchNorm(name="shortcut_norm")(x, mask, train)
        return nn.relu(x + y)


class ResNet18(nn.Module):
    """A convolution of 3 x 3, four stages of two blocks, mean over all positions.

    No pooling comes before the stages; the later three begin with stride 2.

    Attributes:
        channels: of each stage.
        dtype: of the convolutions; parameters, norms and the result are float32.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512)
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_channels(self.channels, 4)

    @property
    def halvings(self) -> int:
        """How often the sides are halved."""
        return len(self.channels) - 1

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, channels[-1]]."""
        options = dict(dtype=self.dtype, use_bias=False)
        x = convolution(x.astype(self.dtype), self.channels[0], 3, name="conv_1", **options)
        x = nn.relu(BatchNorm(name="norm_1")(x, mask, train))
        for i, size in enumerate(self.channels, 1):
            for j in range(BLOCKS):
                stride = 2 if i > 1 and j == 0 else 1
                x = BasicBlock(size, stride, self.dtype, name=f"layer_{i}_{j}")(x, mask, train)
        return x.astype(jnp.float32).mean((1, 2))
