"""wav2vec 2.0, HuBERT and WavLM: weights as the transformers library names them."""

from __future__ import annotations

import numpy as np

from affect_jax.interop import rules
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.speech.config import MODEL_TYPES, SpeechConfig

_UNUSED = {
    **dict.fromkeys(
        ("quantizer.*", "project_q.*", "project_hid.*"), "of the pre-training, which is over"
    ),
    **dict.fromkeys(("lm_head.*", "classifier.*", "projector.*"), "a head of another task"),
}


def table(config: SpeechConfig, *, prefix: str = "", path: str = "") -> Table:
    """Rules of one SpeechTransformer.

    A model below "wav2vec2." (or its type), as files with a head have it, is read too, and so are
    the names that weight norm had before PyTorch 2.1. Written are those of today.

    Args:
        config: of the model.
        prefix: of all original names, "" or with its full stop.
        path: of all of ours, "" or with its slash.
    """
    inner = tuple(f"{prefix}{own}" for own in ("", *(f"{name}." for name in MODEL_TYPES)))
    unused = {f"{prefix}{name}": why for name, why in _UNUSED.items()}
    if not config.masks_frames:
        why = "a vector for masked frames, and the config masks none"
        unused |= {f"{own}masked_spec_embed": why for own in inner}
    return Table(tuple(rule for own in inner for rule in _rules(own, path)), unused)


def _rules(there: str, here: str) -> tuple[Rule, ...]:
    convolution = f"{there}feature_extractor.conv_layers.{{i}}"
    positions, kernel = f"{there}encoder.pos_conv_embed", "parametrizations.weight.original"
    layer, own = f"{there}encoder.layers.{{i}}", f"{here}layer_{{i}}"
    attention = f"{layer}.attention"

    def taps_first(name: str, path: str) -> Rule:
        original, ours = f"{positions}.conv.{name}", f"{here}positions/{path}"
        return Rule(original, ours, rules.channels_last, rules.channels_first)

    return (
        Rule(f"{there}masked_spec_embed", f"{here}mask_embedding"),
        *rules.conv(f"{convolution}.conv", f"{here}conv_{{i}}/convolution"),
        *rules.norm(f"{convolution}.layer_norm", f"{here}conv_{{i}}/norm"),
        *rules.norm(f"{there}feature_projection.layer_norm", f"{here}projection_norm"),
        *rules.linear(f"{there}feature_projection.projection", f"{here}projection"),
        Rule(f"{positions}.conv.bias", f"{here}positions/bias"),
        taps_first(f"{kernel}0", "length"),
        taps_first(f"{kernel}1", "direction"),
        taps_first("weight_g", "length"),
        taps_first("weight_v", "direction"),
        taps_first("weight", "kernel"),
        *rules.batch_norm(f"{positions}.batch_norm", f"{here}positions/batch_norm"),
        *rules.norm(f"{there}encoder.layer_norm", f"{here}norm"),
        *rules.linear(f"{attention}.q_proj", f"{own}/attention/query"),
        *rules.linear(f"{attention}.k_proj", f"{own}/attention/key"),
        *rules.linear(f"{attention}.v_proj", f"{own}/attention/value"),
        *rules.linear(f"{attention}.out_proj", f"{own}/attention/out_projection"),
        *rules.linear(f"{attention}.gru_rel_pos_linear", f"{own}/attention/gate/linear"),
        Rule(
            f"{attention}.gru_rel_pos_const",
            f"{own}/attention/gate/scale",
            _of_heads,
            lambda x: x.reshape(1, -1, 1, 1),
        ),
        Rule(
            f"{there}encoder.layers.0.attention.rel_attn_embed.weight",
            f"{here}relative/embedding",
        ),
        *rules.norm(f"{layer}.layer_norm", f"{own}/attention_norm"),
        *rules.norm(f"{layer}.final_layer_norm", f"{own}/ffn_norm"),
        *rules.linear(f"{layer}.feed_forward.intermediate_dense", f"{own}/ffn_in"),
        *rules.linear(f"{layer}.feed_forward.output_dense", f"{own}/ffn_out"),
    )


def _of_heads(x: np.ndarray) -> np.ndarray:
    """[1, heads, 1, 1] -> [heads]; what has another shape stays, and is found out."""
    return x.reshape(-1) if x.shape == (1, x.size, 1, 1) else x
