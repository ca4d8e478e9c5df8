"""Positions by a convolution over frames, wide and in groups."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import scipy.fft

from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.speech.config import SpeechConfig
from affect_jax.models.blocks.speech.convolutions import gelu


class Positions(nn.Module):
    """gelu(convolution(x)), which is added to the frames; frame t reads t - K/2 to t + K/2 - 1.

    The kernel is weight normalised: a direction and the length of each tap; or plain, behind a
    batch norm, where `config.conv_pos_batch_norm`.

    Attributes:
        config: of the model.
        dtype: of the computation; parameters are float32.
    """

    config: SpeechConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x_bth: jax.Array, mask_bt: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(batch, time, hidden) -> the same.

        Args:
            x_bth: frames.
            mask_bt: bool, the frames that count in the batch norm, which makes the others 0.
            train: the batch norm takes the batch's statistics.
        """
        config, width = self.config, x_bth.shape[-1]
        taps, groups = config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        shape = (taps, width // groups, width)
        init = nn.initializers.normal(2 * (taps * width) ** -0.5)
        if config.conv_pos_batch_norm:
            x_bth = BatchNorm(name="batch_norm")(x_bth, mask_bt, train)
            kernel = self.param("kernel", init, shape, jnp.float32)
        else:
            direction = self.param("direction", init, shape, jnp.float32)
            length = self.param("length", lambda _: tap_norms(direction))
            kernel = weight_normalised(direction, length)
        bias = self.param("bias", nn.initializers.zeros, (width,), jnp.float32)
        x = convolve(x_bth, kernel, groups) + bias.astype(self.dtype)
        return gelu(x)


def tap_norms(direction_kio: jax.Array) -> jax.Array:
    """(taps, in, out) -> (taps, 1, 1), the norm of each tap's matrix."""
    return jnp.sqrt((direction_kio**2).sum((1, 2), keepdims=True))


def weight_normalised(direction_kio: jax.Array, length_k11: jax.Array) -> jax.Array:
    """The kernel (taps, in, out) whose taps have these lengths (taps, 1, 1)."""
    return direction_kio * (length_k11 / tap_norms(direction_kio))


def convolve(x_bth: jax.Array, kernel_kio: jax.Array, groups: int) -> jax.Array:
    """Convolution in groups, padded so that K taps leave as many frames as come in.

    Args:
        x_bth: (batch, time, hidden).
        kernel_kio: float32 (K, hidden / groups, hidden).
        groups: channels of a group come from those of the same group.

    Returns:
        (batch, time, hidden) in the dtype of `x_bth`.
    """
    taps, before = len(kernel_kio), len(kernel_kio) // 2
    batch, time, width = x_bth.shape
    size = scipy.fft.next_fast_len(time + taps - 1, real=True)
    padded = jnp.pad(x_bth.astype(jnp.float32), ((0, 0), (before, 0), (0, 0)))
    x = jnp.fft.rfft(padded, size, axis=1).reshape(batch, -1, groups, width // groups)
    kernel = jnp.fft.rfft(kernel_kio, size, axis=0)
    kernel = kernel.reshape(-1, width // groups, groups, width // groups)
    y = jnp.einsum("bfgi,figo->bfgo", x, kernel.conj()).reshape(batch, -1, width)
    return jnp.fft.irfft(y, size, axis=1)[:, :time].astype(x_bth.dtype)
