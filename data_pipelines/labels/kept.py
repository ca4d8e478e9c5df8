"""Labels of many tracks, kept on disk between reading and writing: memory holds one track's."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np

from data_pipelines.labels.texts import TrackLabels

Pair = tuple[np.ndarray, np.ndarray]


class Keep:
    """Keeps labels in a temporary file, which lives as long as they do."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="affect_jax-")  # noqa: SIM115

    def __del__(self) -> None:
        self._file.close()

    def __call__(self, track: TrackLabels) -> TrackLabels:
        """The same track, whose labels are read when they are asked for."""
        places = {
            name: tuple(self._put(array) for array in pair) for name, pair in track.labels.items()
        }
        return dataclasses.replace(track, labels=_OnDisk(self, places))

    def _put(self, array: np.ndarray) -> tuple[int, np.dtype, tuple[int, ...]]:
        try:
            at = self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(array))
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None
        return at, array.dtype, array.shape

    def get(self, at: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The array that lies there."""
        array = np.empty(shape, dtype)
        self._file.seek(at)
        self._file.readinto(array.reshape(-1).view(np.uint8))
        return array


class _OnDisk(Mapping[str, Pair]):
    def __init__(self, keep: Keep, places: Mapping[str, tuple]):
        self._keep, self._places = keep, places

    def __getitem__(self, name: str) -> Pair:
        values, mask = (self._keep.get(*place) for place in self._places[name])
        return values, mask

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
