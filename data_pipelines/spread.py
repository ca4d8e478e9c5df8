"""Tables of rows with spans, spread over the frames: nearest rows, or means of those that cover.

A frame stands at its 0-based image number i; a span [start, stop) covers it where start <= i and
i < stop. Rows that do not exist count for nothing.

nearest: the row that covers the frame, of several the one whose middle is nearest; where none does,
the row whose nearest covered frame is nearest, up to a largest gap. Of two that are equally near it
is the earlier. mean: the mean of the rows that cover the frame. Other frames have none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.rows import rate_of
from data_pipelines.store import AnyStore

SPREADS = ("nearest", "mean")


def require_order(store: AnyStore, name: str) -> None:
    """UserError where the spans of a track's rows do not ascend in start and stop."""
    spans = store.spans(name)
    for index, track in enumerate(store.tracks):
        own = np.asarray(spans[store.rows(name, index)])
        wrong = (np.diff(own, axis=0) < 0).any(1)
        if wrong.any():
            row = int(np.argmax(wrong)) + 1
            raise UserError(
                f"{store.path}: feature {name!r} of track {track.name!r}, row {row}: span "
                f"{own[row].tolist()} comes after {own[row - 1].tolist()}; rows must be in time "
                "order, by start and by stop."
            )


def covering(store: AnyStore, name: str, how: str, delay: float, gap: float) -> np.ndarray:
    """int32 [N, C]: rows of the table that each frame takes, -1 where there are fewer than C.

    Args:
        how: one of SPREADS.
        delay: seconds by which a frame reads earlier rows; gap: the largest of "nearest".
    """
    of_tracks, spans, mask = [], store.spans(name), store.feature_mask(name)
    for index, track in enumerate(store.tracks):
        rows = np.arange(len(spans))[store.rows(name, index)]
        rows = rows if mask is None else rows[np.asarray(mask[rows], bool)]
        start, stop = np.asarray(spans[rows], np.float64).reshape(-1, 2).T
        frame = np.asarray(store.frames[track.span], np.float64) - 1
        reach = 0.0
        if delay or gap:
            fps = float(rate_of(store, index, "config.data.spread_gap is in seconds"))
            frame, reach = frame - delay * fps, gap * fps
        near = how == "nearest"
        chosen = _nearest(start, stop, frame, reach) if near else _all(start, stop, frame)
        of_tracks.append(np.where(chosen >= 0, np.append(rows, -1)[chosen], -1))
    width = max((part.shape[1] for part in of_tracks), default=1)
    padded = [
        np.pad(part, ((0, 0), (0, width - part.shape[1])), constant_values=-1) for part in of_tracks
    ]
    return np.concatenate(padded).astype(np.int32)


def _all(start: np.ndarray, stop: np.ndarray, frame: np.ndarray) -> np.ndarray:
    low = np.searchsorted(stop, frame, side="right")
    high = np.searchsorted(start, frame, side="right")
    step = np.arange(max(int((high - low).max(initial=1)), 1))
    return np.where(step < (high - low)[:, None], low[:, None] + step, -1)


def _nearest(start: np.ndarray, stop: np.ndarray, frame: np.ndarray, reach: float) -> np.ndarray:
    if not len(start):
        return np.full((len(frame), 1), -1)
    low = np.searchsorted(stop, frame, side="right")  # the first that does not end before
    high = np.searchsorted(start, frame, side="right")
    middle = (start + stop - 1) / 2
    after = np.clip(np.searchsorted(middle, frame), low, np.maximum(high - 1, low))
    last = len(start) - 1
    after = np.minimum(after, last)
    # The first of several that are as near.
    before = np.searchsorted(middle, middle[np.maximum(after - 1, 0)])
    before = np.minimum(np.maximum(before, low), last)
    earlier = np.abs(frame - middle[before]) <= np.abs(frame - middle[after])
    inside = np.where(earlier, before, after)
    left, right = np.searchsorted(stop, stop[low - 1]), high
    left = np.where(low > 0, left, -1)
    to_left = np.where(left >= 0, frame - (stop[np.maximum(left, 0)] - 1), np.inf)
    to_right = np.where(right <= last, start[np.minimum(right, last)] - frame, np.inf)
    outside = np.where(to_left <= to_right, left, right)
    outside = np.where(np.minimum(to_left, to_right) <= reach, outside, -1)
    return np.where(high > low, inside, outside)[:, None]


class Spread:
    """A table on the frames: [N, *item], gathered when it is indexed; zeros where there is none.

    Attributes:
        mask: bool [N]: is there any row for the frame?
    """

    def __init__(self, array: Any, rows: np.ndarray, *, mean: bool):
        """`rows`: as `covering` gives them."""
        self._array, self._rows, self._mean = array, rows, mean
        self.dtype = np.dtype(np.float32) if mean else array.dtype
        self.mask = (rows >= 0).any(-1)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, frames: Any) -> np.ndarray:
        rows = self._rows[frames]
        taken = self._array[np.maximum(rows, 0)]
        mask = (rows >= 0).reshape(rows.shape + (1,) * (taken.ndim - rows.ndim))
        taken = np.where(mask, taken, np.zeros((), taken.dtype))
        axis = rows.ndim - 1
        if not self._mean:
            return taken.squeeze(axis)
        return taken.sum(axis, dtype=np.float32) / np.maximum(mask.sum(axis), 1).astype(np.float32)
