"""Means and deviations of features: what they are normalised by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore

NORMALISATIONS = ("none", "train", "track")


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
            array, mask = store.feature(name), store.feature_mask(name)
            count, total, square = 0, 0.0, 0.0
            shift = None  # the first track's mean: keeps the sum of squares small and exact
            for index in tracks:
                rows = store.rows(name, index)
                x = np.asarray(array[rows], np.float64)
                there = np.ones(len(x), bool) if mask is None else np.asarray(mask[rows])
                _require_finite(store, name, index, x, there)
                x = x[there]
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


def _require_finite(
    store: AnyStore, name: str, track: int, x: np.ndarray, there: np.ndarray
) -> None:
    wrong = there & ~np.isfinite(x).reshape(len(x), math.prod(x.shape[1:])).all(1)
    if not wrong.any():
        return
    row = int(np.argmax(wrong))
    where = f"row {row + 1}"
    if store.features[name].axis == "frame":
        where = f"image {store.frames[store.tracks[track].span][row]}"
    raise UserError(
        f"{store.path}: feature {name!r} of track {store.tracks[track].name!r}, {where}: not "
        "finite, so nothing can be normalised by it. Check the store with python -m "
        "data_pipelines.verify."
    )
