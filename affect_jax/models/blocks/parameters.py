"""Parameters alone, for functions of several layers at once."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp


class Parameters(nn.Module):
    """Parameters of a layer that is computed elsewhere, under the names that flax gives them.

    Attributes:
        shapes: {name: (initialiser, shape)}; all float32.
    """

    shapes: Mapping[str, tuple[jax.nn.initializers.Initializer, tuple[int, ...]]]

    @nn.compact
    def __call__(self) -> dict[str, jax.Array]:
        """{name: array}."""
        return {
            name: self.param(name, init, shape, jnp.float32)
            for name, (init, shape) in self.shapes.items()
        }
