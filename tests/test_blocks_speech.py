"""Speech transformers: what must not change their frames, and what training draws."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.dropout import Dropout
from affect_jax.models.blocks.speech import SpeechConfig, SpeechTransformer, frames_of
from affect_jax.models.blocks.speech.positions import convolve
from affect_jax.models.blocks.speech.relative import buckets
from data_pipelines.errors import UserError

SIZES = dict(
    conv_dim=(4, 6),
    conv_kernel=(4, 3),
    conv_stride=(2, 2),
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=12,
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
    num_buckets=8,
    max_bucket_distance=16,
    initializer_range=0.5,
)
NONE = dict.fromkeys(
    ("hidden_dropout", "attention_dropout", "activation_dropout", "layerdrop", "mask_time_prob"),
    0.0,
)
SAMPLES = 64
SOUND = np.random.default_rng(0).normal(size=(3, SAMPLES)).astype(np.float32)
KINDS = {
    "wav2vec2": {},
    "hubert": dict(conv_pos_batch_norm=True, feat_proj_layer_norm=False),
    "wavlm": dict(do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True),
}


def config_of(model_type, **changes):
    return SpeechConfig(model_type, **(SIZES | NONE | KINDS[model_type] | changes))


@functools.cache
def variables_of(config):
    shapes = jax.eval_shape(SpeechTransformer(config).init, jax.random.key(0), SOUND)
    rng = np.random.default_rng(1)
    random = jax.tree.map(lambda s: rng.normal(0, 0.5, s.shape).astype(np.float32), shapes)
    if "batch_stats" in random:
        norm = random["batch_stats"]["positions"]["batch_norm"]
        norm["var"] = np.abs(norm["var"]) + 0.5
    return random


@functools.partial(jax.jit, static_argnames=("config", "train", "options"))
def apply(config, audio, mask=None, *, train=False, seed=0, options=(), **masks):
    """SpeechOutput, by random variables."""
    model = SpeechTransformer(config, **dict(options))
    rngs = {"dropout": jax.random.key(seed)}
    output, _ = model.apply(
        variables_of(config), audio, mask, train, rngs=rngs, mutable=["batch_stats"], **masks
    )
    return output


@pytest.mark.parametrize("model_type", KINDS)
def test_a_sound_gives_the_same_frames_alone_padded_and_in_any_batch(model_type):
    config, options = config_of(model_type), (("masked_norm", True),)
    valid = 37
    frames = frames_of(config, valid)
    alone = apply(config, SOUND[:1, :valid], np.ones((1, valid), bool), options=options)
    mask = np.arange(SAMPLES) < np.array([[valid], [SAMPLES], [2]])
    padded = apply(config, SOUND, mask, options=options)
    for own, batch in zip(alone.hidden, padded.hidden, strict=True):
        np.testing.assert_allclose(own[0], batch[0, :frames], rtol=1e-4, atol=1e-5)
    assert padded.mask.sum(1).tolist() == [frames, frames_of(config, SAMPLES), 1]
    assert (padded.features is None) == (model_type == "hubert")
    loud = np.where(mask, SOUND, 9)[::-1]
    other = apply(config, loud, mask[::-1], options=options)
    np.testing.assert_allclose(padded.last[0], other.last[2], rtol=1e-4, atol=1e-5)


def test_a_group_norm_as_published_hears_the_padding():
    config, mask = config_of("wav2vec2"), np.arange(SAMPLES) < np.full((3, 1), 37)
    loud = np.where(mask, SOUND, 9)
    quiet, other = (apply(config, audio, mask).last[:, :5] for audio in (SOUND, loud))
    assert np.abs(quiet - other).max() > 0.01
    unmasked = jax.eval_shape(SpeechTransformer(config).apply, variables_of(config), SOUND)
    assert unmasked.mask is None


@pytest.mark.parametrize("model_type", ["hubert", "wavlm"])
def test_every_parameter_learns_in_training(model_type):
    _, state, grads = gradients(model_type)
    for name, grad in grads.items():
        if not name.endswith("key/bias"):  # the softmax takes it away
            assert np.isfinite(grad).all() and np.abs(grad).max() > 1e-6, name
    if model_type == "hubert":
        before = variables_of(config_of("hubert"))["batch_stats"]["positions"]["batch_norm"]
        after = state["batch_stats"]["positions"]["batch_norm"]
        assert not np.allclose(before["mean"], after["mean"])


@pytest.mark.slow
def test_activations_computed_again_give_the_same_gradient():
    loss, _, grads = gradients("wavlm")
    again, _, recomputed = gradients("wavlm", remat=True)
    np.testing.assert_allclose(loss, again, rtol=1e-5)
    for name, grad in grads.items():
        np.testing.assert_allclose(recomputed[name], grad, rtol=1e-3, atol=1e-3)


@functools.cache
def gradients(model_type, **options):
    """(loss, statistics, {path: gradient}) of a training step with random masks of frames."""
    # A rate of 1e-9 drops nothing here, by way of the scores.
    rates = dict(mask_time_prob=0.3, layerdrop=0.01, hidden_dropout=0.1, attention_dropout=1e-9)
    config = config_of(model_type, mask_time_length=2, **rates)
    model, variables = SpeechTransformer(config, **options), variables_of(config)

    def loss(params):
        output, state = model.apply(
            {**variables, "params": params},
            SOUND,
            np.ones(SOUND.shape, bool),
            True,
            rngs={"dropout": jax.random.key(0)},
            mutable=["batch_stats"],
        )
        return (output.last * jnp.arange(8)).sum() + (output.last[..., 0] ** 2).sum(), state

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (value, state), grads = step(variables["params"])
    leaves = jax.tree_util.tree_leaves_with_path(grads)
    named = {jax.tree_util.keystr(p, simple=True, separator="/"): leaf for p, leaf in leaves}
    return value, state, named


def test_each_dropout_stands_in_its_place_with_its_rate():
    config = config_of(
        "wavlm",
        hidden_dropout=0.2,
        attention_dropout=0.4,
        activation_dropout=0.6,
        feat_proj_dropout=0.8,
    )

    @jax.jit
    def dropped(seed):
        return SpeechTransformer(config).apply(
            variables_of(config),
            SOUND,
            train=True,
            rngs={"dropout": jax.random.key(seed)},
            capture_intermediates=lambda module, _: isinstance(module, Dropout),
        )

    (first, seen), (second, _), (again, _) = (dropped(seed) for seed in (1, 2, 1))
    np.testing.assert_array_equal(first.last, again.last)
    assert not np.allclose(first.last, second.last)
    leaves = jax.tree_util.tree_leaves_with_path(seen["intermediates"])
    zeros = {
        jax.tree_util.keystr(path[:-2], simple=True, separator="/"): float((leaf == 0).mean())
        for path, leaf in leaves
    }
    want = {
        "projection_dropout": 0.8,
        "dropout": 0.2,
        "layer_0/attention/dropout": 0.4,
        "layer_0/attention_out_dropout": 0.2,
        "layer_0/ffn_dropout": 0.6,
        "layer_0/ffn_out_dropout": 0.2,
    }
    assert zeros == pytest.approx(want, abs=0.08)


@pytest.mark.parametrize(("model_type", "kept"), [("wavlm", 1), ("wav2vec2", 0)])
def test_layers_left_out_repeat_the_state_before_and_wavlm_keeps_its_first(model_type, kept):
    config = config_of(model_type, num_hidden_layers=2, layerdrop=0.999, do_stable_layer_norm=False)
    with jax.disable_jit():  # one program may compute the state again beside its repetition
        hidden = apply(config, SOUND, train=True).hidden
    assert len(hidden) == 3
    assert np.array_equal(hidden[0], hidden[1]) == (not kept)
    np.testing.assert_array_equal(hidden[1], hidden[2])


def test_masked_frames_are_alike_and_masked_channels_zero():
    config = config_of("wav2vec2", mask_time_prob=0.1)
    frames, channels = np.zeros((3, 15), bool), np.zeros((3, 8), bool)
    frames[0] = True
    state = apply(config, SOUND, time_mask=frames, feature_mask=channels).hidden[0]
    other = apply(config, SOUND[::-1], time_mask=frames, feature_mask=channels).hidden[0]
    np.testing.assert_array_equal(state[0], other[0])
    np.testing.assert_allclose(state[1], other[1], atol=1e-6)
    assert not np.allclose(state[2], other[2])
    silent = apply(config, SOUND, time_mask=frames, feature_mask=~channels).hidden[0]
    np.testing.assert_array_equal(silent[0], silent[1])
    assert not np.allclose(silent[0], state[0])


def test_without_spec_augment_a_given_mask_is_not_used():
    config = config_of("wav2vec2", mask_time_prob=0.1, apply_spec_augment=False)
    none, all_ = np.zeros((3, 15), bool), np.ones((3, 15), bool)
    a, b = (apply(config, SOUND, train=True, time_mask=mask).last for mask in (none, all_))
    np.testing.assert_array_equal(a, b)


def test_channels_are_masked_at_random_in_training():
    config = config_of("wav2vec2", mask_feature_prob=0.5, mask_feature_length=2)
    a, b = (apply(config, SOUND, train=True, seed=seed).last for seed in (1, 2))
    assert not np.allclose(a, b)


def test_a_time_mask_without_its_vector_is_refused():
    with pytest.raises(ValueError, match="no vector for it"):
        apply(config_of("wav2vec2"), SOUND, time_mask=np.zeros((3, 15), bool))


def test_bfloat16_computes_near_float32_from_float32_parameters():
    config, options = config_of("wavlm", mask_time_prob=0.1), (("dtype", jnp.bfloat16),)
    model = SpeechTransformer(config, dtype=jnp.bfloat16)
    shapes = jax.eval_shape(model.init, jax.random.key(0), SOUND)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype(np.float32)}
    half, full = apply(config, SOUND, options=options), apply(config, SOUND)
    assert half.last.dtype == jnp.bfloat16
    gap = np.abs(half.last.astype(np.float32) - full.last).max()
    assert gap < 0.1 * np.abs(full.last).max()


@pytest.mark.parametrize("taps", [3, 4, 5])  # transforms of odd and even size
def test_the_positional_convolution_is_one_over_taps_in_groups(taps):
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 7, 6)), rng.normal(size=(taps, 3, 6))
    want = np.zeros_like(x)
    for t in range(7):
        for k in range(taps):
            if 0 <= (s := t + k - taps // 2) < 7:
                for group in (slice(0, 3), slice(3, 6)):
                    want[:, t, group] += x[:, s, group] @ kernel[k][:, group]
    ours = convolve(x.astype(np.float32), kernel.astype(np.float32), 2)
    np.testing.assert_allclose(ours, want, atol=1e-5)


def test_positions_leave_each_device_its_own_rows_of_a_batch():
    # A fast transform of the batch would be done whole by every device.
    x, kernel = np.zeros((2, 7, 6), np.float32), np.zeros((4, 3, 6), np.float32)
    traced = str(jax.make_jaxpr(lambda x, kernel: convolve(x, kernel, 2))(x, kernel))
    assert re.findall(r":(\S+) = fft", traced) == ["c64[3,6,6]"]  # the kernel's alone


def test_near_distances_have_buckets_of_their_own():
    distance = np.array([-100, -16, -5, -4, -2, -1, 0, 1, 2, 4, 5, 16, 100])
    # 16 buckets: 8 a side, 4 of them exact, then 4 + log2(distance / 4) / 2 * 4.
    want = [7, 7, 4, 4, 2, 1, 0, 9, 10, 12, 12, 15, 15]
    np.testing.assert_array_equal(buckets(distance, 16, 16), want)
    assert buckets(np.array([6]), 16, 16) == 8 + 4 + int(4 * np.log2(6 / 4) / 2)


def test_sound_that_is_too_short_for_a_frame_is_one_line():
    model = SpeechTransformer(config_of("wav2vec2"))
    shortest = next(n for n in range(SAMPLES) if frames_of(model.config, n) == 1)
    jax.eval_shape(model.init, jax.random.key(0), SOUND[:, :shortest])
    with pytest.raises(UserError, match=f"sound of {shortest - 1} samples has no frame"):
        jax.eval_shape(model.init, jax.random.key(0), SOUND[:, : shortest - 1])


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 2), ("gpu", 0)])
def test_convolutions_are_products_on_a_gpu(platform, convolutions, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    config = config_of("wavlm")
    traced = jax.make_jaxpr(SpeechTransformer(config).apply)(variables_of(config), SOUND)
    assert str(traced).count(" = conv_general_dilated") == convolutions


def test_the_forms_for_a_gpu_give_what_those_for_a_cpu_give(monkeypatch):
    config = config_of("wavlm")
    assert frames_of(config, SAMPLES) % 8  # attention pads them
    model, variables = SpeechTransformer(config), variables_of(config)
    here = model.apply(variables, SOUND).last
    loss, _, grads = gradients("wavlm")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(model.apply(variables, SOUND).last, here, rtol=1e-4, atol=1e-5)
    there, _, others = gradients.__wrapped__("wavlm")
    np.testing.assert_allclose(there, loss, rtol=1e-5)
    largest = max(np.abs(grad).max() for grad in grads.values())
    for name, grad in grads.items():
        np.testing.assert_allclose(others[name], grad, atol=1e-6 * largest, err_msg=name)
