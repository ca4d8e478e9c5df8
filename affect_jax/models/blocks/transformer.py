"""Transformer encoder over frames: post-norm layers, fixed positions, padding always masked."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.heads import NORMAL
from affect_jax.models.blocks.layer_norm import layer_norm
from data_pipelines.errors import nearest

POSITIONS = ("abaw4", "sinusoid", "none")


def position_table(rows: int, width: int, kind: str) -> np.ndarray:
    """float32 [rows, width]: sin(p / 10000^(2 floor(j/2) / width)) for even j, cos for odd.

    Computed in float64. The original's table ends at 512 rows; this one has no end.

    Args:
        rows: p = 0 .. rows - 1, counted from the first frame of a segment.
        width: j = 0 .. width - 1.
        kind: "sinusoid" (Vaswani et al., 2017, section 3.5), or "abaw4": the same with zeros in
            row 0, as weights of the original expect.
    """
    column = np.arange(width)
    angle = np.arange(rows)[:, None] / 10000.0 ** (2 * (column // 2) / width)
    table = np.where(column % 2 == 0, np.sin(angle), np.cos(angle))
    if kind == "abaw4":
        table[:1] = 0
    return table.astype(np.float32)


def split_heads(x_btc: jax.Array, heads: int) -> jax.Array:
    """(batch, time, heads * d) -> (batch, heads, time, d).

    Time next to d, so that every product below is one over plain matrices: with the heads between
    them attention takes nearly twice as long on a CPU.
    """
    # Heads are called n: h is the width.
    return jnp.swapaxes(x_btc.reshape(*x_btc.shape[:2], heads, -1), 1, 2)


def join_heads(x_bntd: jax.Array) -> jax.Array:
    """(batch, heads, time, d) -> (batch, time, heads * d)."""
    x_btnd = jnp.swapaxes(x_bntd, 1, 2)
    return x_btnd.reshape(*x_btnd.shape[:2], -1)


def attention_weights(q_bnqd: jax.Array, k_bnkd: jax.Array, mask_bk: jax.Array) -> jax.Array:
    """softmax(q k / sqrt(d)) over the unmasked keys: float32 (batch, heads, queries, keys)."""
    scaled = q_bnqd * q_bnqd.shape[-1] ** -0.5
    score = jnp.einsum("bnqd,bnkd->bnqk", scaled, k_bnkd, preferred_element_type=jnp.float32)
    # A finite number: a row that is all masked stays finite (it attends to all alike).
    return jax.nn.softmax(jnp.where(mask_bk[:, None, None, :], score, -1e30), axis=-1)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one fused projection to queries, keys and values.

    Attributes:
        heads: number of heads, divides the width.
        dropout: rate on the attention weights.
        dtype: of the computation; parameters and softmax are float32.
    """

    heads: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array, mask_bt: jax.Array, train: bool) -> jax.Array:
        """(batch, time, width) -> the same; masked frames are not attended to."""
        width = x_bth.shape[-1]
        # One matrix [H, 3H]: Xavier's bound, sqrt(6 / 4H), is that of the stacked original.
        project = nn.Dense(
            3 * width,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            name="in_projection",
        )
        q, k, v = (split_heads(x, self.heads) for x in jnp.split(project(x_bth), 3, axis=-1))
        weight = attention_weights(q, k, mask_bt).astype(self.dtype)
        weight = Dropout(self.dropout, name="dropout")(weight, train)
        mixed = join_heads(jnp.einsum("bnqk,bnkd->bnqd", weight, v))
        return nn.Dense(width, dtype=self.dtype, kernel_init=NORMAL, name="out_projection")(mixed)


class Layer(nn.Module):
    """x = norm_1(x + drop(attention(x))); x = norm_2(x + drop(W_2 drop(relu(W_1 x)))).

    Attributes:
        heads, ffn, dropout, dtype: as in Transformer.
    """

    heads: int
    ffn: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array, mask_bt: jax.Array, train: bool) -> jax.Array:
        """(batch, time, width) -> the same."""

        def drop(x: jax.Array, name: str) -> jax.Array:
            return Dropout(self.dropout, name=name)(x, train)

        def norm(x: jax.Array, name: str) -> jax.Array:
            return layer_norm(1e-5, self.dtype, name)(x.astype(jnp.float32))

        def dense(size: int, name: str) -> nn.Dense:
            return nn.Dense(size, dtype=self.dtype, kernel_init=NORMAL, name=name)

        attention = SelfAttention(self.heads, self.dropout, self.dtype, name="attention")
        attended = attention(x_bth, mask_bt, train)
        x = norm(x_bth + drop(attended, "dropout_1"), "norm_1")
        hidden = drop(nn.relu(dense(self.ffn, "linear_1")(x)), "dropout")
        update = dense(x.shape[-1], "linear_2")(hidden)
        return norm(x + drop(update, "dropout_2"), "norm_2")


class Transformer(nn.Module):
    """Encoder of the ABAW4 transformer models: projection, positions, layers; no final norm.

    Attributes:
        hidden: width H.
        layers: number of layers.
        heads: of the attention; divides `hidden`.
        ffn: width of the feed-forward blocks.
        dropout: one rate for attention weights, feed-forward blocks and both residual branches.
        positions: one of POSITIONS, added once to the projected frames. They start at 0 in every
            segment.
        project: map the inputs to `hidden` first; without, they have that width already.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    dropout: float
    positions: str
    project: bool = True
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide hidden = {self.hidden}.")
        if self.positions not in POSITIONS:
            raise ValueError(
                f"positions = {self.positions!r}: no such table. "
                + nearest(self.positions, POSITIONS)
            )
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), and no carry."""
        return self._encode(self._projected(x_btd), mask_bt, train), carry

    # What encoders built on this one call inside their own compact method: the parameters of the
    # parts that they share lie under the same names.

    def _projected(self, x_btd: jax.Array) -> jax.Array:
        x = x_btd.astype(self.dtype)
        if self.project:
            x = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=NORMAL, name="projection")(x)
        elif x.shape[-1] != self.hidden:
            raise ValueError(f"without projection: inputs {self.hidden} wide, got {x.shape}.")
        return x

    def _encode(self, x: jax.Array, mask_bt: jax.Array, train: bool) -> jax.Array:
        if self.positions != "none":
            x += position_table(x.shape[1], self.hidden, self.positions).astype(self.dtype)
        for i in range(self.layers):
            layer = Layer(self.heads, self.ffn, self.dropout, self.dtype, name=f"layer_{i}")
            x = layer(x, mask_bt, train)
        return x
