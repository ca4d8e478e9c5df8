"""wav2vec 2.0, HuBERT and WavLM: raw sound in, all hidden states out.

Sources: Baevski et al., arXiv 2006.11477; Hsu et al., arXiv 2106.07447; Chen et al., arXiv
2110.13900; and the released code, where these leave something open.
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.gelu import gelu
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.speech.config import SpeechConfig, frames_of
from affect_jax.models.blocks.speech.convolutions import Convolution, frame_mask
from affect_jax.models.blocks.speech.layers import Layer
from affect_jax.models.blocks.speech.masking import span_mask
from affect_jax.models.blocks.speech.positions import Positions
from affect_jax.models.blocks.speech.relative import RelativePositions
from data_pipelines.errors import UserError


class SpeechOutput(NamedTuple):
    """Outputs of a SpeechTransformer for a batch of sounds.

    Attributes:
        last: (batch, time, hidden), the last of `hidden`.
        hidden: the input of the first layer, and the output of each, (batch, time, hidden). The
            last is behind the closing norm, where the model has one.
        features: (batch, time, conv_dim[-1]), the convolutions' output, normalised; None for
            HuBERT.
        mask: bool (batch, time), True on valid frames; None where no mask was given.
    """

    last: jax.Array
    hidden: tuple[jax.Array, ...]
    features: jax.Array | None
    mask: jax.Array | None


class SpeechTransformer(nn.Module):
    """Convolutions over the samples, a projection, positions by a convolution, and layers.

    Attributes:
        config: sizes and options, as in a published config.json.
        masked_norm: with a mask, the norms over time and over the batch count valid frames only, so
            that a sound gives the same frames alone, padded, and in any batch. Published models
            were trained without: their norms see padding as silence.
        remat: keep no activations inside convolutions and layers; the backward pass computes them
            again.
        dtype: of the computation; parameters, norms and softmax are float32.
    """

    config: SpeechConfig
    masked_norm: bool = False
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        audio_bs: jax.Array,
        mask_bs: jax.Array | None = None,
        train: bool = False,
        *,
        time_mask: jax.Array | None = None,
        feature_mask: jax.Array | None = None,
    ) -> SpeechOutput:
        """(batch, samples) -> SpeechOutput of frames_of(config, samples) frames.

        Random numbers, in training only, come from the key "dropout".

        Args:
            audio_bs: sound at 16 kHz in [-1, 1], padded on the right.
            mask_bs: bool, True on valid samples. A row too short for a frame has one all the same.
                None: padding is sound.
            train: dropout, layers left out, and SpecAugment.
            time_mask: bool (batch, time), frames to mask, in place of those drawn in training.
            feature_mask: bool (batch, hidden), channels to mask, likewise.

        Raises:
            UserError: all samples together are too few for a frame.
        """
        config = self.config
        if frames_of(config, audio_bs.shape[1]) < 1:
            raise UserError(
                f"sound of {audio_bs.shape[1]:,} samples has no frame of this speech model. Take "
                "longer clips."
            )
        samples = None if mask_bs is None else mask_bs.sum(1, dtype=jnp.int32)
        x = self._convolved(audio_bs, samples if self.masked_norm else None)
        mask = None if samples is None else frame_mask(frames_of(config, samples), x.shape[1])
        x, features = self._projected(x, train)
        x = self._augmented(x, mask, train, time_mask, feature_mask)
        if mask is not None:
            x = jnp.where(mask[..., None], x, 0)
        positions = Positions(config, self.dtype, name="positions")
        x += positions(x, mask if self.masked_norm else None, train)
        before = config.do_stable_layer_norm
        x = Dropout(config.hidden_dropout, name="dropout")(x if before else self._norm(x), train)
        hidden = self._encoded(x, mask, train)
        if before:
            hidden[-1] = self._norm(hidden[-1])
        features = None if config.model_type == "hubert" else features
        return SpeechOutput(hidden[-1], tuple(hidden), features, mask)

    def _convolved(self, audio_bs: jax.Array, samples_b: jax.Array | None) -> jax.Array:
        """(batch, samples) -> (batch, time, conv_dim[-1])."""
        layer_of = nn.remat(Convolution) if self.remat else Convolution
        x = audio_bs[..., None].astype(self.dtype)
        for i in range(len(self.config.conv_dim)):
            layer = layer_of(self.config, i, self.dtype, name=f"conv_{i}")
            x = layer(x, None if i else samples_b)
        return gelu(x)

    def _norm(self, x: jax.Array) -> jax.Array:
        """The norm in front of the layers or, of those that have theirs in front, behind them."""
        return layer_norm(self.config.layer_norm_eps, self.dtype, "norm")(x.astype(jnp.float32))

    def _projected(self, x_btc: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """The frames, `hidden_size` wide, and the normalised features."""
        config, features = self.config, x_btc
        if config.feat_proj_layer_norm:
            norm = layer_norm(config.layer_norm_eps, self.dtype, "projection_norm")
            features = norm(x_btc.astype(jnp.float32))
        x = nn.Dense(
            config.hidden_size,
            dtype=self.dtype,
            kernel_init=nn.initializers.normal(config.initializer_range),
            name="projection",
        )(features)
        return Dropout(config.feat_proj_dropout, name="projection_dropout")(x, train), features

    def _augmented(
        self,
        x_bth: jax.Array,
        mask_bt: jax.Array | None,
        train: bool,
        time_mask: jax.Array | None,
        feature_mask: jax.Array | None,
    ) -> jax.Array:
        """SpecAugment: masked frames become a learned vector, masked channels 0."""
        config, x = self.config, x_bth
        if config.masks_frames:
            init = nn.initializers.uniform(1.0)
            vector = self.param("mask_embedding", init, (config.hidden_size,), jnp.float32)
        if not config.apply_spec_augment:
            return x
        if time_mask is None and train and config.mask_time_prob:
            # HuBERT's code masks padding as it masks sound.
            known = mask_bt is not None and config.model_type != "hubert"
            time_mask = span_mask(
                self.make_rng("dropout"),
                x.shape[:2],
                config.mask_time_prob,
                config.mask_time_length,
                config.mask_time_min_masks,
                mask_bt.sum(1) if known else None,
            )
        if feature_mask is None and train and config.mask_feature_prob:
            feature_mask = span_mask(
                self.make_rng("dropout"),
                (x.shape[0], x.shape[2]),
                config.mask_feature_prob,
                config.mask_feature_length,
                config.mask_feature_min_masks,
            )
        if time_mask is not None:
            if not config.masks_frames:
                raise ValueError("a time mask, and no vector for it: both mask shares are 0.")
            x = jnp.where(time_mask[..., None], vector.astype(x.dtype), x)
        return x if feature_mask is None else jnp.where(feature_mask[:, None], 0, x)

    def _encoded(self, x: jax.Array, mask: jax.Array | None, train: bool) -> list[jax.Array]:
        """The input of the first layer, and the output of each."""
        config, relative = self.config, None
        first = 0
        if config.model_type == "wavlm":
            relative, first = RelativePositions(config, name="relative")(x.shape[1]), 1
        drawn = None
        if train and config.layerdrop:
            # WavLM's first layer, which has the relative positions in its code, always runs.
            drawn = jax.random.bernoulli(
                self.make_rng("dropout"), config.layerdrop, (config.num_hidden_layers,)
            )
        layer_of = nn.remat(Layer, static_argnums=(4,)) if self.remat else Layer
        hidden = [x]
        for i in range(config.num_hidden_layers):
            layer = layer_of(config, self.dtype, name=f"layer_{i}")
            y = layer(x, mask, relative, train)
            x = y if drawn is None or i < first else jnp.where(drawn[i], x, y)
            hidden.append(x)
        return hidden
