"""Frames of a track without a number: what is nearest to them, smoothed around them, and scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from affect_jax.prediction_files import Predictions
from affect_jax.smoothing import smooth_tracks
from data_pipelines.nearest_frames import nearest_frames


def filled(x_n: np.ndarray, bounds: Sequence[int]) -> np.ndarray:
    """A column [N] in which NaN has the nearest number of its track; without any it stays.

    Args:
        bounds: the rows of track i are bounds[i] to bounds[i + 1].
    """
    filled, missing = np.array(x_n), np.isnan(x_n)
    for start, stop in zip(bounds[:-1], bounds[1:]):
        gone = missing[start:stop]
        if gone.any() and not gone.all():
            known = start + np.flatnonzero(~gone)
            wanted = start + np.flatnonzero(gone)
            filled[wanted] = x_n[known[nearest_frames(wanted, known)]]
    return filled


def smooth_around(
    x_n: np.ndarray, bounds: Sequence[int], window: int, kind: str = "mean"
) -> np.ndarray:
    """A column [N] smoothed as `smooth_tracks`; NaN stays NaN, and is no hole in its neighbours.

    For these it counts as the nearest number of the track.

    Source: SMIL-SPCRAS/CVPRW-26, `multimodal_framewise_v2_callback`.
    """
    missing = np.isnan(x_n)
    if not window or not missing.any():
        return smooth_tracks(x_n, bounds, window, kind)
    return np.where(missing, np.nan, smooth_tracks(filled(x_n, bounds), bounds, window, kind))


def where_predicted(labelled: Predictions, raws: Sequence[np.ndarray]) -> Predictions:
    """The same with the labels of those frames alone that all of these predict.

    Args:
        raws: raw predictions [N, ...] each, NaN where there is none.
    """
    missing = np.any([np.isnan(raw).reshape(len(raw), -1).any(1) for raw in raws], 0)
    mask = labelled.label_mask
    if mask is None or not missing.any():
        return labelled
    kept = mask & ~missing.reshape(-1, *[1] * (mask.ndim - 1))
    return dataclasses.replace(labelled, label_mask=kept)
