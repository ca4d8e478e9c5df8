"""Encoder of moving averages: means over fixed windows, then one projection for all of them.

The least that sees context: what it says of a frame is linear in the frames around it, like a ridge
regression on smoothed features, but all tasks share the projection.

Source: ours. Neither ABAW3 nor ABAW4 has it.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.heads import NORMAL

Window = tuple[int, int]
LONGEST = 10**9  # frames to a side: all of them, and still an int32


def window_means(x_btd: jax.Array, mask_bt: jax.Array, windows: tuple[Window, ...]) -> jax.Array:
    """Means over the unmasked frames of each window: (batch, time, len(windows) * dim).

    mean_t = sum of x_u / number of u, over the unmasked frames u of the row with
    first <= u - t <= last; 0 where there is none. Sums are taken window by window: no frame beyond
    one can spoil its digits.

    Args:
        x_btd: float (batch, time, dim).
        mask_bt: bool (batch, time); what stands in other frames is not looked at.
        windows: (first, last) in frames after the frame, both included; before it they are
            negative.
    """
    time = jnp.arange(x_btd.shape[1])
    after_qt = time - time[:, None]  # of the frames t, seen from the frame q
    inside_kqt = jnp.stack(
        [(first <= after_qt) & (after_qt <= last) for first, last in windows]
    ).astype(x_btd.dtype)
    x_btd = jnp.where(mask_bt[..., None], x_btd, 0)
    sums_bqkd = jnp.einsum("kqt,btd->bqkd", inside_kqt, x_btd)
    counts_bqk = jnp.einsum("kqt,bt->bqk", inside_kqt, mask_bt.astype(x_btd.dtype))
    means_bqkd = sums_bqkd / jnp.maximum(counts_bqk, 1)[..., None]
    return means_bqkd.reshape(*x_btd.shape[:2], -1)


class Averages(nn.Module):
    """W drop(means over the windows): linear, with no state and no end of a row but its own.

    Rows should be several windows long, or overlap (config.data.hop): at its ends a row averages
    what it has.

    Attributes:
        hidden: width H of the output.
        windows: see `window_means`; each has the frame itself (first <= 0 <= last).
        dropout: rate on the means.
        dtype: of the projection; parameters and means are float32.
    """

    hidden: int
    windows: tuple[Window, ...]
    dropout: float
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rate(self.dropout)
        for window in self.windows:
            pair = isinstance(window, tuple | list) and len(window) == 2
            if not (pair and all(type(end) is int and abs(end) < LONGEST for end in window)):
                raise ValueError(
                    f"windows: {window!r:.99} is no pair (first, last) of whole numbers of less "
                    f"than {LONGEST} frames."
                )
            if not window[0] <= 0 <= window[1]:
                raise ValueError(f"windows: {window!r} has not the frame itself, number 0, in it.")
        if not self.windows:
            raise ValueError("windows is empty: name at least one, ((-8, 8),).")

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: None = None, train: bool = False
    ) -> tuple[jax.Array, None]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), None."""
        x_btd = x_btd.astype(jnp.promote_types(x_btd.dtype, jnp.float32))
        means = window_means(x_btd, mask_bt, self.windows)
        means = Dropout(self.dropout, name="dropout")(means.astype(self.dtype), train)
        project = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=NORMAL, name="projection")
        return project(means), carry
