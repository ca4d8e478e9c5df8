"""Convolutions over raw samples: 16 kHz sound in, a feature vector every 20 ms out."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.convolution import fast_in_scan, matrix_product
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.speech.config import SpeechConfig

gelu = functools.partial(nn.gelu, approximate=False)


class Convolution(nn.Module):
    """gelu(norm(convolution)), one of those that turn samples into frames, without padding.

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
        kernel, stride = config.conv_kernel[i], config.conv_stride[i]
        # The first has one channel: its windows are no matrix to speak of.
        on_gpu = matrix_product if i else None
        x = nn.Conv(
            config.conv_dim[i],
            (kernel,),
            (stride,),
            padding="VALID",
            use_bias=config.conv_bias,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            conv_general_dilated=fast_in_scan if jax.default_backend() == "cpu" else on_gpu,
            name="convolution",
        )(x_btc)
        if config.feat_extract_norm == "layer":
            x = layer_norm(1e-5, self.dtype, "norm")(x.astype(jnp.float32))
        elif i == 0:  # a group norm of one channel a group
            mask = None
            if samples_b is not None:
                mask = frame_mask((samples_b - kernel) // stride + 1, x.shape[1])[..., None]
            norm = layer_norm(1e-5, self.dtype, "norm", reduction_axes=1)
            x = norm(x.astype(jnp.float32), mask=mask)
        return gelu(x)


def frame_mask(frames_b: jax.Array, length: int) -> jax.Array:
    """bool (batch, length), True on the first `frames_b` frames of a row, at least on one."""
    return jnp.arange(length) < jnp.maximum(frames_b, 1)[:, None]
