"""Layers of a speech transformer: norms behind attention and feed-forward, or in front."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.speech.config import SpeechConfig
from affect_jax.models.blocks.speech.convolutions import gelu
from affect_jax.models.blocks.speech.relative import Gate


class Attention(nn.Module):
    """Multi-head self-attention, with gated relative positions where there are any (WavLM).

    Attributes:
        config: of the model.
        dtype: of the computation; parameters and softmax are float32.
    """

    config: SpeechConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x_bth: jax.Array,
        mask_bt: jax.Array | None,
        relative_nqk: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """(batch, time, hidden) -> the same; masked frames are not attended to."""
        config = self.config
        heads, init = config.num_attention_heads, nn.initializers.normal(config.initializer_range)

        def dense(name: str) -> nn.Dense:
            return nn.Dense(config.hidden_size, dtype=self.dtype, kernel_init=init, name=name)

        q, k, v = (
            dense(name)(x_bth).reshape(*x_bth.shape[:2], heads, -1)
            for name in ("query", "key", "value")
        )
        bias = None
        if relative_nqk is not None:
            bias = Gate(heads, init, name="gate")(x_bth) * relative_nqk
        mask = None if mask_bt is None else mask_bt[:, None, None, :]
        if train and config.attention_dropout:
            score = jnp.einsum(
                "bqnd,bknd->bnqk", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32
            )
            score = score if bias is None else score + bias
            # A finite number: a row that is all masked stays finite.
            score = score if mask is None else jnp.where(mask, score, -1e30)
            weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
            weight = Dropout(config.attention_dropout, name="dropout")(weight, train)
            mixed = jnp.einsum("bnqk,bknd->bqnd", weight, v)
        else:
            mixed = jax.nn.dot_product_attention(q, k, v, bias, mask)
        return dense("out_projection")(mixed.reshape(x_bth.shape))


class Layer(nn.Module):
    """x + drop(attention(x)), then x + drop(W_2 drop(gelu(W_1 x))).

    The norm of either stands behind the sum, or, where `config.do_stable_layer_norm`, in front of
    attention or feed-forward alone.

    Attributes:
        config: of the model.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    config: SpeechConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x_bth: jax.Array,
        mask_bt: jax.Array | None,
        relative_nqk: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """(batch, time, hidden) -> the same."""
        config, x = self.config, x_bth
        before, init = config.do_stable_layer_norm, nn.initializers.normal(config.initializer_range)

        def norm(x: jax.Array, name: str) -> jax.Array:
            return layer_norm(config.layer_norm_eps, self.dtype, name)(x.astype(jnp.float32))

        def ffn(x: jax.Array) -> jax.Array:
            x = nn.Dense(
                config.intermediate_size, dtype=self.dtype, kernel_init=init, name="ffn_in"
            )(x)
            x = Dropout(config.activation_dropout, name="ffn_dropout")(gelu(x), train)
            return nn.Dense(config.hidden_size, dtype=self.dtype, kernel_init=init, name="ffn_out")(
                x
            )

        def attention(x: jax.Array) -> jax.Array:
            return Attention(config, self.dtype, name="attention")(x, mask_bt, relative_nqk, train)

        for part, name in ((attention, "attention"), (ffn, "ffn")):
            update = part(norm(x, f"{name}_norm") if before else x)
            x += Dropout(config.hidden_dropout, name=f"{name}_out_dropout")(update, train)
            x = x if before else norm(x, f"{name}_norm")
        return x
