"""Smoothing of values over the frames of a track. Windows are searched by ensemble/choose.py.

Raw predictions are smoothed first and clipped to the labels' range afterwards, as the originals
do. Frames are the rows of the store in their order: where images were sampled (s-Aff-Wild2), a
window counts annotated frames, not time.

At the ends of a track every kind uses the frames that are there: weights are renormalised over
them, a median is that of fewer frames. A constant stays constant, and so does the length.

Sources: specs of the ABAW3 and ABAW4 winners' code (centred mean with cut edges, windows of 50 for
valence and 20 for arousal in the one, 0, 5, 10 or 15 by search in the other; both one-sided).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage, signal

from affect_jax.metrics.arrays import as_numbers
from data_pipelines.errors import UserError, nearest

Kernel = Callable[[np.ndarray], np.ndarray]


def smooth(x_tk: np.ndarray, window: int, kind: str = "mean") -> np.ndarray:
    """One track smoothed over its first axis, in float64; window 0 returns the input.

    A frame without a number (NaN) takes the number of those frames only in whose windows it is.
    An exponential window holds all that came before.

    Args:
        x_tk: [T, ...] values, any number of frames; what a masked array masks is NaN.
        window: in frames. mean and median: frames t - window to t + window; gaussian: the
            standard deviation, cut at four of them; exponential: the mean age of the frames, of
            which it takes past ones only, so it lags by that much.
        kind: name in KINDS.
    """
    if kind not in KINDS:
        raise UserError(f"smoothing {kind!r}: {nearest(kind, KINDS)}")
    if window < 0:
        raise UserError(f"smoothing window {window}: 0 frames or more expected.")
    x = _float64(x_tk)
    return KINDS[kind](x, window) if window and len(x) else x


def _float64(x: np.ndarray) -> np.ndarray:
    numbers, missing = as_numbers("smooth", "x_tk", x)
    numbers = np.asarray(numbers, np.float64)
    return numbers if missing is None else np.where(missing, np.nan, numbers)


def _renormalised(linear: Callable[[np.ndarray, int], np.ndarray]) -> Callable:
    """A linear filter that takes frames outside the track as zero, made to weigh only real ones."""

    def smoothed(x: np.ndarray, window: int) -> np.ndarray:
        mass = linear(np.ones(len(x)), window)
        return linear(x, window) / mass.reshape(-1, *[1] * (x.ndim - 1))

    return smoothed


def _box(x: np.ndarray, window: int) -> np.ndarray:
    """Sum over the frames t - window to t + window that are there, from those of 2, 4, 8, ...

    A running sum would be one pass, but a NaN stays in it, and a large value takes digits along.
    """
    # Windows that all hold the whole track must tie exactly: a search takes the first of them.
    window = min(window, len(x) - 1)
    # sums[i] is that of `span` frames from frame i - window on; what is outside the track is 0.
    sums = np.pad(x, [(window, window), *[(0, 0)] * (x.ndim - 1)])
    total, length, start, span = np.zeros_like(x), 2 * window + 1, 0, 1
    while span <= length:
        if length & span:
            total += sums[start : start + len(x)]
            start += span
        sums = sums[:-span] + sums[span:]
        span *= 2
    return total


def _gaussian(x: np.ndarray, window: int) -> np.ndarray:
    radius = min(4 * window, len(x) - 1)
    return ndimage.gaussian_filter1d(x, window, axis=0, mode="constant", radius=radius)


def _exponential(x: np.ndarray, window: int) -> np.ndarray:
    return signal.lfilter([1.0], [1.0, -window / (1 + window)], x, axis=0)


def _median(x: np.ndarray, window: int) -> np.ndarray:
    window = min(window, len(x) - 1)
    nan = np.isnan(x)
    x = np.where(nan, 0, x)  # the filter moves a sorted window along, and NaN has no place in it
    y = ndimage.median_filter(x, (2 * window + 1, *[1] * (x.ndim - 1)), mode="nearest")
    for t in range(len(x)):
        if t < window or t >= len(x) - window:
            y[t] = np.median(x[max(t - window, 0) : t + window + 1], axis=0)
    return np.where(_box(nan.astype(np.float64), window) > 0, np.nan, y) if nan.any() else y


KINDS = {
    "mean": _renormalised(_box),
    "gaussian": _renormalised(_gaussian),
    "median": _median,
    "exponential": _renormalised(_exponential),
}


def smooth_tracks(
    x_nk: np.ndarray, bounds: Sequence[int], window: int, kind: str = "mean"
) -> np.ndarray:
    """Every track by itself: rows bounds[i] to bounds[i + 1] of [N, ...]. As `smooth`."""
    x = _float64(x_nk)
    if not window:
        return x
    y, starts, lengths = np.empty_like(x), np.asarray(bounds)[:-1], np.diff(bounds)
    for length in np.unique(lengths):  # tracks of one length side by side, as more columns
        rows = starts[lengths == length] + np.arange(length)[:, None]
        y[rows] = smooth(x[rows], window, kind)
    return y
