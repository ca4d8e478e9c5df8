"""Layer norm in float32, whatever the computation around it is in."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp


def layer_norm(eps: float, dtype: jnp.dtype, name: str, **axes: int) -> nn.LayerNorm:
    """A layer norm that takes float32 and gives `dtype`.

    Args:
        axes: reduction_axes, of flax.linen.LayerNorm.
    """
    # Two passes: flax's fast variance fails for large means.
    return nn.LayerNorm(epsilon=eps, use_fast_variance=False, dtype=dtype, name=name, **axes)
