"""Fusion by attention of one stream to another: queries, keys and values are named modalities.

Source: the released code of arXiv 2603.13056 ("FusionModel").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import require_rate
from affect_jax.models.blocks.encoded import EncodedLayer, Projection

# {modality: (values [B, T, D], bool [B, T]: does it exist there?)}
Streams = Mapping[str, tuple[jax.Array, jax.Array]]
FUSION = "fusion"  # in the place of a modality: the mean of all


class Attended(nn.Module):
    """q + layer(q, k, v) with an EncodedLayer: queries with what they find among the keys.

    Attributes:
        heads, dropout, dtype: as of EncodedLayer.
        train: dropout on.
    """

    heads: int
    dropout: float
    train: bool
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, q_bth: jax.Array, k_bth: jax.Array, v_bth: jax.Array, keys_bt: jax.Array
    ) -> jax.Array:
        """Three of (batch, time, width), bool (batch, time) -> (batch, time, width).

        A row without a key keeps its queries.
        """
        width = q_bth.shape[-1]
        layer = EncodedLayer(self.heads, width, self.dropout, dtype=self.dtype, name="layer")
        found = layer(q_bth, k_bth, v_bth, keys_bt, self.train)
        return q_bth + jnp.where(keys_bt.any(1)[:, None, None], found, 0)


class CrossFusion(nn.Module):
    """Layers in which the queries of one modality ask the keys and values of others.

    Each of query, key and value is the name of a modality or "fusion", the mean of those that exist
    at a frame. Where the query is a modality, what a layer makes of it is that modality's state in
    the next layer, also as a key or value. Frames where the key or the value does not exist are not
    attended to.

    Attributes:
        hidden: width.
        heads: of the attention; divides `hidden`.
        dropout: one rate for all.
        layers: number of layers.
        query, key, value: what is asked with, and what is asked.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    hidden: int
    heads: int
    dropout: float
    layers: int
    query: str = FUSION
    key: str = FUSION
    value: str = FUSION
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self)

    def unread(self, modalities: tuple[str, ...]) -> tuple[str, ...]:
        """Modalities that no layer reads; those of a call are none of these."""
        named = (self.query, self.key, self.value)
        return tuple(name for name in modalities if name not in named and FUSION not in named)

    @nn.compact
    def __call__(
        self, streams: Streams, tokens: Streams, mask_bt: jax.Array, train: bool = False
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Streams, no tokens, bool (batch, time) -> (batch, time, hidden), nothing else."""
        del tokens
        states, exists = {}, {name: there for name, (_, there) in streams.items()}
        for name, (x, _) in streams.items():
            project = Projection(self.hidden, self.dropout, self.dtype, name=f"projection_{name}")
            states[name] = project(x, train)
        exists[FUSION] = jnp.stack(list(exists.values())).any(0)
        keys = mask_bt & exists[self.key] & exists[self.value]

        def state(name: str) -> jax.Array:
            return states[name] if name in states else _mean(states, exists)

        q = state(self.query)
        for i in range(self.layers):
            layer = Attended(self.heads, self.dropout, train, self.dtype, name=f"layer_{i}")
            q = layer(q, state(self.key), state(self.value), keys)
            if self.query in states:
                states[self.query] = q
        return q, {}


def _mean(states: Mapping[str, jax.Array], exists: Mapping[str, jax.Array]) -> jax.Array:
    """(batch, time, width): mean of the modalities that exist at a frame, 0 where none does."""
    there = jnp.stack([exists[name] for name in states])[..., None]
    total = jnp.where(there, jnp.stack(list(states.values())).astype(jnp.float32), 0).sum(0)
    mean = total / jnp.maximum(there.sum(0), 1)
    return mean.astype(next(iter(states.values())).dtype)


def require_sizes(fuser: Any) -> None:
    """ValueError for sizes that no fuser takes."""
    if fuser.hidden < 2 or fuser.hidden % 2:
        raise ValueError(f"hidden = {fuser.hidden}: expected an even width, from 2 on.")
    if fuser.heads < 1 or fuser.hidden % fuser.heads:
        raise ValueError(f"heads = {fuser.heads} does not divide hidden = {fuser.hidden}.")
    for name in ("layers", "latents"):
        if getattr(fuser, name, 1) < 1:
            raise ValueError(f"{name} = {getattr(fuser, name)}: expected 1 or more.")
    require_rate(fuser.dropout)
