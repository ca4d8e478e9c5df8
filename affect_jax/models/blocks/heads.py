"""Heads: an encoder's output in, raw predictions of one task out."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.linear import Linear
from data_pipelines.errors import nearest

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


NORMS = ("hidden", "input", "none")  # of NormHead


class NormHead(nn.Module):
    """Head with one hidden layer and a layer norm, as all models of team RAS have it.

    norm "hidden": Linear, LayerNorm, GELU, dropout, Linear (its face, behaviour and cross-attention
    models). norm "input": LayerNorm, dropout, Linear, GELU, dropout, Linear (its audio model, and
    RAAV without the first dropout). norm "none": Linear, GELU, dropout, Linear (its text encoder).

    Attributes:
        size: number of outputs, raw.
        hidden: width of the hidden layer; 0: the last linear layer alone.
        dropout: rate behind the hidden layer.
        norm: one of NORMS.
        input_dropout: rate on what the first linear layer reads.
        dtype: of the hidden layer; parameters, norm and output are float32.

    Source: the released code of arXiv 2603.13056. All linear layers start as PyTorch's.
    """

    size: int
    hidden: int
    dropout: float
    norm: str = "hidden"
    input_dropout: float = 0.0
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in NORMS:
            raise ValueError(f"norm = {self.norm!r}: no such norm. {nearest(self.norm, NORMS)}")
        if self.hidden < 0:
            raise ValueError(f"hidden = {self.hidden}: expected a width, or 0 for none.")
        for rate in (self.dropout, self.input_dropout):
            require_rate(rate)

    @nn.compact
    def __call__(self, x_bth: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
        """(..., width) -> (float32 (..., size), what the last layer reads (..., hidden))."""
        norm = layer_norm(1e-5, jnp.float32, "norm")
        x = x_bth
        if self.hidden:
            x = norm(x.astype(jnp.float32)) if self.norm == "input" else x
            x = Dropout(self.input_dropout, name="input_dropout")(x, train)
            x = Linear(self.hidden, self.dtype, name="hidden")(x)
            x = norm(x.astype(jnp.float32)) if self.norm == "hidden" else x
            x = nn.gelu(x.astype(self.dtype), approximate=False)
            x = Dropout(self.dropout, name="dropout")(x, train)
        # In float32: bfloat16 has three digits, which metrics need.
        return Linear(self.size, name="out")(x.astype(jnp.float32)), x


# Names that config.model.head.name may have; the other keys are the fields.
HEADS = {"fc": FCHead, "norm": NormHead}
