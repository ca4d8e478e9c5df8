"""Pooling into steps: the frames of a row in, one vector for each of a few steps out."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.linear import KERNEL, Linear
from data_pipelines.errors import UserError, nearest

# {kind: (frames are weighted by a small network, standard deviations stand beside the means)}
KINDS = {
    "mean": (False, False),
    "statistics": (False, True),
    "attention": (True, False),
    "attention_statistics": (True, True),
}
# Added to the variance: the root of 0 has no gradient.
VARIANCE_EPS = 1e-6


class StepPool(nn.Module):
    """One vector a step, from the valid frames of that step.

    Attributes:
        steps: number S of steps, which divide the row evenly (`cuts`).
        kind: "mean"; "statistics", mean and standard deviation side by side; "attention", the mean
            weighted by the softmax over the step of w tanh(W x_t + b); "attention_statistics",
            weighted mean and standard deviation (Okabe et al., Interspeech 2018).
        hidden: width of W, of the kinds with attention.
        dropout: rate behind the tanh.

    Source: the audio model of team RAS, released code of arXiv 2603.13056.
    """

    steps: int
    kind: str
    hidden: int = 0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in KINDS:
            raise ValueError(f"kind = {self.kind!r}: no such pooling. {nearest(self.kind, KINDS)}")
        require_rate(self.dropout)
        if KINDS[self.kind][0]:
            if self.hidden < 1:
                raise ValueError(f"hidden = {self.hidden}: expected 1 or more.")
        elif self.hidden or self.dropout:
            raise ValueError(f"{self.kind!r} has no network: leave hidden and dropout out.")

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, train: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """(batch, time, dim), bool (batch, time) -> float32 (batch, S, dim or 2 dim), bool.

        The second is (batch, S), steps with a valid frame. Others are 0; those of attention give
        their first frame instead, as the original's.

        Raises:
            UserError: a row has fewer frames than steps.
        """
        weighted, deviations = KINDS[self.kind]
        length = x_btd.shape[1]
        if length < self.steps:
            raise UserError(
                f"config.model.steps = {self.steps}: a row has {length} frames of sound. Take "
                "fewer, or longer rows."
            )
        border = cuts(length, self.steps)
        step_of = np.searchsorted(border, np.arange(length), side="right") - 1
        within = step_of == np.arange(self.steps)[:, None]
        mask_bst = mask_bt[:, None] & within
        there = mask_bst.any(-1)
        if weighted:
            first = np.arange(length) == border[:-1, None]
            mask_bst = mask_bst | (~there[..., None] & first)
        # Frames without weight may hold anything.
        x = jnp.where(mask_bst.any(1)[..., None], x_btd.astype(jnp.float32), 0)
        if weighted:
            weight = jax.nn.softmax(jnp.where(mask_bst, self._score(x, train)[:, None], -1e30), -1)
        else:
            weight = mask_bst / jnp.maximum(mask_bst.sum(-1, keepdims=True), 1)
        centre = jnp.einsum("bst,btd->bsd", weight, x)
        if not deviations:
            return centre, there
        squares = (x - centre[:, step_of]) ** 2
        variance = jnp.einsum("bst,btd->bsd", weight, squares)
        return jnp.concatenate([centre, jnp.sqrt(variance + VARIANCE_EPS)], -1), there

    def _score(self, x_btd: jax.Array, train: bool) -> jax.Array:
        x = jnp.tanh(Linear(self.hidden, name="hidden")(x_btd))
        x = Dropout(self.dropout, name="dropout")(x, train)
        score = nn.Dense(1, use_bias=False, kernel_init=KERNEL, name="score")
        return score(x)[..., 0]


def cuts(length: int, steps: int) -> np.ndarray:
    """int [steps + 1]: borders of the steps of `length` frames: i length / steps, half to even."""
    return np.rint(np.arange(steps + 1) * length / steps).astype(np.int64)
