"""Means and deviations of features: what they are normalised by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore

NORMALISATIONS = ("none", "train", "track")
PIECE_BYTES = 1 << 27  # of a track that are looked at together, in float64


def normalised(store: AnyStore, features: Sequence[str]) -> tuple[str, ...]:
    """The features that a normalisation changes: not those of integers, which have a scale."""
    return tuple(n for n in features if np.dtype(store.features[n].dtype).kind == "f")


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation of each entry of each feature: {feature: float32 [*item]}."""

    mean: Mapping[str, np.ndarray]
    std: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, store: AnyStore, features: Sequence[str], tracks: Sequence[int]) -> Statistics:
        """Over all rows of the tracks where the feature exists, in float64; std 0 becomes 1.

        Raises:
            UserError: no such row, or one that is not finite.
        """
        mean, std = {}, {}
        for name in normalised(store, features):
            mask = store.feature_mask(name)
            count, total, square = 0, 0.0, 0.0
            shift = None  # the first mean: keeps the sum of squares small and exact
            for index, first, x in _pieces(store, name, tracks):
                exists = np.ones(len(x), bool)
                if mask is not None:
                    row = store.rows(name, index).start + first
                    exists = np.asarray(mask[row : row + len(x)])
                _require_finite(store, name, index, first, x, exists)
                x = x[exists]
                if not len(x):
                    continue
                shift = x.mean(0) if shift is None else shift
                count, total, square = (
                    count + len(x),
                    total + (x - shift).sum(0),
                    square + ((x - shift) ** 2).sum(0),
                )
            if not count:
                raise UserError(f"{store.path}: feature {name!r} exists in no training frame.")
            variance = np.maximum(square / count - (total / count) ** 2, 0)
            mean[name] = np.asarray(shift + total / count, np.float32)
            deviation = np.sqrt(variance).astype(np.float32)
            std[name] = np.where(deviation > 0, deviation, 1).astype(np.float32)
        return cls(mean, std)


def _pieces(
    store: AnyStore, name: str, tracks: Sequence[int]
) -> Iterator[tuple[int, int, np.ndarray]]:
    """(track, first row in it, float64 rows) of the tracks, in pieces of so many bytes."""
    array = store.feature(name)
    step = max(1, PIECE_BYTES // (8 * store.features[name].size))
    for index in tracks:
        rows = store.rows(name, index)
        for start in range(rows.start, rows.stop, step):
            piece = array[start : min(start + step, rows.stop)]
            yield index, start - rows.start, np.asarray(piece, np.float64)


def _require_finite(
    store: AnyStore, name: str, track: int, first: int, x: np.ndarray, exists: np.ndarray
) -> None:
    wrong = exists & ~np.isfinite(x).reshape(len(x), math.prod(x.shape[1:])).all(1)
    if not wrong.any():
        return
    row = first + int(np.argmax(wrong))
    where = f"row {row + 1}"
    if store.features[name].axis == "frame":
        where = f"image {store.frames[store.tracks[track].span][row]}"
    raise UserError(
        f"{store.path}: feature {name!r} of track {store.tracks[track].name!r}, {where}: not "
        "finite, so nothing can be normalised by it. Check the store with python -m "
        "data_pipelines.verify."
    )
