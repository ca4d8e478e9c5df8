"""Transformer layers of team RAS: positions in every layer, on queries, keys and values.

Source: the released code of arXiv 2603.13056 (face, behaviour and cross-attention models).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks import pooling
from affect_jax.models.blocks.cross_attention import CrossAttention
from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.linear import Linear
from affect_jax.models.blocks.transformer import position_table
from data_pipelines.errors import UserError, nearest

POSITIONS = ("sinusoid", "none")
GATES = ("none", "bt", "bd", "t", "d")


class EncodedLayer(nn.Module):
    """One layer of queries, keys and values, each with the code of its positions:

    q, k, v = drop(q + p), drop(k + p), drop(v + p); x = norm_1(attention(q, k, v) + drop(q));
    out = norm_2(W_2 drop(gelu(W_1 x)) + drop(x)). Dropout acts on the residuals, and who calls
    this adds the result to the queries once more, or mixes both.

    Attributes:
        heads: of the attention; divides the width.
        ffn: width of the feed-forward block.
        dropout: one rate for positions, attention weights, feed-forward block and residuals. (The
            original has 0.1 on the positions, whatever the others are.)
        positions: one of POSITIONS; they start at 0 in every row.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    heads: int
    ffn: int
    dropout: float
    positions: str = "sinusoid"
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        q_bth: jax.Array,
        k_bsh: jax.Array,
        v_bsh: jax.Array,
        mask_bs: jax.Array,
        train: bool = False,
    ) -> jax.Array:
        """(batch, T, width), twice (batch, S, width), bool (batch, S) -> (batch, T, width).

        Keys that are not in the mask are not attended to. Queries have no mask: all are computed.
        """

        def drop(x: jax.Array, name: str) -> jax.Array:
            return Dropout(self.dropout, name=f"dropout_{name}")(x, train)

        def encoded(x: jax.Array, name: str) -> jax.Array:
            x = x.astype(self.dtype)
            if self.positions != "none":
                x += position_table(*x.shape[1:], self.positions).astype(self.dtype)
            return drop(x, name)

        def norm(x: jax.Array, name: str) -> jax.Array:
            return layer_norm(1e-5, self.dtype, name)(x.astype(jnp.float32))

        q, k, v = encoded(q_bth, "query"), encoded(k_bsh, "key"), encoded(v_bsh, "value")
        attention = CrossAttention(self.heads, self.dropout, self.dtype, name="attention")
        x = norm(attention(q, k, mask_bs, train, v) + drop(q, "attention"), "norm_1")
        hidden = Linear(self.ffn, self.dtype, name="linear_1")(x)
        hidden = drop(nn.gelu(hidden, approximate=False), "hidden")
        update = Linear(x.shape[-1], self.dtype, name="linear_2")(hidden)
        return norm(update + drop(x, "ffn"), "norm_2")


class Projection(nn.Module):
    """Linear, LayerNorm, dropout: what every model of team RAS does first with a stream.

    Attributes:
        hidden: width.
        dropout: rate.
        dtype: of the computation; parameters and norm are float32.
    """

    hidden: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """(..., dim) -> (..., hidden)."""
        x = Linear(self.hidden, self.dtype, name="linear")(x).astype(jnp.float32)
        x = layer_norm(1e-5, self.dtype, "norm")(x)
        return Dropout(self.dropout, name="dropout")(x, train)


class Dynamic(nn.Module):
    """Encoder "dynamic": a projection, then x = x + layer(x, x, x), or a gated mix of both.

    The face model of team RAS (VisualDynamicModel, without gate), and its transformer for behaviour
    (TransformerRegressor). With a gate, x = (1 - a) x + a layer(x, x, x).

    Attributes:
        hidden: width H.
        layers: number of layers.
        heads, ffn, dropout, positions, dtype: as of EncodedLayer; dropout of the projection too.
        gate: what a depends on. none: no gate; bt: sigmoid of a linear map of x, one for each frame
            of a row; bd: sigmoid of a linear map of the mean of x over the row's frames, one for
            each channel; t: a parameter for each place in a row; d: a parameter for each channel.
        longest: gate t: frames of the longest row, which is as many parameters.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    dropout: float
    positions: str = "sinusoid"
    gate: str = "none"
    longest: int = 0
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads < 1 or self.hidden % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide hidden = {self.hidden}.")
        for name, known in (("positions", POSITIONS), ("gate", GATES)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} = {value!r}: no such choice. {nearest(value, known)}")
        if (self.gate == "t") != (self.longest > 0):
            raise ValueError(
                f"longest = {self.longest}: gate 't' needs the frames of the longest row, and no "
                "other gate has a use for them."
            )
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), and no carry."""
        x = Projection(self.hidden, self.dropout, self.dtype, name="projection")(x_btd, train)
        for i in range(self.layers):
            layer = EncodedLayer(
                *(self.heads, self.ffn, self.dropout, self.positions, self.dtype),
                name=f"layer_{i}",
            )
            new = layer(x, x, x, mask_bt, train)
            share = None if self.gate == "none" else self._share(x, mask_bt, f"gate_{i}")
            x = x + new if share is None else (1 - share) * x + share * new
        return x, carry

    def _share(self, x: jax.Array, mask_bt: jax.Array, name: str) -> jax.Array:
        """The share of a layer's result in the mix, of a shape that fits (batch, time, hidden)."""
        xavier = nn.initializers.xavier_uniform()
        if self.gate in ("t", "d"):
            init, shape = nn.initializers.zeros, (self.hidden,)
            if self.gate == "t":
                init, shape = xavier, (self.longest, 1)
            own = self.param(name, init, shape, jnp.float32).astype(self.dtype)
            if self.gate == "t" and len(own) < x.shape[1]:
                raise UserError(
                    f"config.model.encoder.longest = {len(own)}: the rows have {x.shape[1]} frames."
                )
            return nn.sigmoid(own[: x.shape[1]] if self.gate == "t" else own)
        read = x if self.gate == "bt" else self.row_mean(x, mask_bt)[:, None]
        size = 1 if self.gate == "bt" else self.hidden
        gate = nn.Dense(size, use_bias=False, dtype=self.dtype, kernel_init=xavier, name=name)
        return nn.sigmoid(gate(read))

    def row_mean(self, x_bth: jax.Array, mask_bt: jax.Array) -> jax.Array:
        """(batch, hidden): the mean that gate bd reads, over the frames that exist."""
        return pooling.mean(x_bth, mask_bt)
