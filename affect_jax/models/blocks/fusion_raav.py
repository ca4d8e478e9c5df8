"""Reliability-aware audio-visual fusion (RAAV): frames weighted by reliability, sound as context.

Source: the released code of arXiv 2603.13056 ("multimodal_fusion_model_v4").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.cross_attention import CrossAttention
from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.fusion_cross import Streams, require_sizes
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.linear import Linear

LEAST_PRIOR = 1e-6


class RaavFusion(nn.Module):
    """A gate over the modalities of a frame, then attention to the tokens, then layers over time.

    The frame is the sum of the projected modalities, weighted by a softmax over those that exist at
    it: of a network of each, plus the logarithm of its prior. Learned latents gather the tokens of
    the row, and the frame asks the latents; a row without tokens skips both. The layers have no
    positions: they know what frames there are, not their order.

    Attributes:
        hidden: width.
        heads: of the attention; divides `hidden`.
        dropout: one rate for all.
        layers: over time, of pre-norm form, 4 * hidden wide inside.
        latents: learned vectors that gather the tokens.
        priors: {modality of frames: share that it has where all gates say the same}, of any sum;
            1 of one that is not named.
        tokens: modalities that are context, not frames.
        token_frames: tokens are means of so many frames; 0: they are the rows of their streams, a
            table's or those at a rate.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    hidden: int
    heads: int
    dropout: float
    layers: int = 1
    latents: int = 4
    priors: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tokens: tuple[str, ...] = ()
    token_frames: int = 0
    dtype: jnp.dtype = jnp.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes(self)
        if self.token_frames < 0:
            raise ValueError(f"token_frames = {self.token_frames}: expected 0 or more.")
        for name, share in self.priors.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not share > 0:
                raise ValueError(f"priors.{name} = {share!r}: expected a number above 0.")

    @nn.compact
    def __call__(
        self,
        streams: Streams,
        tokens: Streams,
        mask_bt: jax.Array,
        train: bool = False,
        keys_bt: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """(batch, time, hidden) of streams, tokens and the frames that exist, and what else.

        That is, of several modalities, the array "gate" (batch, time, modalities) and the mean of
        each weight over the frames with any modality.

        Args:
            keys_bt: bool (batch, time), frames that the layers attend to; None: those with any
                modality.
        """
        exists = jnp.stack([there for _, there in streams.values()]).any(0)
        x, gate = _Gate(self.hidden, self.dropout, dict(self.priors), self.dtype, name="gate")(
            streams, train
        )
        if tokens:
            sizes = self.hidden, self.heads, self.dropout, self.latents, self.dtype
            context = _Context(*sizes, name="context")
            x = context(x, tokens, train)
        x = jnp.where((mask_bt & exists)[..., None], x, 0)
        keys = mask_bt & exists if keys_bt is None else keys_bt
        for i in range(self.layers):
            layer = _Layer(self.heads, self.dropout, self.dtype, name=f"layer_{i}")
            x = layer(x, keys, train)
        x = jnp.where(mask_bt[..., None], x, 0)
        if len(streams) == 1:
            return x, {}
        gate = jnp.where(mask_bt[..., None], gate, 0)
        count = (mask_bt & exists).sum(dtype=jnp.int32).astype(jnp.float32)
        sums = zip(streams, gate.sum((0, 1)), strict=True)
        means = {f"gate/{name}": {"sum": total, "count": count} for name, total in sums}
        return x, {"means": means, "arrays": {"gate": gate}}


class _Gate(nn.Module):
    hidden: int
    dropout: float
    priors: Mapping[str, float]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, streams: Streams, train: bool) -> tuple[jax.Array, jax.Array]:
        """(frames (batch, time, hidden), float32 weights (batch, time, modalities))."""
        states, scores = [], []
        priors = log_priors(tuple(streams), self.priors)
        for prior, (name, (x, exists)) in zip(priors, streams.items(), strict=True):
            x = Linear(self.hidden, self.dtype, name=f"projection_{name}")(x)
            x = jnp.where(exists[..., None], x, 0)
            y = Linear(self.hidden, self.dtype, name=f"hidden_{name}")(x)
            y = nn.gelu(y, approximate=False)
            y = Dropout(self.dropout, name=f"dropout_{name}")(y, train).astype(jnp.float32)
            score = Linear(1, name=f"out_{name}")(y)[..., 0] + prior
            states.append(x)
            scores.append(jnp.where(exists, score, -1e30))
        exist = jnp.stack([exists for _, exists in streams.values()], -1)
        weight = jnp.where(exist, nn.softmax(jnp.stack(scores, -1)), 0)
        x = jnp.einsum("btm,mbth->bth", weight.astype(self.dtype), jnp.stack(states))
        return x, weight


class _Context(nn.Module):
    hidden: int
    heads: int
    dropout: float
    latents: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, tokens: Streams, train: bool) -> jax.Array:
        """Frames (batch, time, hidden) that know the tokens; rows without any as they are."""
        projected = [
            jnp.where(
                exists[..., None],
                Linear(self.hidden, self.dtype, name=f"projection_{name}")(values),
                0,
            )
            for name, (values, exists) in tokens.items()
        ]
        token, exists = (
            jnp.concatenate(parts, 1)
            for parts in (projected, [exists for _, exists in tokens.values()])
        )
        shape = self.latents, self.hidden
        own = self.param("latents", nn.initializers.normal(0.02), shape, jnp.float32)
        own = jnp.broadcast_to(own.astype(self.dtype), (len(x), *shape))
        latents = own + self._attention("latent_attention")(own, token, exists, train)
        latents = _norm(latents, self.dtype, "latent_norm")
        query, every = _norm(x, self.dtype, "frame_norm"), jnp.ones(latents.shape[:2], bool)
        asked = x + self._attention("frame_attention")(query, latents, every, train)
        some = exists.any(1)[:, None, None]
        return jnp.where(some, _norm(asked, self.dtype, "out_norm"), x)

    def _attention(self, name: str) -> CrossAttention:
        return CrossAttention(self.heads, self.dropout, self.dtype, name=name)


class _Layer(nn.Module):
    """x + drop(attention(norm(x))), then x + drop(W_2 drop(gelu(W_1 norm(x))))."""

    heads: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, keys_bt: jax.Array, train: bool) -> jax.Array:
        def drop(x: jax.Array, name: str) -> jax.Array:
            return Dropout(self.dropout, name=name)(x, train)

        y = _norm(x, self.dtype, "norm_1")
        attention = CrossAttention(self.heads, self.dropout, self.dtype, name="attention")
        x += drop(attention(y, y, keys_bt, train), "dropout_1")
        y = Linear(4 * x.shape[-1], self.dtype, name="linear_1")(_norm(x, self.dtype, "norm_2"))
        y = drop(nn.gelu(y, approximate=False), "dropout")
        return x + drop(Linear(x.shape[-1], self.dtype, name="linear_2")(y), "dropout_2")


def log_priors(modalities: tuple[str, ...], priors: Mapping[str, float]) -> np.ndarray:
    """float32 [modalities]: logarithms of the shares, which sum to 1."""
    shares = np.array([max(priors.get(name, 1.0), LEAST_PRIOR) for name in modalities], np.float64)
    return np.log(shares / shares.sum()).astype(np.float32)


def _norm(x: jax.Array, dtype: jnp.dtype, name: str) -> jax.Array:
    return layer_norm(1e-5, dtype, name)(x.astype(jnp.float32))
