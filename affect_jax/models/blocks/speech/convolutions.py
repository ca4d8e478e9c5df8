"""Convolutions over raw samples: 16 kHz sound in, a feature vector every 20 ms out."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.convolution import fast_in_scan, matrix_product, windows_of
from affect_jax.models.blocks.gelu import gelu
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.parameters import Parameters
from affect_jax.models.blocks.speech.config import SpeechConfig
from affect_jax.models.blocks.speech.normalised import normalised_convolution


class Convolution(nn.Module):
    """norm(convolution(gelu(x))), one of those that turn samples into frames, without padding.

    The first takes the samples themselves; who calls the last has its result go through a GELU.

    Attributes:
        config: of the model.
        index: which of `config.conv_dim`, from 0.
        dtype: of the computation; parameters and norms are float32.
    """

    config: SpeechConfig
    index: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_btc: jax.Array, samples_b: jax.Array | None = None) -> jax.Array:
        """(batch, time, channels) -> (batch, shorter time, conv_dim[index]).

        Args:
            x_btc: what the convolution before gives; sound (batch, samples, 1) for the first.
            samples_b: int, valid samples of each row, whose frames alone count in the group norm.
                None: all do, padding too.
        """
        config, i = self.config, self.index
        norm = None if config.feat_extract_norm == "group" and i else config.feat_extract_norm
        if norm == "group":
            return self._normalised_over_time(x_btc, samples_b)
        x, activation = x_btc, gelu if i else lambda x: x
        if jax.default_backend() == "cpu":
            form, x = fast_in_scan, activation(x)
        else:
            form = functools.partial(matrix_product, activation=activation)
        x = nn.Conv(
            config.conv_dim[i],
            (config.conv_kernel[i],),
            (config.conv_stride[i],),
            padding="VALID",
            use_bias=config.conv_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=form,
            name="convolution",
        )(x)
        if norm == "layer":
            x = layer_norm(1e-5, self.dtype, "norm")(x.astype(jnp.float32))
        return x

    def _normalised_over_time(self, x_bs1: jax.Array, samples_b: jax.Array | None) -> jax.Array:
        """The first convolution and a group norm of one channel a group."""
        config, channels = self.config, self.config.conv_dim[0]
        size, stride = config.conv_kernel[0], config.conv_stride[0]
        windows = windows_of(x_bs1, size, stride)
        weight = jnp.ones(windows.shape[:2])
        if samples_b is not None:
            frames = (samples_b - size) // stride + 1
            weight = frame_mask(frames, windows.shape[1]).astype(jnp.float32)
        init, ones, zeros = nn.initializers.he_normal(), nn.initializers.ones, nn.initializers.zeros
        shapes = {"kernel": (init, (size, 1, channels))}
        if config.conv_bias:  # in front of the norm it changes nothing
            shapes["bias"] = (zeros, (channels,))
        kernel = Parameters(shapes, name="convolution")()["kernel"][:, 0]
        shapes = {"scale": (ones, (channels,)), "bias": (zeros, (channels,))}
        norm = Parameters(shapes, name="norm")()
        return normalised_convolution(
            windows, kernel, norm["scale"], norm["bias"], weight / weight.sum(1, keepdims=True)
        )


def frame_mask(frames_b: jax.Array, length: int) -> jax.Array:
    """bool (batch, length), True on the first `frames_b` frames of a row, at least on one."""
    return jnp.arange(length) < jnp.maximum(frames_b, 1)[:, None]
