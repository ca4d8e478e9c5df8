"""Transformer that also reads a memory of earlier segments: means over chunks of their frames.

Source: "transformer-attention" of arXiv 2203.13032 and its code.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.heads import NORMAL
from affect_jax.models.blocks.transformer import (
    Transformer,
    attention_weights,
    join_heads,
    split_heads,
)
from data_pipelines.errors import nearest

ATTENTIONS = ("multihead", "single")
# "slots" float32 (batch, M, H), oldest first and the empty ones before them; "filled" int32
# (batch,), how many slots hold something. All zero is the memory of nothing.
Memory = dict[str, jax.Array]


class MemoryTransformer(Transformer):
    """x + attention from x to the memory, where x is what a transformer makes of the segment.

    No gradient goes back through the memory. The first segment of a track has none, and x stays as
    it is. The other attributes are those of Transformer.

    Attributes:
        memory: slots M; the newest are kept.
        chunk: frames whose mean fills a slot. The last chunk of a segment may be shorter.
        attention: "multihead", with learned projections, or "single", softmax(x m / sqrt(H)) m
            without any.
        memory_heads: of the multi-head attention; divides `hidden`.
    """

    memory: int = 100
    chunk: int = 10
    attention: str = "multihead"
    memory_heads: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("memory", "chunk", "memory_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 1 or more.")
        if self.attention not in ATTENTIONS:
            raise ValueError(
                f"attention = {self.attention!r}: no such attention. "
                + nearest(self.attention, ATTENTIONS)
            )
        if self.attention == "multihead" and self.hidden % self.memory_heads:
            raise ValueError(
                f"memory_heads = {self.memory_heads} does not divide hidden = {self.hidden}."
            )

    @nn.compact
    def __call__(
        self,
        x_btd: jax.Array,
        mask_bt: jax.Array,
        carry: Memory | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Memory]:
        """(batch, time, dim), bool (batch, time) -> (batch, time, hidden), memory."""
        x = self._encode(self._projected(x_btd), mask_bt, train)
        if carry is None:
            carry = empty(len(x), self.memory, self.hidden)
        slots, mask = carry["slots"].astype(self.dtype), _slot_mask(carry)
        if self.attention == "multihead":
            read = Reader(self.memory_heads, self.dtype, name="memory_attention")
            recalled = read(x, slots, mask)
        else:
            weight = attention_weights(x[:, None], slots[:, None], mask)[:, 0].astype(self.dtype)
            recalled = jnp.einsum("btm,bmh->bth", weight, slots)
        recalled = jnp.where(mask.any(1)[:, None, None], recalled, 0)
        return x + recalled, remember(carry, x, mask_bt, self.chunk)


class Reader(nn.Module):
    """Multi-head attention from frames to slots, without dropout.

    Attributes:
        heads: divides the width.
        dtype: of the computation; parameters and softmax are float32.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bth: jax.Array, slots_bmh: jax.Array, mask_bm: jax.Array) -> jax.Array:
        """Frames (batch, time, width), slots (batch, M, width) -> (batch, time, width)."""
        time, width = x_bth.shape[1:]
        # One matrix, as in SelfAttention: frames are projected to keys in vain, which costs little.
        project = nn.Dense(
            3 * width,
            dtype=self.dtype,
            kernel_init=nn.initializers.xavier_uniform(),
            name="in_projection",
        )
        both = project(jnp.concatenate([x_bth, slots_bmh], axis=1))
        q, k, v = (split_heads(x, self.heads) for x in jnp.split(both, 3, axis=-1))
        weight = attention_weights(q[:, :, :time], k[:, :, time:], mask_bm).astype(self.dtype)
        mixed = join_heads(jnp.einsum("bnqk,bnkd->bnqd", weight, v[:, :, time:]))
        return nn.Dense(width, dtype=self.dtype, kernel_init=NORMAL, name="out_projection")(mixed)


def empty(batch: int, slots: int, width: int) -> Memory:
    """A memory of nothing."""
    return {
        "slots": jnp.zeros((batch, slots, width), jnp.float32),
        "filled": jnp.zeros(batch, jnp.int32),
    }


def remember(memory: Memory, x_bth: jax.Array, mask_bt: jax.Array, chunk: int) -> Memory:
    """The memory with the means of a segment's chunks added, and as many of the oldest gone.

    A mean is that of the chunk's unmasked frames; a chunk without any is not added.

    Args:
        x_bth: (batch, time, width); no gradient reaches it.
        mask_bt: bool (batch, time).
        chunk: frames.
    """
    batch, time, width = x_bth.shape
    after = ((0, 0), (0, -time % chunk))
    mask = jnp.pad(mask_bt, after).reshape(batch, -1, chunk)
    x = jax.lax.stop_gradient(x_bth).astype(jnp.float32)
    x = jnp.pad(x, (*after, (0, 0))).reshape(batch, -1, chunk, width)
    count = mask.sum(-1)
    means = jnp.where(mask[..., None], x, 0).sum(2) / jnp.maximum(count, 1)[..., None]
    slots = jnp.concatenate([memory["slots"], means], axis=1)
    slot_mask = jnp.concatenate([_slot_mask(memory), count > 0], axis=1)
    size = memory["slots"].shape[1]
    # Stable: slots that are filled go to the end and keep their order.
    newest = jnp.argsort(slot_mask, axis=1, stable=True)[:, -size:]
    return {
        "slots": jnp.take_along_axis(slots, newest[..., None], axis=1),
        "filled": jnp.minimum(slot_mask.sum(1), size).astype(jnp.int32),
    }


def _slot_mask(memory: Memory) -> jax.Array:
    size = memory["slots"].shape[1]
    return jnp.arange(size) >= size - memory["filled"][:, None]
