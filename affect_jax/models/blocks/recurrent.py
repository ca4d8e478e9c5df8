"""Recurrent encoders over frames: LSTM and GRU, with the state handed from segment to segment."""

from __future__ import annotations

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks import cells
from affect_jax.models.blocks.cells import Cell
from affect_jax.models.blocks.dropout import Dropout, require_rate

Carry = dict[str, jax.Array]


class Recurrent(nn.Module):
    """Layers of one recurrent cell, dropout after each.

    Attributes:
        hidden: width H of a layer and direction.
        layers: one on top of the other.
        dropout: rate, after every layer, the last too.
        bidirectional: a second direction reads each segment backwards from its last unmasked frame,
            and the output is both side by side, 2H wide. It starts from nothing in every segment.
        dtype: of the products; parameters and states are float32.
    """

    hidden: int
    layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = False
    dtype: jnp.dtype = jnp.float32

    cell: ClassVar[Cell]

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rate(self.dropout)

    @nn.compact
    def __call__(
        self,
        x_btd: jax.Array,
        mask_bt: jax.Array,
        carry: Carry | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Carry]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, width), carry.

        Padding stands at the end of a row. The carry is the state at the row's last unmasked frame,
        {"h": .., "c": ..} of float32 (batch, layers, H), "c" in the LSTM alone; None is zeros.
        """
        batch = x_btd.shape[0]
        zeros = jnp.zeros((batch, self.hidden), jnp.float32)
        x, mask_tb = x_btd.swapaxes(0, 1).astype(self.dtype), mask_bt.T
        last = []
        for i in range(self.layers):
            state = tuple(zeros if carry is None else carry[k][:, i] for k in self.cell.states)
            outputs, state = self._direction(x, mask_tb, state, f"layer_{i}", reverse=False)
            last.append(state)
            if self.bidirectional:
                nothing = (zeros,) * len(state)
                back, _ = self._direction(x, mask_tb, nothing, f"layer_{i}_reverse", reverse=True)
                outputs = jnp.concatenate([outputs, back], axis=-1)
            x = Dropout(self.dropout, name=f"dropout_{i}")(outputs, train)
        stacked = (jnp.stack(arrays, axis=1) for arrays in zip(*last, strict=True))
        return x.swapaxes(0, 1), dict(zip(self.cell.states, stacked, strict=True))

    def _direction(self, x_tbd, mask_tb, state, name: str, *, reverse: bool):
        one = Direction(self.cell, self.hidden, reverse, self.dtype, name=name)
        return one(x_tbd, mask_tb, state)


class LSTM(Recurrent):
    """c' = sig(f) c + sig(i) tanh(g); h' = sig(o) tanh(c').

    Source: Gers, Schmidhuber and Cummins, Neural Computation 12(10), 2000.
    """

    cell = cells.LSTM


class GRU(Recurrent):
    """n = tanh(W x + b + r (U h + b')); h' = (1 - z) n + z h: the reset gate after the product.

    Source: Cho et al., EMNLP 2014, in the form that PyTorch and cuDNN have.
    """

    cell = cells.GRU


class Direction(nn.Module):
    """One layer in one direction: all frames to gates in one product, then the recurrence.

    Both biases of the original are kept, though only their sum is seen (in the LSTM): Adam moves
    each of them, and the sum twice as far as it would move a single one.
    """

    cell: Cell
    hidden: int
    reverse: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_tbd: jax.Array, mask_tb: jax.Array, state: cells.State
    ) -> tuple[jax.Array, cells.State]:
        """(time, batch, dim), bool (time, batch), state -> (time, batch, H), state."""
        width = self.cell.blocks * self.hidden

        def init(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            bound = self.hidden**-0.5
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        kernel = self.param("input_kernel", init, (x_tbd.shape[-1], width))
        bias = self.param("input_bias", init, (width,))
        recurrent = self.param("recurrent_kernel", init, (self.hidden, width))
        recurrent_bias = self.param("recurrent_bias", init, (width,))
        gates = jnp.dot(x_tbd, kernel.astype(self.dtype)) + bias.astype(self.dtype)
        outputs, state = cells.recurrence(
            self.cell,
            self.reverse,
            recurrent,
            recurrent_bias,
            gates.swapaxes(1, 2),
            mask_tb,
            tuple(x.T for x in state),
        )
        return outputs.swapaxes(1, 2), tuple(x.T for x in state)
