"""Options that golden fixtures may have: they are read from the fixture, not taken as known."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import interop
from affect_jax.interop import save_safetensors
from affect_jax.models.blocks.step_pooling import StepPool
from tests.golden import compare, fixture
from tests.golden.adapters.avb_heads import without_noise
from tests.golden.adapters.avb_losses import optimiser_options
from tests.golden.adapters.avb_optimiser import optimiser_of, unrounded
from tests.golden.adapters.ras_speech import LoudPool
from tests.golden.adapters.rlps_models import _six_conv_names

POOLS = (StepPool, LoudPool)  # ours, the original's


@pytest.fixture
def made(tmp_path):
    """Function: a fixture of this name, meta.json, arrays and weights."""

    def make(name, meta, arrays, weights=None):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "meta.json").write_text(json.dumps(meta))
        np.savez(folder / "cases.npz", **arrays)
        if weights:
            save_safetensors(folder / "weights.safetensors", weights)
        return fixture.Fixture(folder)

    return make


# What torch's scheduler gives: the third score is better by share alone; two epochs after a cut
# count for nothing; a cut of no more than 1e-8 is none.
def test_a_plateau_has_the_ways_that_its_fixture_names(made):
    rates = np.stack([[1, 1, 0.5, 0.5, 0.5, 0.4], np.full(6, 1.5e-8)], 1)
    settings = dict(mode="min", patience=0, threshold=0.05, threshold_mode="abs", cooldown=2)
    settings |= dict(min_lr=[0.4, 0.0], eps=1e-8)
    stored = {"in_scores": np.array([1, 0.9, 0.852, 0.84, 0.9, 0.9]), "out_lr_factor05": rates}
    one = made("avb__plateau", {"settings": settings}, stored)
    ours = fixture.adapters()["avb__plateau"](one).arrays["out_lr_factor05"]
    np.testing.assert_allclose(ours, rates, rtol=1e-6)


# Weights after three steps from (1, -2), by torch.optim.
@pytest.mark.parametrize(
    ("options", "left"),
    [
        (dict(optimizer="adamw", weight_decay=0.1), [0.7743056, -1.9295342]),
        (dict(optimizer="AdamW", weight_decay=0.1, amsgrad=True), [0.8035070, -1.9389163]),
        (dict(optimizer="sgd", weight_decay=0.1), [-0.1229999, -1.7009999]),
        (dict(optimizer="rmsprop", weight_decay=0.1), [0.5178221, -2.0218847]),
    ],
)
def test_an_optimiser_is_that_of_its_fixture(options, left):
    options = options | dict(lr=0.1, betas=(0.5, 0.6), eps=1e-3)
    params = {"w": jnp.array([1.0, -2.0])}
    optimiser = optimiser_of(options, params)
    state, scale = optimiser.init(params), {"default": 1.0}
    for grad in ([4.0, 1.0], [0.1, -3.0], [0.2, 0.0]):
        params, state = optimiser.update({"w": jnp.array(grad)}, state, params, 0.0, scale)
    np.testing.assert_allclose(params["w"], left, atol=1e-6)


def test_numbers_of_an_optimiser_may_end_a_sentence(made):
    note = "AdamW: lr 0.02, weight decay 0.1, betas 0.8/0.95, eps 1e-7. Others: eps."
    one = made("x", {"notes": [note, "lr 3."]}, {"in_x": np.ones(1)})
    said = optimiser_options(one)
    assert said.pop("optimizer") == "AdamW" and said.pop("betas") == ("0.8", "0.95")
    assert {k: float(x) for k, x in said.items()} == dict(lr=0.02, weight_decay=0.1, eps=1e-7)


# 1 - 0.9999 has four digits in float32.
def test_a_step_of_adam_can_be_had_unrounded():
    options = dict(optimizer="adam", lr=0.1, betas=(0.9, 0.9999))
    params, grad = {"w": jnp.ones(1)}, {"w": jnp.ones(1)}
    optimiser = optimiser_of(options, params)
    gaps = []
    for scale in (1.0, unrounded(options, 1)):
        new, _ = optimiser.update(grad, optimiser.init(params), params, 0.0, {"default": scale})
        gaps.append(abs(float(new["w"][0]) - 0.9))
    assert gaps[0] > 1e-6 > gaps[1]
    assert unrounded(options | {"optimizer": "sgd"}, 1) == 1


def test_only_true_gradients_of_a_joint_bias_are_compared():
    ours, stored = np.arange(6.0), np.arange(6.0) + 10
    for head, wanted in (("branch_v2", [0, 1, 12, 13, 4, 5]), ("branch", [0, 1, 12, 13, 14, 15])):
        got = without_noise(head, "mhas.0.in_proj_bias", ours, stored)
        np.testing.assert_array_equal(got, wanted)


def test_pooling_without_a_mask_adds_nothing_to_a_variance():
    x, every = jnp.tile(jnp.array([0.0, 2e-3]), 4)[None, :, None], jnp.ones((1, 8), bool)
    deviations = [kind(2, "statistics").apply({}, x, every)[0][..., 1] for kind in POOLS]
    np.testing.assert_allclose(deviations[0], 1e-3 * np.sqrt(2), rtol=1e-4)
    np.testing.assert_allclose(deviations[1], 1e-3, rtol=1e-4)


def test_a_network_of_grey_pictures_reads_one_of_three_equal_channels():
    kernel = np.ones((3, 3, 1, 2), np.float32)
    for channels, stored in ((1, kernel), (3, np.repeat(kernel, 3, 2))):
        table = _six_conv_names(channels)
        template = {"params": {"backbone": {"conv_0": {"kernel": np.zeros((3, 3, 3, 2))}}}}
        ours, _ = interop.to_variables(table, {"conv_0.kernel": stored}, template)
        assert ours["params"]["backbone"]["conv_0"]["kernel"].sum() == stored.sum()
        back = interop.to_original(table, ours)
        np.testing.assert_array_equal(back["conv_0.kernel"], stored)


def test_returns_of_a_whole_episode_differ(made):
    config = {"ascent": {"steps": 0, "lr": 0.1, "objective": "mean of signed return"}}
    meta = {"config": config, "readings": {"episode_sum": "sum_j a_j R_j", "literal": "R_i"}}
    given = {"in_states_0": np.ones((2, 2)), "in_rewards_0": np.array([0.5, -0.5])}
    given |= {"in_actions_0": np.array([1, 0]), "out_objective_episode_sum_0": np.ones(())}
    given["out_objective_literal_0"] = np.array(0.0)  # p = 1 / 2
    weights = {"dense_0.kernel": np.zeros((2, 1)), "dense_0.bias": np.zeros(1)}
    one = made("rlps__policy_gradient", meta, given, weights)
    result = compare.judge(one, fixture.adapters()[one.name])
    assert result.verdict == "pass" and "episode_sum here, 1 array" in result.reason
