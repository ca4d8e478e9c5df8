"""Log-mel spectrograms and their changes in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.mel import LogMel, SpecAugment, mel_filters

MEL = dict(rate=8000, bands=5, window=0.02, hop=0.01, low=100.0, high=4000.0)
OFF = dict(stretch=0.0, shift=0, times=0, time=0, bands=0, band=0)


@jax.jit
def spectrogram(x, mask):
    return LogMel(**MEL).apply({}, x, mask)


def test_power_of_a_frame_is_that_of_a_float64_transform():
    x = np.random.default_rng(0).normal(size=(2, 400)) / 3
    got, mask = spectrogram(x.astype(np.float32), np.ones((2, 400), bool))
    assert got.shape == (2, 4, 5) and mask.all()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(160) / 160)
    power = np.abs(np.fft.rfft(x[1, 80:240] * window, 256)) ** 2
    hertz = np.arange(129) * 8000 / 256
    mel = 2595 * np.log10(1 + hertz / 700)
    edges = np.linspace(*(2595 * np.log10(1 + np.array([100, 4000]) / 700)), 7)
    edges = np.interp(edges, mel, hertz)
    for k in range(5):
        weight = np.interp(hertz, edges[k : k + 3], [0, 1, 0])
        np.testing.assert_allclose(got[1, 1, k], np.log(power @ weight + 1e-6), atol=0.02)


def test_filters_meet_at_their_peaks():
    inner = mel_filters(8000, 4096, 5, 100.0, 4000.0).sum(1)[200:1000]
    np.testing.assert_allclose(inner, 1, atol=1e-5)


def test_a_frame_is_one_of_samples_that_all_exist_and_a_short_row_has_its_first():
    x, samples = np.ones((3, 400), np.float32), np.array([[399], [50], [0]])
    got, mask = spectrogram(x, np.arange(400) < samples)
    assert mask.tolist() == [[True, True, True, False], [True] + [False] * 3, [False] * 4]
    assert not got[0, 3].any() and got[0, 2].any()
    assert jax.eval_shape(spectrogram, x[:, :30], x[:, :30] > 0)[0].shape == (3, 1, 5)


@pytest.fixture(scope="module")
def drawn():
    """drawn(**changes): (spectrograms whose last row is half as long, changed, their mask)."""

    def call(**changes):
        x = (1 + np.arange(20)[:, None] + 100 * np.arange(8) + np.zeros((30, 1, 1))).astype("f4")
        x[-1, 10:] = 0
        module, key = SpecAugment(**OFF | changes), jax.random.key(0)
        changed = jax.jit(lambda *given: module.apply({}, *given, True, rngs={"dropout": key}))
        new, left = changed(x, x[..., 0] > 0)
        assert not np.asarray(new)[~np.asarray(left)].any()
        return np.asarray(x), np.asarray(new), np.asarray(left)

    return call


def test_masks_are_spans_of_whole_frames_and_whole_bands(drawn):
    x, new, left = drawn(times=1, time=6, bands=1, band=3)
    gone = (new == 0) & left[..., None]
    frames, bands = gone.all(2).sum(1), gone.all(1).sum(1)
    assert set(frames) == set(range(7)) and set(bands[:-1]) == set(range(4))
    assert (new == x)[~gone].all()
    # Nothing else is gone.
    assert (gone == (gone.all(2)[:, :, None] | gone[np.arange(30)].all(1)[:, None]))[:-1].all()


def test_pitch_moves_all_bands_of_a_row_alike(drawn):
    x, new, _ = drawn(shift=2)
    moved = np.round((new - x)[:-1, :, 3] / 100)
    assert (moved == moved[:, :1]).all() and set(moved[:, 0]) == {-2, -1, 0, 1, 2}


def test_speed_stretches_a_row_about_its_beginning(drawn):
    x, new, left = drawn(stretch=0.5)
    assert (new[:, 0] == x[:, 0]).all()
    last = new[:-1, :, 0].max(1)  # the number of the last frame that is heard, from 1
    assert last.min() < 16 and last.max() == 20
    count = left[:-1].sum(1)
    assert count.min() < 16 and ((count == 20) | (last >= 19)).all()


def test_nothing_changes_outside_training():
    x, mask = jnp.ones((2, 4, 3)), jnp.ones((2, 4), bool)
    assert SpecAugment(**OFF | dict(shift=2, times=1, time=4)).apply({}, x, mask, False)[0] is x


@pytest.mark.parametrize(
    ("module", "change", "message"),
    [
        (LogMel, dict(high=5000.0), "high = 5000.0: expected 0 <= low < high <= 4000"),
        (LogMel, dict(hop=0.03), "hop = 0.03"),
        (LogMel, dict(bands=0), "bands = 0"),
        (SpecAugment, dict(time=-1), "time = -1"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(module, change, message):
    with pytest.raises(ValueError, match=message):
        module(**(MEL if module is LogMel else OFF) | change)
