"""A speech backbone as the keys of a config.model describe it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn

from affect_jax.config import require_kind
from affect_jax.models.blocks import choose
from affect_jax.models.blocks.speech.config import SpeechConfig
from affect_jax.models.blocks.speech.transformer import SpeechTransformer
from data_pipelines.errors import UserError, nearest

# The mask of valid samples is given to the backbone and the head, or padding is heard as silence.
PADDING = ("masked", "heard")
AUTO = "auto"  # one of them, by the system "audio"


def is_masked(padding: str) -> bool:
    """`config.model.padding` is "masked"; UserError where it is none of PADDING, or left open."""
    choose.entry("config.model.padding", padding, dict.fromkeys((*PADDING, AUTO)))
    if padding == AUTO:
        raise UserError("config.model.padding = 'auto' needs config.system = 'audio'.")
    return padding == "masked"


def speech_config(group: Mapping[str, Any]) -> SpeechConfig:
    """The backbone that `config.model.backbone` describes, in the words of a config.json.

    Raises:
        UserError: names the key that is wrong.
    """
    where = "config.model.backbone"
    known = [*(field.name for field in dataclasses.fields(SpeechConfig)), "remat"]
    for key in group:
        if key not in known:
            raise UserError(f"{where}.{key}: no such key. {nearest(key, known)}")
    return SpeechConfig.from_json({k: x for k, x in group.items() if k != "remat"}, where)


def speech_backbone(group: Mapping[str, Any], masked: bool, dtype: Any) -> Callable[..., nn.Module]:
    """A maker of the SpeechTransformer of `config.model.backbone`, called with name=.

    Args:
        masked: as `is_masked`.
        dtype: of the computation.

    Raises:
        UserError: names the key that is wrong.
    """
    remat = group.get("remat", False)
    require_kind("config.model.backbone.remat", remat, bool)
    config = speech_config(group)
    return functools.partial(
        SpeechTransformer, config, masked_norm=masked, remat=remat, dtype=dtype
    )
