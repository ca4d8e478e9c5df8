"""Changes of sound, against float64 numpy, and how they are drawn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.augment import add_noise, augment, gain, impulse, low_pass, mixup, reverb, steps_of
from configs.audio_keys import audio_keys
from data_pipelines.errors import UserError

RATE, SIZE = 800, 120


@pytest.fixture(scope="module")
def sound():
    """(sound, mask, keys) of 12 rows, the last half as long."""
    x = np.random.default_rng(0).normal(size=(12, SIZE)).astype(np.float32) / 5
    mask = np.ones((12, SIZE), bool)
    mask[-1, SIZE // 2 :] = False
    keys = jax.vmap(jax.random.key)(jnp.arange(12))
    return jnp.asarray(np.where(mask, x, 0)), jnp.asarray(mask), keys


def always(**probability):
    """All steps off but those."""
    config = audio_keys().augment.to_dict()
    for name, share in probability.items():
        config[name]["probability"] = share
    return steps_of(config)


def test_decibels_are_twenty_logarithms_of_the_amplitude():
    np.testing.assert_allclose(gain(jnp.ones(3), 20.0), 10 * np.ones(3), rtol=1e-6)


def test_noise_has_its_ratio_to_the_samples_that_exist(sound):
    x, mask, _ = sound
    noise = jax.random.normal(jax.random.key(1), x.shape) * 7
    added = np.float64(add_noise(x, noise, jnp.full(12, 10.0), mask) - x)
    power = np.square(x, dtype=np.float64).sum(1) / mask.sum(1)
    ratio = power / (np.square(added).sum(1) / mask.sum(1))
    np.testing.assert_allclose(10 * np.log10(ratio), 10, rtol=1e-4)
    assert not added[-1, SIZE // 2 :].any()


def test_low_pass_keeps_slow_waves_and_takes_fast_ones():
    time = np.arange(SIZE) / SIZE
    slow, fast = (np.cos(2 * np.pi * n * time).astype(np.float32) for n in (5, 40))
    np.testing.assert_allclose(low_pass(slow + fast, 20), slow, atol=1e-5)
    np.testing.assert_allclose(low_pass(slow + fast, 0), 0, atol=1e-6)


def test_reverb_is_a_convolution_whose_impulse_fades(sound):
    x = np.float64(sound[0][0])
    taps = impulse(jax.random.normal(jax.random.key(0), (40,)), 4.0, 30)
    assert np.abs(taps).sum() == pytest.approx(1) and not taps[30:].any()
    envelope = taps[:30] / jax.random.normal(jax.random.key(0), (40,))[:30]
    np.testing.assert_allclose(envelope[29] / envelope[0], np.exp(-4), rtol=1e-4)
    expected = 0.7 * x + 0.3 * np.convolve(x, np.float64(taps))[:SIZE]
    np.testing.assert_allclose(reverb(sound[0][0], taps, 0.3), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["gain", "noise", "band", "reverb"])
def test_each_step_changes_a_row_by_its_own_key_and_leaves_padding(sound, name):
    x, mask, keys = sound
    changed = augment(x, mask, keys, always(**{name: 1.0}), RATE)
    assert np.isfinite(changed).all() and (np.abs(changed - x).max(1) > 1e-4).all()
    assert not changed[-1, SIZE // 2 :].any()
    alone = augment(x[3:4], mask[3:4], keys[3:4], always(**{name: 1.0}), RATE)
    np.testing.assert_allclose(alone[0], changed[3], atol=1e-6)


def test_a_step_changes_the_share_of_rows_that_its_probability_says():
    x, mask = jnp.full((400, 4), 0.1), jnp.ones((400, 4), bool)
    keys = jax.vmap(jax.random.key)(jnp.arange(400))
    changed = augment(x, mask, keys, always(gain=0.3), RATE)
    assert np.mean(np.asarray(changed != x).any(1)) == pytest.approx(0.3, abs=0.07)


def test_no_probability_changes_nothing_and_others_stay_in_the_range_of_sound(sound):
    x, mask, keys = sound
    assert augment(x, mask, keys, always(), RATE) is x
    assert np.abs(augment(x * 9, mask, keys, always(gain=1.0), RATE)).max() == 1


def band(**values):
    ranges = dict(low_pass=(0.1, 0.5), band_from=(0.0, 0.2), band_to=(0.2, 1.0))
    return dict(probability=0.5) | ranges | values


@pytest.mark.parametrize(
    ("step", "values", "message"),
    [
        ("gian", {}, "no such choice. Did you mean 'gain'"),
        ("gain", dict(probability=1.5, db=(0.0, 1.0)), "gain: probability = 1.5: expected"),
        ("gain", dict(probability=0.5, db=(1.0, 0.0)), r"gain: db = \(1.0, 0.0\): expected \(from"),
        ("gain", dict(probability=0.5), "gain.db is missing"),
        ("gain", dict(probability=0.5, db=(math.nan, 1.0)), "gain.db = .*: expected finite"),
        ("noise", dict(probability=0.5, snr=3.0), "noise.snr = 3.0: expected finite numbers"),
        (
            "band",
            band(low_pass=(0.0, 2.0)),
            r"low_pass = .*: expected \(from, to\), within 0 and 1",
        ),
        ("band", band(band_from=(0.1, 0.3)), "expected that every band begins below its end"),
        (
            "reverb",
            dict(probability=0.5, seconds=(-1.0, 1.0), decay=(1.0, 2.0), mix=(0.0, 1.0)),
            "seconds = .*: expected .*, within 0 and inf",
        ),
    ],
)
def test_a_wrong_step_is_one_line(step, values, message):
    with pytest.raises(UserError, match=message):
        steps_of({step: values})


@pytest.fixture(scope="module")
def mixed():
    """(batch of four clips and an empty place, mixed; the third clip has no class)."""
    exists = np.array([True, True, True, True, False])
    mask = (np.arange(6) < np.array([[6], [3], [5], [4], [0]])) & exists[:, None]
    batch = {
        "inputs": {"audio": np.where(mask, np.arange(5.0)[:, None] + 1, 0)},
        "inputs_mask": {"audio": mask},
        "labels": {"kind": np.array([0, 2, 1, 2, 0]), "value": np.arange(10.0).reshape(5, 2)},
        "label_mask": {
            "kind": exists & (np.arange(5) != 2),
            "value": np.broadcast_to(exists[:, None], (5, 2)),
        },
        "mask": exists,
    }
    keys = jax.vmap(jax.random.key)(jnp.arange(5))
    return batch, jax.jit(lambda b: mixup(b, ("audio",), {"kind": 3}, keys, 1.0, 5))(batch)


def test_mixed_clips_and_their_labels_have_the_same_shares(mixed):
    batch, new = mixed
    value, sound = (np.asarray(new[k][n]) for k, n in (("labels", "value"), ("inputs", "audio")))
    share = 1 - (value[:3, 0] - batch["labels"]["value"][:3, 0]) / 2
    assert ((share >= 0.5) & (share < 1)).all() and len(set(share.tolist())) == 3
    whole = batch["inputs"]["audio"]
    expected = share[:, None] * whole[:3] + (1 - share[:, None]) * whole[1:4]
    np.testing.assert_allclose(sound[:3], expected, rtol=1e-5)
    kinds = np.eye(3)[batch["labels"]["kind"]]
    expected = share[:, None] * kinds[:3] + (1 - share[:, None]) * kinds[1:4]
    np.testing.assert_allclose(new["labels"]["kind"][:3], expected, atol=1e-6)
    longer = batch["inputs_mask"]["audio"][:3] | batch["inputs_mask"]["audio"][1:4]
    assert (new["inputs_mask"]["audio"][:3] == longer).all()


def test_a_clip_without_a_next_one_stays_and_labels_exist_where_both_do(mixed):
    batch, new = mixed
    np.testing.assert_allclose(new["inputs"]["audio"][3], batch["inputs"]["audio"][3])
    assert new["labels"]["kind"][3].tolist() == [0, 0, 1]
    assert new["label_mask"]["kind"].tolist() == [True, False, False, True, False]
    assert new["label_mask"]["value"].all(1).tolist() == [True] * 4 + [False]
