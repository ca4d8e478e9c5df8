"""Variants of configs/ras_audio.py."""

import dataclasses
import re

import jax.numpy as jnp
import pytest

from affect_jax.config import load
from affect_jax.models.blocks.speech.chosen import speech_config
from affect_jax.optim import Optimiser
from configs.speech_keys import all_but_last, wavlm_large


def test_the_paper_trains_the_last_four_layers_of_wavlm_large_at_a_rate_of_their_own():
    config = load("configs/ras_audio.py:paper")
    backbone = speech_config(config.model.backbone)
    assert (backbone.hidden_size, backbone.num_hidden_layers) == (1024, 24)
    assert backbone.do_stable_layer_norm and backbone.feat_extract_norm == "layer"
    layers = {f"layer_{i}": {"kernel": jnp.zeros(2)} for i in range(24)}
    rest = {name: {"scale": jnp.zeros(2)} for name in ("conv_0", "norm", "relative")}
    parts = {name: {"kernel": jnp.zeros(2)} for name in ("pool", "head")}
    params = {"backbone": layers | rest, **parts}
    optimiser = Optimiser(config.optim, params, config.freeze, epochs=config.epochs)
    trained, frozen = optimiser.split(params)
    assert set(trained) == {"backbone", "pool", "head"}
    assert set(trained["backbone"]) == {f"layer_{i}" for i in range(20, 24)}
    assert len(frozen["backbone"]) == 23
    state = optimiser.fresh_plateau()
    for score in (0.5, 0.5001, 0.5001, 0.5001):
        state = optimiser.evaluated(state, score, 0.5, 1)
    rates = optimiser.rates(0.0, state["scale"])
    assert rates == {"backbone": pytest.approx(5e-6), "default": pytest.approx(1e-4)}


def test_all_layers_of_wavlm_have_their_relative_positions_with_them():
    small = wavlm_large()
    small.num_hidden_layers = 2
    frozen = re.compile(all_but_last(small, 2)[0]).fullmatch
    names = ("layer_0/x", "layer_1/x", "relative/x", "norm/x")
    assert [bool(frozen(f"backbone/{name}")) for name in names] == [False, False, False, True]


def test_the_changes_of_sound_are_those_of_the_authors():
    augment = load("configs/ras_audio.py:paper").audio.augment
    probabilities = {name: step.probability for name, step in augment.items()}
    assert probabilities == dict(gain=0.3, noise=0.6, band=0.3, reverb=0.2)
    off = load("configs/ras_audio.py").audio.augment
    assert not any(step.probability for step in off.values())


def test_the_paper_s_backbone_differs_from_the_library_s_default_in_what_is_published():
    got = dataclasses.asdict(speech_config(wavlm_large()))
    sizes = ("intermediate_size", "num_attention_heads", "num_buckets", "max_bucket_distance")
    assert [got[name] for name in sizes] == [4096, 16, 320, 800]
