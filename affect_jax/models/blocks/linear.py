"""Linear layers that start as torch.nn.Linear does."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

# Uniform within +- 1 / sqrt(inputs).
KERNEL = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Linear(nn.Module):
    """x W + b, both uniform within +- 1 / sqrt(inputs) at first. Parameters as of nn.Dense.

    Attributes:
        size: number of outputs.
        dtype: of the computation and result; parameters are float32.
    """

    size: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., inputs) -> (..., size)."""
        inputs = x.shape[-1]

        def uniform(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
            return jax.random.uniform(key, shape, dtype, -(inputs**-0.5), inputs**-0.5)

        kernel = self.param("kernel", KERNEL, (inputs, self.size), jnp.float32)
        bias = self.param("bias", uniform, (self.size,), jnp.float32)
        return x.astype(self.dtype) @ kernel.astype(self.dtype) + bias.astype(self.dtype)
