"""Weights of wav2vec2, HuBERT and WavLM under their original names."""

import functools

import jax
import numpy as np
import pytest

from affect_jax import interop
from affect_jax.models.blocks.speech import SpeechConfig, SpeechTransformer

SIZES = dict(
    conv_dim=(4, 6),
    conv_kernel=(4, 3),
    conv_stride=(2, 2),
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    num_buckets=8,
    max_bucket_distance=16,
)
NEW, OLD = "parametrizations.weight.original", ("weight_g", "weight_v")


@functools.cache
def weights(model_type, **changes):
    """(config, shapes, random variables) of a small model."""
    config = SpeechConfig(model_type, **(SIZES | changes))
    shapes = jax.eval_shape(
        SpeechTransformer(config).init, jax.random.key(0), np.zeros((1, 40), np.float32)
    )
    rng = np.random.default_rng(0)
    return (
        config,
        shapes,
        jax.tree.map(lambda s: rng.normal(size=s.shape).astype(np.float32), shapes),
    )


@pytest.mark.parametrize(
    ("model_type", "changes", "name", "shape"),
    [
        ("wav2vec2", {}, f"encoder.pos_conv_embed.conv.{NEW}1", (8, 4, 4)),
        ("wav2vec2", {"feat_extract_norm": "layer", "conv_bias": True},
         "feature_extractor.conv_layers.1.conv.weight", (6, 4, 3)),
        ("hubert", {"conv_pos_batch_norm": True}, "encoder.pos_conv_embed.batch_norm.running_var",
         (8,)),
        ("hubert", {"feat_proj_layer_norm": False}, "feature_projection.projection.weight", (8, 6)),
        ("wavlm", {"do_stable_layer_norm": True}, "encoder.layers.1.attention.gru_rel_pos_const",
         (1, 2, 1, 1)),
    ],
)  # fmt: skip
def test_written_weights_come_back_bit_for_bit(model_type, changes, name, shape):
    config, shapes, variables = weights(model_type, **changes)
    table = interop.speech.table(config)
    state_dict = interop.to_original(table, variables)
    assert state_dict[name].shape == shape
    back, report = interop.to_variables(table, state_dict, shapes)
    assert report.complete
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_older_files_are_read_and_those_of_today_written():
    config, shapes, variables = weights("wav2vec2")
    table = interop.speech.table(config, prefix="net.", path="")
    written = interop.to_original(table, variables)
    old = {name.replace("net.", "net.wav2vec2."): x for name, x in written.items()}
    for i, name in enumerate(OLD):
        old = {key.replace(f"{NEW}{i}", name): x for key, x in old.items()}
    assert sum(key.endswith(OLD) for key in old) == 2
    old |= {"net.quantizer.codevectors": np.zeros(2), "net.lm_head.weight": np.zeros(2)}
    back, report = interop.to_variables(table, old, shapes)
    assert report.complete and len(report.unused) == 2
    assert interop.to_original(table, back).keys() == written.keys()


def test_a_head_of_the_whole_model_is_not_taken_for_one_of_the_backbone():
    config, shapes, variables = weights("wav2vec2")
    table = interop.speech.table(config, prefix="feature_extractor.")
    state_dict = interop.to_original(table, variables) | {"classifier.weight": np.zeros(2)}
    _, report = interop.to_variables(table, state_dict, shapes)
    assert report.unknown == ("classifier.weight",)


def test_the_vector_for_masked_frames_is_unused_where_nothing_is_masked():
    config, shapes, variables = weights("wav2vec2", mask_time_prob=0.0)
    table = interop.speech.table(config)
    state_dict = interop.to_original(table, variables)
    assert "masked_spec_embed" not in state_dict
    state_dict["wav2vec2.masked_spec_embed"] = np.zeros(8, np.float32)
    _, report = interop.to_variables(table, state_dict, shapes)
    assert report.complete and list(report.unused) == ["wav2vec2.masked_spec_embed"]


def test_a_file_without_that_vector_lacks_nothing_else():
    config, shapes, variables = weights("wav2vec2")
    table = interop.speech.table(config)
    state_dict = interop.to_original(table, variables)
    del state_dict["masked_spec_embed"]
    _, report = interop.to_variables(table, state_dict, shapes)
    assert report.missing == ("mask_embedding",) and not report.unknown
