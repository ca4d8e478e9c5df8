"""Numbers of a mouth are those taken window by window."""

import numpy as np
import pytest

from data_pipelines import mouth as mouth_numbers


def test_mouth_features_follow_their_definition():
    got = mouth_numbers.mouth_features(
        np.array([0, 2000, 9, 500], np.uint16), np.array([0, 2, 0, 1], np.uint8)
    )
    np.testing.assert_allclose(
        got,
        [
            [0, 0, 0, 0, 0],
            [1, 1, np.log(0.003), 0.2, 1],
            [0, 0, 0, 0, 1],
            [1, 0, np.log(0.0015), 0.05, 0],
        ],
        rtol=1e-6,
    )


def mouth_of_90_frames(seed):
    """Features of a face that is gone after 60 frames, and now and then before."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 3, 90) * (np.arange(90) < 60)
    return mouth_numbers.mouth_features(rng.integers(50, 4000, 90), state)


@pytest.mark.parametrize("fps", [30.0, 2.0, 0.3])
def test_mouth_context_equals_the_windows_taken_one_by_one(fps):
    mouth = mouth_of_90_frames(seed=1)
    got = mouth_numbers.mouth_context(mouth, fps)
    padded = np.pad(mouth.astype(np.float64), ((3000, 3000), (0, 0)), mode="edge")
    for name, seconds in mouth_numbers.SCALES.items():
        for i in range(90):
            width = max(1, round((seconds or 0) * fps))
            start = 3000 + i - width // 2
            window = mouth if seconds is None else padded[start : start + width]
            window = window.astype(np.float64)
            seen = window[:, 0] > 0
            expected = np.zeros(6)
            if seen.mean() >= 1e-3:
                face = window[seen]
                expected[:4] = (
                    face[:, 2].mean(),
                    face[:, 2].std(),
                    face[:, 3].mean(),
                    face[:, 1].mean(),
                )
                expected[4] = window[:, 4].mean()
            expected[5] = seen.mean()
            np.testing.assert_allclose(got[name][i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fps", [30.0, 7.0, 0.3])
def test_mouth_quantiles_are_those_of_the_windows_taken_one_by_one(fps):
    mouth = mouth_of_90_frames(seed=2)
    got = mouth_numbers.mouth_quantiles(mouth, fps)
    padded = np.pad(mouth[:, 3].astype(np.float64) / 100, 500, mode="edge")
    for name, seconds in mouth_numbers.QUANTILE_SCALES.items():
        width = max(1, round(seconds * fps))
        for i in range(90):
            window = np.sort(padded[500 + i - width // 2 :][:width])
            low, middle, high = got[name][i]
            # The value with a tenth, half and nine tenths of the window below it.
            for value, share in ((low, 0.1), (middle, 0.5), (high, 0.9)):
                assert value == np.float32(np.log(window[int(share * width)] + 0.01))
