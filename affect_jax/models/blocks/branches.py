"""Multi-task heads whose tasks ask hidden states of several depths: two versions of BRANCH.

Source: arXiv 2209.07384, BRANCH, and its released code, which has two versions of it: "attnbranch"
and "attnbranch_v2". The paper's text fits the second.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.cross_attention import CrossAttention
from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.linear import Linear
from affect_jax.models.blocks.pooling import Pool
from affect_jax.models.blocks.task_heads import Vanilla, gelu
from data_pipelines.errors import nearest


class Branch(Vanilla):
    """Hidden states in series: each task's asks the output of the task before it.

    x_0 = GELU(linear of the convolutions' output); x_k = MHA(query GELU(linear of state k), keys
    and values x_(k-1)); task k is predicted from the pooled x_k. Version 1 of the original's two.

    Attributes:
        tasks: in order.
        embedding: width E of the queries.
        pooling: as of Vanilla. The original's "attention" and "max" are "last" here.
        layers: which hidden states, "even", "first", "middle" or "last": one a task.
        heads: of the attention, divides `embedding`.
        dropout: rate on the attention weights.
        dtype: as of Vanilla.
    """

    layers: str = "even"
    heads: int = 8
    dropout: float = 0.3

    hidden = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_rate(self.dropout)
        if self.layers not in _TOWER_LAYERS:
            hint = nearest(self.layers, _TOWER_LAYERS)
            raise ValueError(f"layers = {self.layers!r}: no such choice. {hint}")
        if self.heads < 1 or self.embedding % self.heads:
            raise ValueError(f"heads = {self.heads} does not divide embedding = {self.embedding}.")

    def reads(self, depth: int) -> tuple[int, ...]:
        """As Vanilla: -1 and a hidden state a task."""
        n = len(self.tasks)
        first = {"first": 1, "middle": 7 - n // 2, "last": 13 - n}
        if self.layers == "even":
            twelfths = [12 * (k + 1) / n for k in range(n)]
        else:
            twelfths = [min(max(first[self.layers] + k, 1), 12) for k in range(n)]
        return (-1, *_layers(twelfths, depth))

    def vectors(
        self, states: Sequence[jax.Array], mask_bt: jax.Array, train: bool
    ) -> Iterator[jax.Array]:
        """As Vanilla."""
        x = gelu(Linear(self.embedding, self.dtype, name="convolutions")(states[0]))
        for task, state in zip(self.tasks, states[1:], strict=True):
            name = task.name
            query = gelu(Linear(self.embedding, self.dtype, name=f"mapping_{name}")(state))
            attention = CrossAttention(
                self.heads, self.dropout, self.dtype, name=f"attention_{name}"
            )
            x = attention(query, x, mask_bt, train)
            yield Pool(self.pooling, name=f"pool_{name}")(x, mask_bt)


class BranchTowers(Branch):
    """Hidden states as queries in a tower for each task. Version 2 of the original's two.

    m_i = dropout(GELU(linear of state i)), for all tasks; x_0 = m_0,
    x_i = GELU(LayerNorm(MHA(query m_i, keys and values x_(i-1)) + x_(i-1))); a task is predicted
    from the pooled x of its tower.

    Attributes:
        tasks, embedding, pooling, heads, dtype: as of Branch, whose fields it has.
        layers: which hidden states: "even" (2, 4, ..., 12 of 12), "first" (3, 6, 9, 12), "middle"
            (6, 8, 10, 12) or "last" (9 to 12).
        dropout: rate on the mappings and on the attention weights.
    """

    activate = False

    def reads(self, depth: int) -> tuple[int, ...]:
        """As Vanilla."""
        return _layers(_TOWER_LAYERS[self.layers], depth)

    def vectors(
        self, states: Sequence[jax.Array], mask_bt: jax.Array, train: bool
    ) -> Iterator[jax.Array]:
        """As Vanilla."""
        mapped = []
        for i, state in enumerate(states):
            x = gelu(Linear(self.embedding, self.dtype, name=f"mapping_{i}")(state))
            mapped.append(Dropout(self.dropout, name=f"dropout_{i}")(x, train))
        for task in self.tasks:
            name = task.name
            tower = _Tower(self.heads, self.dropout, self.dtype, name=f"tower_{name}")
            x = tower(mapped, mask_bt, train)
            yield Pool(self.pooling, name=f"pool_{name}")(x, mask_bt)


class _Tower(nn.Module):
    heads: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, mapped: Sequence[jax.Array], mask_bt: jax.Array, train: bool) -> jax.Array:
        x = mapped[0]
        for i, query in enumerate(mapped[1:]):
            attention = CrossAttention(self.heads, self.dropout, self.dtype, name=f"attention_{i}")
            # The residual is the stream that is asked, not the query.
            x = (attention(query, x, mask_bt, train) + x).astype(jnp.float32)
            x = gelu(layer_norm(1e-5, jnp.float32, f"norm_{i}")(x)).astype(self.dtype)
        return x


# Twelfths of the depth.
_TOWER_LAYERS = {
    "even": (2, 4, 6, 8, 10, 12),
    "first": (3, 6, 9, 12),
    "middle": (6, 8, 10, 12),
    "last": (9, 10, 11, 12),
}


def _layers(twelfths: Sequence[float], depth: int) -> tuple[int, ...]:
    """Twelfths of the depth as indices of hidden states: rounded half up, at least 1."""
    return tuple(max(1, math.floor(t * depth / 12 + 0.5)) for t in twelfths)
