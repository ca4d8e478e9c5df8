"""VGG-19 with batch norms, as a public classifier of FER2013 has it.

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
recognition", ICLR 2015; github.com/WuJie1010/Facial-Expression-Recognition.Pytorch.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.vision.layers import convolution, halved, require_channels

DEPTHS = (2, 2, 4, 4, 4)  # convolutions of each stage


class Vgg19(nn.Module):
    """Five stages of convolutions of 3 x 3, each with a batch norm and ReLU; pooling of 2 x 2.

    Attributes:
        channels: of each stage.
        dtype: of the convolutions and the result; parameters and norms are float32.
    """

    channels: tuple[int, ...] = (64, 128, 256, 512, 512)
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_channels(self.channels, len(DEPTHS))

    @property
    def halvings(self) -> int:
        """How often the sides are halved."""
        return len(DEPTHS)

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, (H // 32) (W // 32) channels[-1]]; one pixel is left of 48 x 48."""
        x, i = x.astype(self.dtype), 0
        for depth, size in zip(DEPTHS, self.channels, strict=True):
            for _ in range(depth):
                x = convolution(x, size, 3, dtype=self.dtype, name=f"conv_{i}")
                x = nn.relu(BatchNorm(name=f"norm_{i}")(x, mask, train))
                i += 1
            x = halved(x)
        return x.reshape(len(x), -1)
