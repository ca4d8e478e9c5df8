"""Encoders of ABAW3 that end in an LSTM: after a fully connected layer, or a transformer too.

Source: "fclstm-xl" and "transformer-lstm" of arXiv 2203.13032 and its code.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.heads import NORMAL
from affect_jax.models.blocks.recurrent import LSTM, Carry
from affect_jax.models.blocks.transformer import Transformer


class FCLSTM(nn.Module):
    """drop(relu(W x)), then an LSTM.

    Attributes:
        hidden: width H of both.
        dropout: rate between them.
        dtype: of the products; parameters and states are float32.
    """

    hidden: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

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
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), state of the LSTM."""
        project = nn.Dense(self.hidden, dtype=self.dtype, kernel_init=NORMAL, name="projection")
        x = nn.relu(project(x_btd.astype(self.dtype)))
        x = Dropout(self.dropout, name="dropout")(x, train)
        return LSTM(self.hidden, dtype=self.dtype, name="lstm")(x, mask_bt, carry, train)


class TransformerLSTM(Transformer):
    """f = drop(relu(W x)); a transformer on f; an LSTM on the transformer's output, or f + that.

    The parameters of the projection and of the layers are called as in Transformer, so that
    those of a transformer can be taken over and frozen (config.init, config.freeze). The other
    attributes are those of Transformer.

    Attributes:
        residual: add f to the transformer's output.
    """

    residual: bool = True

    @nn.compact
    def __call__(
        self,
        x_btd: jax.Array,
        mask_bt: jax.Array,
        carry: Carry | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Carry]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), state of the LSTM."""
        fed = Dropout(self.dropout, name="dropout")(nn.relu(self._projected(x_btd)), train)
        x = self._encode(fed, mask_bt, train)
        x = fed + x if self.residual else x
        return LSTM(self.hidden, dtype=self.dtype, name="lstm")(x, mask_bt, carry, train)
