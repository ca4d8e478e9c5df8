"""ABAW4: the LSTM and GRU encoders, segment after segment.

In the original the backward direction of a segment goes on from the end of the one before it, which
lies in the past; here, from outside, from two layers of ours.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import interop
from affect_jax.models.blocks import cells
from affect_jax.models.blocks.recurrent import GRU, LSTM, Carry, Direction
from tests.golden.adapters.weights import params_of
from tests.golden.fixture import Answer, Fixture, adapter

CELLS = {"lstm": cells.LSTM, "gru": cells.GRU}
KINDS = {"lstm": LSTM, "gru": GRU}


class BothWays(nn.Module):
    """Two directions that both carry: state (batch, 2 * layers, H), each layer's backward one next.

    Attributes:
        cell: key of CELLS.
        hidden, layers: as in ours.
    """

    cell: str
    hidden: int
    layers: int = 1

    @nn.compact
    def __call__(
        self, x_btd: jax.Array, mask_bt: jax.Array, carry: Carry | None = None, train: bool = False
    ) -> tuple[jax.Array, Carry]:
        cell, x, last = CELLS[self.cell], x_btd.swapaxes(0, 1), []
        zeros = jnp.zeros((x_btd.shape[0], self.hidden))
        for i in range(self.layers):
            outputs = []
            for k, end in enumerate(("", "_reverse")):
                one = Direction(cell, self.hidden, bool(k), jnp.float32, name=f"layer_{i}{end}")
                state = (zeros if carry is None else carry[n][:, 2 * i + k] for n in cell.states)
                output, state = one(x, mask_bt.T, tuple(state))
                outputs.append(output)
                last.append(state)
            x = jnp.concatenate(outputs, axis=-1)
        stacked = (jnp.stack(arrays, axis=1) for arrays in zip(*last, strict=True))
        return x.swapaxes(0, 1), dict(zip(cell.states, stacked, strict=True))


@adapter("abaw4__lstm_encoder", "abaw4__bilstm_encoder", "abaw4__gru_encoder")
def encoder(fixture: Fixture) -> Answer:
    """Without packing padding is an ordinary input: every frame exists."""
    config, x = fixture.meta["config"], fixture.arrays["in_x"]
    kind = "lstm" if "in_c0" in fixture.arrays else "gru"
    prefix = {"lstm": "rnn.", "gru": "rnns.0."}[kind]
    hidden, layers = fixture.arrays["in_h0"].shape[-1], config.get("num_layers", 1)
    if len(fixture.arrays["in_h0"]) == 2 * layers:
        model: Any = BothWays(kind, hidden, layers)
    else:
        model = KINDS[kind](hidden=hidden, layers=layers)
    table = interop.recurrent.layers(prefix, "")
    params = params_of(fixture, table, model, x, np.ones(x.shape[:2], bool))
    names = CELLS[kind].states
    arrays, first = {}, 0
    carry = {name: fixture.arrays[f"in_{name}0"].swapaxes(0, 1) for name in names}
    for s, length in enumerate(config["segment_lengths"]):
        segment = x[:, first : first + length]
        valid = np.ones(segment.shape[:2], bool)
        arrays[f"out_y_seg{s}"], carry = model.apply({"params": params}, segment, valid, carry)
        arrays |= {f"out_{name}_seg{s}": carry[name].swapaxes(0, 1) for name in names}
        first += length
    return Answer(arrays)
