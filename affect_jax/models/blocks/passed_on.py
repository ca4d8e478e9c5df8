"""Encoder that passes the features on: what follows sees each frame by itself, as it is."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp


class PassedOn(nn.Module):
    """Encoder without parameters: a head alone is trained on the features.

    Attributes:
        dtype: of what is passed on.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, dim), and no carry."""
        del mask_bt, train
        return x_btd.astype(self.dtype), carry
