"""Policy of the selector: states in, logits of retaining out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax


class Policy(nn.Module):
    """Dense layers with ReLU between; the last gives one logit z, and P(retain) = sigmoid(z).

    The last kernel starts at zero, so that every row starts with the same P(retain) whatever its
    feature. Log-probabilities are log_sigmoid(z) and log_sigmoid(-z), finite for any finite logit.

    Attributes:
        widths: of the hidden layers dense_0, dense_1, ...; () is the linear policy. The paper has
            five layers and gives no widths.
        first_rate: P(retain) at the start, between 0 and 1.

    Source: Li and Xu 2020, section 3 (RLPS).
    """

    widths: Sequence[int] = (128, 64, 32, 16)
    first_rate: float = 0.5

    @nn.compact
    def __call__(self, states: jax.Array) -> jax.Array:
        """Logits [...] of float states [..., 2D]: feature and mean of the retained features."""
        x = states
        for i, width in enumerate(self.widths):
            x = nn.relu(nn.Dense(width, name=f"dense_{i}")(x))
        first = math.log(self.first_rate / (1 - self.first_rate))
        last = nn.Dense(
            1,
            kernel_init=nn.initializers.zeros,
            bias_init=nn.initializers.constant(first),
            name=f"dense_{len(self.widths)}",
        )
        return last(x)[..., 0]
