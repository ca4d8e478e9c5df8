"""Frames of a track from the rows that cover them: what a frame takes of rows that overlap.

mean               the mean of all rows that cover it
center_weighted    their mean, weighted by 1 - |j - (L - 1) / 2| / (L / 2) of frame j of L
gaussian_weighted  weighted by exp(-((j - (L - 1) / 2) / (0.22 L))^2 / 2)
last               the row that begins last

L is the number of frames that the row has, without padding.
Source: SMIL-SPCRAS/CVPRW-26, the frame-wise callbacks.
"""

from __future__ import annotations

import numpy as np

from data_pipelines.rows import Rows

GAUSSIAN = 0.22  # deviation of the weights, in lengths of the row


def _from_middle(frames: int) -> np.ndarray:
    return np.arange(frames) - (frames - 1) / 2


# {rule: frames of a row -> the weight of each}
OVERLAPS = {
    "mean": np.ones,
    "center_weighted": lambda frames: 1 - abs(_from_middle(frames)) / max(frames / 2, 1),
    "gaussian_weighted": lambda frames: np.exp(
        -0.5 * (_from_middle(frames) / (GAUSSIAN * frames)) ** 2
    ),
    "last": np.ones,
}


def reconstruct(
    rows: Rows, ids: np.ndarray, outputs: np.ndarray, total: int, overlap: str = "mean"
) -> np.ndarray:
    """Put the rows of one track together frame by frame; segments have one row a frame.

    Args:
        ids: int [n], the rows of the track.
        outputs: [n, T, ...], what was predicted for them (values behind a row's end are ignored).
        total: frames of the track.
        overlap: name in OVERLAPS.

    Returns:
        float32 [total, ...]; NaN in frames that no row covers (windows with tail="drop").
    """
    if overlap == "last":
        by_start = np.argsort(rows.start[ids], kind="stable")
        ids, outputs = np.asarray(ids)[by_start], outputs[by_start]
    shape = (-1,) + (1,) * (outputs.ndim - 2)
    sums = np.zeros((total, *outputs.shape[2:]), np.float64)
    weights = np.zeros(total)
    for row, output in zip(ids, outputs, strict=True):
        frames = rows.frames(row)
        if overlap == "last":
            sums[frames] = weights[frames] = 0
        weight = OVERLAPS[overlap](len(frames))
        sums[frames] += weight.reshape(shape) * output[: len(frames)]
        weights[frames] += weight
    with np.errstate(invalid="ignore"):
        return (sums / weights.reshape(shape)).astype(np.float32)
