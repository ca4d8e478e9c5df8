"""Multi-task structures: what stands between the shared encoder and each task's predictions.

A structure is a function that a family calls inside its own compact method. The networks that it
makes are named after the tasks and lie beside the encoder, as first keys of the parameters: the
sub-networks that gradients are clipped by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax


class TaskNetwork(nn.Module):
    """The sub-network of one task; its head is "head" in every structure.

    Attributes:
        make_head: called with name=.
    """

    make_head: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x_bth: jax.Array, train: bool) -> jax.Array:
        """(batch, time, width) -> raw (batch, time, size)."""
        raw, _ = self.make_head(name="head")(x_bth, train)
        return raw


def share_encoder(
    x_bth: jax.Array,
    valid_bt: jax.Array,
    train: bool,
    heads: Mapping[str, Callable[..., nn.Module]],
) -> dict[str, jax.Array]:
    """SE: every head reads the encoder's output.

    Args:
        x_bth: encoder output (batch, time, width).
        valid_bt: frames that exist; SE treats each frame alone and does not look at it.
        train: dropout on.
        heads: {task: makes its head}.

    Returns:
        {task: raw (batch, time, size)}.

    Source: arXiv 2207.09373, equations 7 and 8.
    """
    del valid_bt
    return {task: TaskNetwork(make, name=task)(x_bth, train) for task, make in heads.items()}


# Names that config.model.structure may have.
STRUCTURES = {"se": share_encoder}
