"""Layers of a speech transformer: norms behind attention and feed-forward, or in front."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.gelu import gelu
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.speech.attention import Attention
from affect_jax.models.blocks.speech.config import SpeechConfig


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
