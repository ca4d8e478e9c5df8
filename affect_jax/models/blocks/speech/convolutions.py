"""Convolutions over raw samples: 16 kHz sound in, a feature vector every 20 ms out."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.speech.config import SpeechConfig

gelu = functools.partial(nn.gelu, approximate=False)


class Convolutions(nn.Module):
    """gelu(norm(convolution)) for each entry of `config.conv_dim`, without padding.

    Attributes:
        config: of the model.
        dtype: of the computation; parameters and norms are float32.
    """

    config: SpeechConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, audio_bs: jax.Array, samples_b: jax.Array | None = None) -> jax.Array:
        """(batch, samples) -> (batch, frames, conv_dim[-1]).

        Args:
            audio_bs: sound in [-1, 1].
            samples_b: int, valid samples of each row, whose frames alone count in the group norm.
                None: all do, padding too.
        """
        config, x = self.config, audio_bs[..., None].astype(self.dtype)
        for i, width in enumerate(config.conv_dim):
            x = nn.Conv(
                width,
                config.conv_kernel[i : i + 1],
                config.conv_stride[i : i + 1],
                padding="VALID",
                use_bias=config.conv_bias,
                dtype=self.dtype,
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{i}",
            )(x)
            if config.feat_extract_norm == "layer":
                x = layer_norm(1e-5, self.dtype, f"conv_{i}_norm")(x.astype(jnp.float32))
            elif i == 0:
                x = self._over_time(x, samples_b)
            x = gelu(x)
        return x

    def _over_time(self, x_btc: jax.Array, samples_b: jax.Array | None) -> jax.Array:
        """A group norm of one channel a group."""
        mask = None
        if samples_b is not None:
            frames = (samples_b - self.config.conv_kernel[0]) // self.config.conv_stride[0] + 1
            mask = frame_mask(frames, x_btc.shape[1])[..., None]
        norm = layer_norm(1e-5, self.dtype, "conv_0_norm", reduction_axes=1)
        return norm(x_btc.astype(jnp.float32), mask=mask)


def frame_mask(frames_b: jax.Array, length: int) -> jax.Array:
    """bool (batch, length), True on the first `frames_b` frames of a row, at least on one."""
    return jnp.arange(length) < jnp.maximum(frames_b, 1)[:, None]


def layer_norm(eps: float, dtype: jnp.dtype, name: str, **axes: int) -> nn.LayerNorm:
    """A layer norm that takes float32 and gives `dtype`."""
    # Two passes: flax's fast variance fails for large means.
    return nn.LayerNorm(epsilon=eps, use_fast_variance=False, dtype=dtype, name=name, **axes)
