"""Smoothing against plain loops, and its edges."""

import time

import numpy as np
import pytest

from affect_jax.smoothing import KINDS, smooth, smooth_tracks
from data_pipelines.errors import UserError


def plain(x, window, kind):
    """Frame by frame, from the definition."""
    y = np.empty(len(x))
    for t in range(len(x)):
        s = np.arange(len(x))
        if kind in ("mean", "median"):
            near = x[np.abs(s - t) <= window]
            y[t] = near.mean() if kind == "mean" else np.median(near)
            continue
        if kind == "gaussian":
            weight = np.exp(-((s - t) ** 2) / (2 * window**2)) * (np.abs(s - t) <= 4 * window)
        else:
            weight = np.where(s <= t, (window / (1 + window)) ** np.maximum(t - s, 0), 0)
        y[t] = (weight * x).sum() / weight.sum()
    return y


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("frames", "window"), [(1, 5), (2, 1), (7, 2), (40, 5), (9, 50), (5, 0), (4, 10**9)]
)
def test_every_kind_is_its_definition_with_edges_cut(kind, frames, window):
    x = np.random.default_rng(frames).normal(size=frames) + 3
    expected = plain(x, window, kind) if window else x
    np.testing.assert_allclose(smooth(x, window, kind), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_stays_constant_and_dimensions_stay_apart(kind):
    x = np.stack([np.full(30, 0.3), np.arange(30.0)], 1)
    y = smooth(x, 4, kind)
    np.testing.assert_allclose(y[:, 0], 0.3, rtol=1e-12)
    np.testing.assert_allclose(y[:, 1], smooth(x[:, 1], 4, kind), rtol=1e-12)


def test_the_mean_of_a_long_track_keeps_its_digits():
    x = 1e3 + np.random.default_rng(0).normal(size=200_000)
    np.testing.assert_allclose(smooth(x, 50)[-60], x[-110:-9].mean(), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_nan_touches_only_the_frames_in_whose_window_it_is(kind, window):
    x = np.random.default_rng(0).normal(size=(100, 2))
    clean = smooth(x, window, kind)
    x[40, 0] = np.nan
    reach = {"gaussian": 4 * window}.get(kind, window)
    first, last = (40, 99) if kind == "exponential" else (40 - reach, 40 + reach)
    y, touched = smooth(x, window, kind), np.zeros((100, 2), bool)
    touched[first : last + 1, 0] = True
    np.testing.assert_array_equal(np.isnan(y), touched)
    np.testing.assert_allclose(y[~touched], clean[~touched], rtol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [3, 20])
def test_a_large_value_takes_no_digits_from_frames_that_do_not_hold_it(kind, window):
    x = np.random.default_rng(0).normal(size=300)
    x[40] = 1e8
    clean = np.r_[x[:40], 0, x[41:]]
    far = slice(40 + 4 * window + 1, None)
    # An exponential window never ends: there the large value fades, and its rounding with it.
    want = plain(x if kind == "exponential" else clean, window, kind)[far]
    np.testing.assert_allclose(smooth(x, window, kind)[far], want, rtol=1e-11, atol=1e-13)


def test_tracks_are_smoothed_each_by_itself():
    x = np.r_[np.zeros(5), np.ones(4)][:, None]
    np.testing.assert_array_equal(smooth_tracks(x, [0, 5, 9], 3), x)


def test_windows_that_hold_whole_tracks_tie_exactly():
    x = np.random.default_rng(0).normal(size=(60, 1))
    for kind in ("mean", "median"):
        whole = smooth_tracks(x, [0, 37, 60], 36, kind)
        for window in (40, 95, 10**9):
            np.testing.assert_array_equal(smooth_tracks(x, [0, 37, 60], window, kind), whole)


def test_what_cannot_be_smoothed_with_is_refused():
    with pytest.raises(UserError, match="Did you mean 'median'"):
        smooth(np.zeros(3), 1, "medain")
    with pytest.raises(UserError, match="0 frames or more"):
        smooth(np.zeros(3), -1)


@pytest.mark.parametrize("kind", KINDS)
def test_tracks_of_one_length_are_smoothed_together_to_the_same_bits(kind):
    bounds = np.cumsum([0, 5, 1, 3, 5, 0, 1, 5, 3])
    x = np.random.default_rng(0).normal(size=(bounds[-1], 2))
    x[7] = np.nan
    apart = [smooth(x[a:b], 2, kind) for a, b in zip(bounds, bounds[1:])]
    np.testing.assert_array_equal(smooth_tracks(x, bounds, 2, kind), np.concatenate(apart))


def test_smoothing_single_frames_costs_nothing():
    x = np.random.default_rng(0).normal(size=20_000)
    started = time.process_time()
    for kind in KINDS:
        np.testing.assert_array_equal(smooth_tracks(x, np.arange(20_001), 10, kind), x)
    assert time.process_time() - started < 0.5
