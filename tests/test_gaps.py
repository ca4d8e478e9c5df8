"""Frames without a number, and what smoothing makes of them."""

import numpy as np
import pytest

from affect_jax.gaps import filled, smooth_around
from affect_jax.smoothing import KINDS, smooth

NAN = np.nan


def test_a_gap_takes_numbers_of_its_own_track_alone():
    x = np.array([NAN, 1, NAN, NAN, 2, 3, NAN, NAN, NAN, 4])
    expected = [1, 1, 1, 2, 2, 3, 3, NAN, NAN, 4]  # the third track has no number
    np.testing.assert_array_equal(filled(x, [0, 5, 7, 9, 10]), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_smoothing_goes_over_a_gap_and_leaves_it_empty(kind):
    x = np.array([1, NAN, NAN, NAN, 5, 7, NAN])
    expected = smooth(np.array([1.0, 1, 1, 5, 5, 7, 7]), 2, kind)
    expected[np.isnan(x)] = NAN
    np.testing.assert_array_equal(smooth_around(x, [0, 7], 2, kind), expected)
    np.testing.assert_array_equal(smooth_around(x, [0, 7], 0, kind), x)
