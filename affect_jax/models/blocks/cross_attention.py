"""Attention of one sequence to another."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.linear import KERNEL
from affect_jax.models.blocks.transformer import attention_weights, join_heads, split_heads


class CrossAttention(nn.Module):
    """Multi-head attention of torch.nn.MultiheadAttention: queries from one sequence, keys from
    another of the same width, values from that or from a third.

    Attributes:
        heads: number of heads, divides the width.
        dropout: rate on the attention weights.
        dtype: of the computation; parameters and softmax are float32.
    """

    heads: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self,
        query_bth: jax.Array,
        x_bsh: jax.Array,
        mask_bs: jax.Array,
        train: bool,
        value_bsh: jax.Array | None = None,
    ) -> jax.Array:
        """(batch, T, width), (batch, S, width), bool (batch, S) -> (batch, T, width).

        `value_bsh` is read for the values, where they are not those of `x_bsh`.
        """
        project = _InProjection(self.dtype, name="in_projection")
        q, k, v = (split_heads(x, self.heads) for x in project(query_bth, x_bsh, value_bsh))
        weight = attention_weights(q, k, mask_bs).astype(self.dtype)
        weight = Dropout(self.dropout, name="dropout")(weight, train)
        mixed = join_heads(jnp.einsum("bnqk,bnkd->bnqd", weight, v))
        width = query_bth.shape[-1]
        return nn.Dense(width, dtype=self.dtype, kernel_init=KERNEL, name="out_projection")(mixed)


class _InProjection(nn.Module):
    """Queries, keys and values by one matrix [H, 3H], as of transformer.SelfAttention."""

    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, query_bth: jax.Array, x_bsh: jax.Array, value_bsh: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        width = x_bsh.shape[-1]
        # Xavier's bound, sqrt(6 / 4H), is that of the stacked original.
        init = nn.initializers.xavier_uniform()
        kernel = self.param("kernel", init, (width, 3 * width), jnp.float32).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (3 * width,), jnp.float32)
        bias = bias.astype(self.dtype)
        query = query_bth.astype(self.dtype) @ kernel[:, :width] + bias[:width]
        if value_bsh is None:
            both = x_bsh.astype(self.dtype) @ kernel[:, width:] + bias[width:]
            return query, *jnp.split(both, 2, axis=-1)
        key = x_bsh.astype(self.dtype) @ kernel[:, width : 2 * width] + bias[width : 2 * width]
        value = value_bsh.astype(self.dtype) @ kernel[:, 2 * width :] + bias[2 * width :]
        return query, key, value
