"""GELU of which the backward pass keeps the input alone."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x Phi(x), of any shape, with float32 inside and in the dtype of `x`.

    The gradient that JAX derives keeps the error function and a product, too: in bfloat16 a
    twentieth of what a training step of a speech transformer reads and writes.

    Source: Hendrycks and Gimpel, arXiv 1606.08415, section 2.
    """
    wide = x.astype(jnp.float32)
    return (wide * (0.5 + 0.5 * jax.lax.erf(math.sqrt(0.5) * wide))).astype(x.dtype)


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    return gelu(x), x


def _backward(x: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    wide = x.astype(jnp.float32)
    # Other signs than in the forward pass: of an expression that occurs twice XLA keeps the values.
    share = 0.5 - 0.5 * jax.lax.erf(-math.sqrt(0.5) * wide)
    density = jnp.exp(-0.5 * wide**2) / math.sqrt(2 * math.pi)
    return (((share + wide * density) * gradient.astype(jnp.float32)).astype(x.dtype),)


gelu.defvjp(_forward, _backward)
