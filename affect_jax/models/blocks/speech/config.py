"""Sizes and options of a speech transformer, under the names of a published config.json."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from affect_jax.kinds import expected, fits
from data_pipelines.errors import UserError, nearest, shown

Frames = TypeVar("Frames")

MODEL_TYPES = ("wav2vec2", "hubert", "wavlm")
FEATURE_NORMS = ("group", "layer")
# Fields that one kind of model reads; in the files of the others they say nothing.
_OWN = {
    "conv_pos_batch_norm": "hubert",
    "feat_proj_layer_norm": "hubert",
    "num_buckets": "wavlm",
    "max_bucket_distance": "wavlm",
}
# What a file may say of parts that are built in one way only.
_FIXED = {
    "hidden_act": "gelu",
    "feat_extract_activation": "gelu",
    "add_adapter": False,
    "adapter_attn_dim": None,
}


@dataclasses.dataclass(frozen=True)
class SpeechConfig:
    """Fields of config.json that change the model; defaults of the library that wrote it.

    Attributes:
        model_type: one of MODEL_TYPES.
        conv_dim, conv_kernel, conv_stride: channels, taps and step of each convolution over the
            samples.
        conv_bias: they have a bias.
        feat_extract_norm: "group": each channel of convolution 0 is normalised over time; "layer":
            the channels after every convolution.
        hidden_size, num_hidden_layers, num_attention_heads, intermediate_size: of the transformer.
        layer_norm_eps: of its norms; those between the convolutions have 1e-5.
        do_stable_layer_norm: norms in front of attention and feed-forward, not behind.
        num_conv_pos_embeddings, num_conv_pos_embedding_groups: taps and groups of the positional
            convolution.
        conv_pos_batch_norm: a batch norm in front of it, and no weight norm (HuBERT).
        feat_proj_layer_norm: a norm in front of the projection (HuBERT; the others have one).
        num_buckets, max_bucket_distance: of the relative positions (WavLM).
        hidden_dropout, attention_dropout, activation_dropout, feat_proj_dropout: rates.
        layerdrop: probability of leaving out a layer in training.
        apply_spec_augment: frames and channels may be masked.
        mask_time_prob, mask_time_length, mask_time_min_masks: share of frames in masked spans,
            frames a span, least number of spans.
        mask_feature_prob, mask_feature_length, mask_feature_min_masks: the same for channels.
        initializer_range: standard deviation of fresh linear layers.
    """

    model_type: str
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: str = "group"
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    layer_norm_eps: float = 1e-5
    do_stable_layer_norm: bool = False
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    conv_pos_batch_norm: bool = False
    feat_proj_layer_norm: bool = True
    num_buckets: int = 320
    max_bucket_distance: int = 800
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.1
    feat_proj_dropout: float = 0.0
    layerdrop: float = 0.1
    apply_spec_augment: bool = True
    mask_time_prob: float = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: float = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        for name, kind in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not fits(value, kind):
                raise ValueError(f"{name} = {shown(value)}: expected {expected(kind)}.")
        for name, known in (("model_type", MODEL_TYPES), ("feat_extract_norm", FEATURE_NORMS)):
            value = getattr(self, name)
            if value not in known:
                raise ValueError(f"{name} = {shown(value)}: no such kind. {nearest(value, known)}")
        self._check_sizes()
        self._check_rates()

    @classmethod
    def from_json(cls, mapping: Mapping[str, Any], where: object) -> SpeechConfig:
        """The config of a parsed config.json; fields that are none of ours are ignored.

        Args:
            mapping: {field: value}.
            where: what an error begins with, the file or the key of a config.

        Raises:
            UserError: a value that is of the wrong kind, or asks for what is not built.
        """
        for name, value in _FIXED.items():
            if mapping.get(name, value) != value:
                raise UserError(
                    f"{where}: {name} = {shown(mapping[name])} is not supported, only {value!r}."
                )
        model_type = mapping.get("model_type")
        fields = {
            field.name: _tuple(mapping[field.name])
            for field in dataclasses.fields(cls)
            if field.name in mapping and _OWN.get(field.name, model_type) == model_type
        }
        try:
            return cls(**{"model_type": None, **fields})
        except ValueError as error:
            raise UserError(f"{where}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """The fields that this kind of model reads, as `from_json` and the library take them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if _OWN.get(name, self.model_type) == self.model_type
        }

    @property
    def masks_frames(self) -> bool:
        """The model has a vector that stands for masked frames."""
        return self.mask_time_prob > 0 or self.mask_feature_prob > 0

    def _check_sizes(self) -> None:
        lengths = {len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)}
        if lengths != {len(self.conv_dim)} or not self.conv_dim:
            raise ValueError(
                "conv_dim, conv_kernel and conv_stride: expected one number a convolution in each, "
                f"got {len(self.conv_dim)}, {len(self.conv_kernel)} and {len(self.conv_stride)}."
            )
        for name in (
            *("conv_dim", "conv_kernel", "conv_stride", "hidden_size", "num_hidden_layers"),
            *("num_attention_heads", "intermediate_size", "num_conv_pos_embeddings"),
            *("num_conv_pos_embedding_groups", "mask_time_length", "mask_feature_length"),
        ):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < 1:
                raise ValueError(f"{name} = {shown(value)}: expected 1 or more.")
        for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(
                    f"{name} = {getattr(self, name)} does not divide "
                    f"hidden_size = {self.hidden_size}."
                )
        if self.num_buckets < 4 or self.max_bucket_distance <= self.num_buckets // 4:
            raise ValueError(
                f"num_buckets = {self.num_buckets}, max_bucket_distance = "
                f"{self.max_bucket_distance}: expected 4 buckets or more, and a distance beyond a "
                "quarter of them."
            )

    def _check_rates(self) -> None:
        for name in (
            *("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout"),
            "layerdrop",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a rate in [0, 1).")
        for name in ("mask_time_prob", "mask_feature_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a share in [0, 1].")
        for name in ("mask_time_min_masks", "mask_feature_min_masks", "initializer_range"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected 0 or more.")
        if self.layer_norm_eps <= 0:
            raise ValueError(f"layer_norm_eps = {self.layer_norm_eps}: expected more than 0.")


def frames_of(config: SpeechConfig, samples: Frames) -> Frames:
    """Number of frames for a number of samples, or for an array of such numbers.

    floor((n - kernel) / stride) + 1, one convolution after the other; 0 or less where the samples
    are too few for a frame.
    """
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
