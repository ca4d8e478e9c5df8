"""Relative positions in the attention of WavLM: buckets of distances, gated by the frame.

Source: Chen et al., "WavLM", arXiv 2110.13900, section 3.1; Chi et al., "XLM-E", arXiv 2106.16138.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.speech.config import SpeechConfig


def buckets(distance: np.ndarray, num_buckets: int, max_distance: int) -> np.ndarray:
    """int32 bucket of each distance (key minus query, in frames).

    Half of the buckets are for keys behind the query. Of each half, the first half holds one
    distance a bucket, the rest grows with the logarithm up to `max_distance`.
    """
    half, exact = num_buckets // 2, num_buckets // 4
    size = np.abs(distance)
    # In float32, as the weights were trained: a boundary decides a bucket.
    far = np.log(np.maximum(size, 1).astype(np.float32) / np.float32(exact))
    far = far / np.float32(math.log(max_distance / exact)) * np.float32(half - exact)
    far = np.minimum((np.float32(exact) + far).astype(np.int32), half - 1)
    return np.where(distance > 0, half, 0) + np.where(size < exact, size, far).astype(np.int32)


class RelativePositions(nn.Module):
    """Terms that the distance of two frames adds to their attention score, before the gate.

    Attributes:
        config: of the model.
    """

    config: SpeechConfig

    @nn.compact
    def __call__(self, time: int) -> jax.Array:
        """float32 (heads, time, time): queries, keys."""
        config = self.config
        embedding = self.param(
            "embedding",
            nn.initializers.normal(1.0),
            (config.num_buckets, config.num_attention_heads),
            jnp.float32,
        )
        distance = np.arange(1 - time, time)
        bucket = buckets(distance, config.num_buckets, config.max_bucket_distance)
        bias = jnp.take(embedding, bucket, axis=0)
        frame = jnp.arange(time)
        return jnp.moveaxis(bias[frame - frame[:, None] + time - 1], -1, 0)


class Gate(nn.Module):
    """A factor of the relative positions for each frame and head, from the frame itself.

    Attributes:
        heads: number of heads.
        init: of the linear layer.
    """

    heads: int
    init: nn.initializers.Initializer

    @nn.compact
    def __call__(self, x_bth: jax.Array) -> jax.Array:
        """(batch, time, hidden) -> float32 (batch, heads, time, 1)."""
        x = x_bth.reshape(*x_bth.shape[:2], self.heads, -1).astype(jnp.float32)
        u = nn.Dense(8, kernel_init=self.init, name="linear")(x)
        a, b = jnp.moveaxis(nn.sigmoid(u.reshape(*x.shape[:3], 2, 4).sum(-1)), -1, 0)
        scale = self.param("scale", nn.initializers.ones, (self.heads,), jnp.float32)
        return jnp.swapaxes(a * (b * scale - 1) + 2, 1, 2)[..., None]
