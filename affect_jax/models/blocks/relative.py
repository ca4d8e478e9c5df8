"""Encoder of relative attention and convolution over frames: the ABAW4 code calls it "fft".

No table of positions: attention scores and values depend on how far apart two frames are, inside a
window, and a convolution stands where the transformer has its feed-forward block.

Source: the released code of arXiv 2207.09373; relative terms of Shaw et al., "Self-attention with
relative position representations", 2018, equations 3 and 4.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.heads import NORMAL
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.transformer import join_heads, split_heads


def from_band(band: jax.Array) -> jax.Array:
    """(..., T, 2w+1) -> (..., T, T): entry o of row i goes to column i + o - w; 0 elsewhere.

    By padding and reshaping alone, so that neither a gather nor [T, T, width] is needed: in rows of
    length T + 2w, row i's band begins i columns further right than in rows of length T + 2w + 1.
    """
    *batch, time, offsets = band.shape
    window = offsets // 2
    flat = _pad(band, 0, time).reshape(*batch, time * (time + offsets))
    skewed = flat[..., : time * (time + offsets - 1)].reshape(*batch, time, time + offsets - 1)
    return skewed[..., window : window + time]


def to_band(square: jax.Array, window: int) -> jax.Array:
    """(..., T, T) -> (..., T, 2w+1), what `from_band` put there; 0 for columns outside [0, T)."""
    *batch, time, _ = square.shape
    flat = _pad(square, window, window).reshape(*batch, time * (time + 2 * window))
    skewed = _pad(flat, 0, time).reshape(*batch, time, time + 2 * window + 1)
    return skewed[..., : 2 * window + 1]


def _pad(x: jax.Array, before: int, after: int) -> jax.Array:
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(before, after)])


class RelativeAttention(nn.Module):
    """Multi-head self-attention whose scores and values know the distance of two frames.

    score(i, j) = q_i (k_j + K[j-i]) / sqrt(d), out_i = sum_j p(i, j) (v_j + V[j-i]), with learned
    K, V for |j - i| <= window (0 beyond), shared by the heads.

    Attributes:
        heads: number of heads, divides the width.
        window: largest distance with an embedding of its own, in frames.
        dropout: rate on the attention weights.
        dtype: of the computation; parameters and softmax are float32.
    """

    heads: int
    window: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array, mask_bt: jax.Array, train: bool) -> jax.Array:
        """(batch, time, width) -> the same; masked frames are not attended to."""
        width = x_bth.shape[-1]
        head = width // self.heads

        def dense(name: str) -> nn.Dense:
            return nn.Dense(width, dtype=self.dtype, kernel_init=NORMAL, name=name)

        def embedding(name: str) -> jax.Array:
            init = nn.initializers.normal(head**-0.5)
            return self.param(name, init, (2 * self.window + 1, head)).astype(self.dtype)

        # o counts the offsets -window .. window.
        q, k, v = (
            split_heads(dense(name)(x_bth), self.heads) for name in ("query", "key", "value")
        )
        q = q * head**-0.5
        score = jnp.einsum("bnqd,bnkd->bnqk", q, k, preferred_element_type=jnp.float32)
        near = jnp.einsum(
            "bnqd,od->bnqo", q, embedding("relative_key"), preferred_element_type=jnp.float32
        )
        # A finite number: a row that is all masked stays finite (it attends to all alike).
        score = jnp.where(mask_bt[:, None, None, :], score + from_band(near), -1e30)
        weight = jax.nn.softmax(score, axis=-1).astype(self.dtype)
        weight = Dropout(self.dropout, name="dropout")(weight, train)
        mixed = jnp.einsum("bnqk,bnkd->bnqd", weight, v)
        band = to_band(weight, self.window)
        mixed += jnp.einsum("bnqo,od->bnqd", band, embedding("relative_value"))
        return dense("out_projection")(join_heads(mixed))


class Layer(nn.Module):
    """x = norm_1(x + drop(attention(x))); x = norm_2(x + drop(relu(convolution(x)))).

    Attributes:
        heads, window, kernel, dropout, dtype: as in Relative.
    """

    heads: int
    window: int
    kernel: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array, mask_bt: jax.Array, train: bool) -> jax.Array:
        """(batch, time, width) -> the same; a convolution reads 0 where a frame is padding."""

        def drop(x: jax.Array, name: str) -> jax.Array:
            return Dropout(self.dropout, name=name)(x, train)

        def norm(x: jax.Array, name: str) -> jax.Array:
            return layer_norm(1e-4, self.dtype, name)(x.astype(jnp.float32))

        attention = RelativeAttention(
            self.heads, self.window, self.dropout, self.dtype, name="attention"
        )
        attended = attention(x_bth, mask_bt, train)
        x = norm(x_bth + drop(attended, "dropout_1"), "norm_1")
        convolve = nn.Conv(
            x.shape[-1], (self.kernel,), dtype=self.dtype, kernel_init=NORMAL, name="convolution"
        )
        update = nn.relu(convolve(jnp.where(mask_bt[..., None], x, 0)))
        return norm(x + drop(update, "dropout_2"), "norm_2")


class Relative(nn.Module):
    """Encoder "relative": projection, then layers of relative attention and convolution.

    Attributes:
        hidden: width H.
        layers: number of layers.
        heads: of the attention; divides `hidden`.
        dropout: one rate for attention weights and both residual branches. (The original fixes it
            at 0.1 and drops the convolution's output twice in a row.)
        window: largest distance between frames that attention tells apart.
        kernel: frames that a convolution reads; odd.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    hidden: int
    layers: int
    heads: int
    dropout: float
    window: int = 4
    kernel: int = 5
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide hidden = {self.hidden}.")
        if self.window < 0:
            raise ValueError(f"window = {self.window}: expected 0 or more frames.")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel = {self.kernel}: expected an odd number of frames.")
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), and no carry.

        Padded frames are exactly 0.
        """
        project = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=NORMAL, name="projection")
        x = project(x_btd.astype(self.dtype))
        for i in range(self.layers):
            layer = Layer(
                self.heads, self.window, self.kernel, self.dropout, self.dtype, name=f"layer_{i}"
            )
            x = layer(x, mask_bt, train)
        return jnp.where(mask_bt[..., None], x, 0), carry
