"""Self-attention of a speech transformer."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.parameters import Parameters
from affect_jax.models.blocks.speech.config import SpeechConfig
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
        time, width = x_bth.shape[1:]
        rows = _rows(time)
        shapes = {
            "kernel": (init, (width, config.hidden_size)),
            "bias": (nn.initializers.zeros, (config.hidden_size,)),
        }
        # One product in place of three, with one gradient by its input; scores are scaled in it.
        layers = {name: Parameters(shapes, name=name)() for name in ("query", "key", "value")}
        scale = {"query": (config.hidden_size // heads) ** -0.5, "key": 1, "value": 1}
        kernel, shift = (
            jnp.concatenate([scale[name] * layers[name][part] for name in layers], -1)
            for part in ("kernel", "bias")
        )
        qkv = _padded(x_bth, rows, axis=1).astype(self.dtype) @ kernel.astype(self.dtype)
        qkv += shift.astype(self.dtype)
        q, k, v = jnp.moveaxis(qkv.reshape(len(x_bth), rows, 3, heads, -1), 2, 0)
        bias = None
        if relative_nqk is not None:
            bias = Gate(heads, init, name="gate")(x_bth) * relative_nqk
            bias = _padded(_padded(bias, rows, axis=2), rows, axis=3)
        if rows > time and mask_bt is None:
            mask_bt = jnp.ones((1, time), bool)
        mask = None if mask_bt is None else _padded(mask_bt, rows, axis=1)[:, None, None, :]
        if train and config.attention_dropout:
            score = _scores(q, k)
            score = score if bias is None else score + bias
            # A finite number: a row that is all masked stays finite.
            score = score if mask is None else jnp.where(mask, score, -1e30)
            weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
            weight = Dropout(config.attention_dropout, name="dropout")(weight, train)
            mixed = jnp.einsum("bnqk,bknd->bqnd", weight, v)
        else:
            mixed = jax.nn.dot_product_attention(q, k, v, bias, mask, scale=1.0)
        mixed = mixed[:, :time].reshape(x_bth.shape)
        return nn.Dense(
            config.hidden_size, dtype=self.dtype, kernel_init=init, name="out_projection"
        )(mixed)


@jax.custom_vjp
def _scores(q_bqnd: jax.Array, k_bknd: jax.Array) -> jax.Array:
    """q k^T, float32 (batch, heads, queries, keys). Gradients are products in the dtype of q."""
    return jnp.einsum("bqnd,bknd->bnqk", q_bqnd, k_bknd, preferred_element_type=jnp.float32)


def _scores_forward(q: jax.Array, k: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _scores(q, k), (q, k)


def _scores_backward(
    saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    (q, k), gradient = saved, gradient.astype(saved[0].dtype)
    of_q = jnp.einsum("bnqk,bknd->bqnd", gradient, k)
    return of_q, jnp.einsum("bnqk,bqnd->bknd", gradient, q)


_scores.defvjp(_scores_forward, _scores_backward)


def _rows(time: int) -> int:
    """Frames that attention computes: a multiple of 8 but on a CPU.

    A GPU multiplies no other matrices of bfloat16 fast; XLA would copy each into a larger one.
    """
    return time if jax.default_backend() == "cpu" else -(-time // 8) * 8


def _padded(x: jax.Array, size: int, axis: int) -> jax.Array:
    """Zeros, or False, behind an axis."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, size - x.shape[axis])
    return jnp.pad(x, widths)
