"""Fusion by a directed cross-modal mixture of experts: each asks one modality about another.

Source: the abstract of arXiv 2603.13056 names such a mixture and no equations of it are published:
these are ours, of the layer that its code has.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.encoded import Projection
from affect_jax.models.blocks.fusion_cross import Attended, Streams, require_sizes
from affect_jax.models.blocks.linear import Linear


class ExpertFusion(nn.Module):
    """Mixture of an expert for every ordered pair of modalities, weighted frame by frame.

    With s_m the projected modalities, zero where they do not exist, the expert of the pair (q, k)
    gives h_qk = s_q + layer(s_q, s_k, s_k), q = k included, attending to the frames where k exists.
    A network of two layers reads all s_m and which of them exist, and gives the weights
    g = softmax over the pairs of which both exist at the frame; y = sum of g_qk h_qk. A frame
    without any modality is 0.

    The loss "balance" is E * sum of (mean g_qk)^2 over the E pairs that exist in the batch, 1 where
    all are used alike. Parameters of the experts are stacked on a first axis, in the order of
    `pairs`.

    Attributes:
        hidden, heads, dropout, dtype: as of CrossFusion.
    """

    hidden: int
    heads: int
    dropout: float
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self)

    @nn.compact
    def __call__(
        self, streams: Streams, tokens: Streams, mask_bt: jax.Array, train: bool = False
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Streams, no tokens, bool (batch, time) -> (batch, time, hidden), what else it gives.

        That is the loss, the array "gate" (batch, time, E), and the mean of each weight over the
        frames with any modality.
        """
        del tokens
        names, states = tuple(streams), {}
        exists = {name: mask_bt & there for name, (_, there) in streams.items()}
        for name, (x, _) in streams.items():
            project = Projection(self.hidden, self.dropout, self.dtype, name=f"projection_{name}")
            states[name] = jnp.where(exists[name][..., None], project(x, train), 0)
        of = pairs(names)
        ask, asked = ([pair[i] for pair in of] for i in (0, 1))
        experts = Attended(self.heads, self.dropout, train, self.dtype, name="experts")
        keys = jnp.stack([states[name] for name in asked])
        keys_exist = jnp.stack([exists[name] for name in asked])
        queries = jnp.stack([states[name] for name in ask])
        found = _each(experts, None, queries, keys, keys_exist)[1]
        there = jnp.stack([exists[q] & exists[k] for q, k in of], -1)
        gate = self._gate(states, exists, there, train)
        x = jnp.einsum("bte,ebth->bth", gate.astype(self.dtype), found)
        frames = there.any(-1).sum(dtype=jnp.int32).astype(jnp.float32)
        sums = gate.sum((0, 1))
        mean = sums / jnp.maximum(frames, 1)
        present = there.any((0, 1)).sum(dtype=jnp.int32)
        named = ((f"gate/{q}-{k}", total) for (q, k), total in zip(of, sums, strict=True))
        return x, {
            "losses": {"balance": present * (mean**2).sum()},
            "means": {name: {"sum": total, "count": frames} for name, total in named},
            "arrays": {"gate": gate},
        }

    def _gate(
        self,
        states: dict[str, jax.Array],
        exists: dict[str, jax.Array],
        there_bte: jax.Array,
        train: bool,
    ) -> jax.Array:
        """float32 (batch, time, E): weights of the pairs, 0 of those that do not exist."""
        presence = jnp.stack(list(exists.values()), -1).astype(self.dtype)
        x = jnp.concatenate([*states.values(), presence], -1)
        x = nn.gelu(Linear(self.hidden, self.dtype, name="gate_hidden")(x), approximate=False)
        x = Dropout(self.dropout, name="gate_dropout")(x, train).astype(jnp.float32)
        score = Linear(there_bte.shape[-1], name="gate_out")(x)
        # A finite number: a frame without any pair stays finite.
        return jnp.where(there_bte, nn.softmax(jnp.where(there_bte, score, -1e30)), 0)


# One after another: all at once (nn.vmap) takes ten times as long on a CPU.
@functools.partial(
    nn.scan, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True}
)
def _each(
    expert: Attended, carry: None, q_bth: jax.Array, k_bth: jax.Array, keys_bt: jax.Array
) -> tuple[None, jax.Array]:
    """No carry, and the findings of the experts, stacked on a first axis."""
    return carry, expert(q_bth, k_bth, k_bth, keys_bt)


def pairs(modalities: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(who asks, who is asked) of every expert."""
    return tuple((q, k) for q in modalities for k in modalities)
