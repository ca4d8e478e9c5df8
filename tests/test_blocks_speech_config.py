"""Config of a speech transformer: what a published config.json may say."""

import numpy as np
import pytest

from affect_jax.models.blocks.speech import SpeechConfig, frames_of
from data_pipelines.errors import UserError

PUBLISHED = {
    "model_type": "wav2vec2",
    "architectures": ["Wav2Vec2ForPreTraining"],
    "conv_dim": [512] * 7,
    "hidden_act": "gelu",
    "layerdrop": 0,
    "mask_channel_length": 10,
    "vocab_size": 32,
}


def test_fields_that_are_none_of_the_model_are_ignored():
    config = SpeechConfig.from_json(PUBLISHED, "config.json")
    assert config == SpeechConfig("wav2vec2", layerdrop=0)


def test_fields_of_another_kind_of_model_are_ignored():
    mapping = PUBLISHED | {"num_buckets": 1, "feat_proj_layer_norm": False}
    assert SpeechConfig.from_json(mapping, "x") == SpeechConfig("wav2vec2", layerdrop=0)
    config = SpeechConfig.from_json(mapping | {"model_type": "hubert"}, "x")
    assert not config.feat_proj_layer_norm


@pytest.mark.parametrize("model_type", ["wav2vec2", "hubert", "wavlm"])
def test_a_config_comes_back_from_its_json(model_type):
    config = SpeechConfig(model_type, conv_dim=(4, 4), conv_kernel=(3, 2), conv_stride=(2, 1))
    written = config.to_json()
    assert written["conv_dim"] == [4, 4]
    assert ("num_buckets" in written) == (model_type == "wavlm")
    assert ("conv_pos_batch_norm" in written) == (model_type == "hubert")
    assert SpeechConfig.from_json(written, "x") == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec"}, "model_type = 'wav2vec': .* Did you mean 'wav2vec2'"),
        ({"model_type": None}, "model_type = None: expected text"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu' is not supported, only 'gelu'"),
        ({"feat_extract_activation": "gelu_new"}, "feat_extract_activation = 'gelu_new' is not"),
        ({"add_adapter": True}, "add_adapter = True is not supported"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim = 16 is not supported"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm = 'batch'"),
        ({"conv_dim": [512] * 6}, "one number a convolution in each, got 6, 7 and 7"),
        ({"conv_dim": 512}, r"conv_dim = 512: expected whole numbers, \(8,\)"),
        ({"conv_stride": [5, 2, 2, 2, 2, 2, 0]}, "conv_stride = .*: expected 1 or more"),
        ({"num_attention_heads": 7}, "num_attention_heads = 7 does not divide hidden_size = 768"),
        ({"num_conv_pos_embedding_groups": 5}, "groups = 5 does not divide hidden_size = 768"),
        ({"num_hidden_layers": "12"}, "num_hidden_layers = '12': expected a whole number"),
        ({"hidden_dropout": 1.0}, r"hidden_dropout = 1.0: expected a rate in \[0, 1\)"),
        ({"mask_time_prob": 1.5}, "mask_time_prob = 1.5: expected a share"),
        ({"mask_time_length": 0}, "mask_time_length = 0: expected 1 or more"),
        ({"mask_feature_min_masks": -1}, "mask_feature_min_masks = -1: expected 0 or more"),
        ({"layer_norm_eps": 0.0}, "layer_norm_eps = 0.0: expected more than 0"),
        ({"model_type": "wavlm", "num_buckets": 3}, "num_buckets = 3.*4 buckets or more"),
        ({"model_type": "wavlm", "max_bucket_distance": 80}, "distance beyond a quarter"),
    ],
)
def test_what_is_not_built_is_named(changes, message):
    with pytest.raises(UserError, match=f"^a/config.json: .*{message}"):
        SpeechConfig.from_json(PUBLISHED | changes, "a/config.json")


def test_two_and_a_half_seconds_are_124_frames():
    config = SpeechConfig("wav2vec2")
    assert frames_of(config, 40000) == 124
    np.testing.assert_array_equal(frames_of(config, np.array([400, 719, 720])), [1, 1, 2])
    assert frames_of(config, 399) < 1
