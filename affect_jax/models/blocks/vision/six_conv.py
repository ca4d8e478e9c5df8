"""The small network of RLPS: six convolutions, four poolings.

Source: Li and Xu, "Deep reinforcement learning for robust emotional classification in facial
expression recognition", 2020, whose text gives the numbers of layers alone; widths and places of
the poolings are those usual for RAF-DB.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.vision.layers import convolution, halved, require_channels


class SixConv(nn.Module):
    """Convolutions of 3 x 3 with ReLU, and poolings of 2 x 2 behind some of them.

    Attributes:
        channels: of each convolution.
        pooled: numbers of the convolutions, from 0, with a pooling behind them.
        dtype: of the computation and result; parameters are float32.
    """

    channels: tuple[int, ...] = (64, 96, 128, 128, 256, 256)
    pooled: tuple[int, ...] = (0, 1, 3, 5)
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_channels(self.channels, 6)
        if not set(self.pooled) <= set(range(6)) or len(set(self.pooled)) < len(self.pooled):
            raise ValueError(f"pooled = {self.pooled}: expected numbers from 0 to 5, each once")

    @property
    def halvings(self) -> int:
        """How often the sides are halved."""
        return len(self.pooled)

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, train: bool = False) -> jax.Array:
        """[B, H, W, C] -> [B, D], what is left of height, width and channels, in this order.

        Nothing here depends on the other rows, nor on `train`.
        """
        del mask, train
        x = x.astype(self.dtype)
        for i, size in enumerate(self.channels):
            # Without norms between them, smaller weights would leave nothing of the differences
            # between pictures.
            start = nn.initializers.he_normal()
            x = convolution(x, size, 3, dtype=self.dtype, kernel_init=start, name=f"conv_{i}")
            x = nn.relu(x)
            x = halved(x) if i in self.pooled else x
        return x.reshape(len(x), -1)
