"""Batch normalisation over those entries of a batch that a mask lets count."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class BatchNorm(nn.Module):
    """Normalise each channel over all other axes; rows of filling and padding have no say.

    y = (x - mean) / sqrt(var + eps) * scale + bias, in training with the mean and the population
    variance of the batch, else with the running ones, which follow as

        running <- (1 - momentum) running + momentum batch,

    the variance with n - 1, as torch.nn.BatchNorm has it. A batch with less than two entries is
    normalised by the running statistics and leaves them as they are. All in float32, the variance
    in two passes; under jit, over the whole global batch.

    Attributes:
        momentum: share of a batch in the running statistics.
        eps: added to the variance.
    """

    momentum: float = 0.1
    eps: float = 1e-5

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, train: bool = False
    ) -> jax.Array:
        """(..., C) -> (..., C) in the same dtype, 0 where masked.

        Args:
            mask: bool over the first axes of x ([B], [B, T], ...), True where an entry counts; what
                stands elsewhere may be NaN. None: all count.
        """
        channels, axes = x.shape[-1], tuple(range(x.ndim - 1))
        scale = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)
        mean_ = self.variable("batch_stats", "mean", jnp.zeros, (channels,), jnp.float32)
        var_ = self.variable("batch_stats", "var", jnp.ones, (channels,), jnp.float32)
        mask = jnp.ones((), bool) if mask is None else mask
        mask = jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x.shape)
        values = jnp.where(mask, x.astype(jnp.float32), 0)
        mean, var = mean_.value, var_.value
        if train:
            n = mask[..., 0].sum(dtype=jnp.int32)
            batch_mean = values.sum(axes) / jnp.maximum(n, 1)
            squares = (jnp.where(mask, values - batch_mean, 0) ** 2).sum(axes)
            mean = jnp.where(n > 1, batch_mean, mean)
            var = jnp.where(n > 1, squares / jnp.maximum(n, 1), var)
            if not self.is_initializing():
                unbiased = jnp.where(n > 1, squares / jnp.maximum(n - 1, 1), var)
                mean_.value += self.momentum * (mean - mean_.value)
                var_.value += self.momentum * (unbiased - var_.value)
        y = (values - mean) * jax.lax.rsqrt(var + self.eps) * scale + bias
        return jnp.where(mask, y, 0).astype(x.dtype)
