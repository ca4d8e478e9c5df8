"""Positions by a convolution over frames, wide and in groups."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.gelu import gelu
from affect_jax.models.blocks.speech.config import SpeechConfig


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

    It is a product of Fourier transforms. Those of the frames are products with matrices: a fast
    transform of a batch that is spread over devices would be done whole by each of them.

    Args:
        x_bth: (batch, time, hidden).
        kernel_kio: float32 (K, hidden / groups, hidden).
        groups: channels of a group come from those of the same group.

    Returns:
        (batch, time, hidden) in the dtype of `x_bth`.
    """
    taps, (batch, time, width) = len(kernel_kio), x_bth.shape
    size = scipy.fft.next_fast_len(time + taps - 1, real=True)
    exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    x, (cosine, sine) = x_bth.astype(jnp.float32), _waves(size, taps // 2, time)
    x = jax.lax.complex(exact("bth,tf->bfh", x, cosine), -exact("bth,tf->bfh", x, sine))
    x = x.reshape(batch, -1, groups, width // groups)
    kernel = jnp.fft.rfft(kernel_kio, size, axis=0)
    kernel = kernel.reshape(-1, width // groups, groups, width // groups)
    y = jnp.einsum("bfgi,figo->bfgo", x, kernel.conj()).reshape(batch, -1, width)
    # A real signal has each frequency twice, but for the first and, of an even size, the last.
    frequency = np.arange(size // 2 + 1)
    share = np.float32(np.where(2 * frequency % size, 2, 1) / size)
    cosine, sine = (share * wave for wave in _waves(size, 0, time))
    y = exact("bfh,tf->bth", y.real, cosine) - exact("bfh,tf->bth", y.imag, sine)
    return y.astype(x_bth.dtype)


def _waves(size: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines [count, size // 2 + 1] of the frequencies, at places from `first` on."""
    place, frequency = np.arange(first, first + count), np.arange(size // 2 + 1)
    angle = 2 * np.pi / size * (np.outer(place, frequency) % size)
    return np.float32(np.cos(angle)), np.float32(np.sin(angle))
