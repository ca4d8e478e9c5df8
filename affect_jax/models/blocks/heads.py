"""Heads: an encoder's output in, raw predictions of one task out."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate

# Every linear layer of the ABAW4 models starts so; biases start at 0 (its released code).
NORMAL = nn.initializers.normal(0.02)


class FCHead(nn.Module):
    """Fully connected head: dropout, then Linear-ReLU-dropout a width, then the output.

    The regressor and the classifier of ABAW4 differ in `size` alone.

    Attributes:
        size: number of outputs, raw.
        layers: widths of the hidden layers.
        dropout: rate, on the input and after every hidden layer.
        dtype: of the hidden layers; parameters and output are float32.
    """

    size: int
    layers: tuple[int, ...]
    dropout: float
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rate(self.dropout)

    @nn.compact
    def __call__(self, x_bth: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """(..., width) -> (float32 (..., size), last hidden activation (..., layers[-1]))."""
        x = Dropout(self.dropout, name="dropout")(x_bth.astype(self.dtype), train)
        for i, width in enumerate(self.layers):
            x = nn.Dense(width, dtype=self.dtype, kernel_init=NORMAL, name=f"hidden_{i}")(x)
            x = Dropout(self.dropout, name=f"dropout_{i}")(nn.relu(x), train)
        # In float32: bfloat16 has three digits, which metrics and the other tasks' logits need.
        out = nn.Dense(self.size, dtype=jnp.float32, kernel_init=NORMAL, name="out")(x)
        return out, x
