"""The array files of a store while it is written, by key: "frames", "features/face.mask", ..."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from data_pipelines.growing_array import GrowingArray
from data_pipelines.store_specs import LABEL_DTYPES, Feature, Label

_AT_ONCE = 1 << 20  # rows


class StoreFiles:
    """Files that grow track by track. The mask of a feature begins with its first gap.

    Raises:
        OSError: by each method: a full disk.
    """

    def __init__(
        self, folder: pathlib.Path, features: Mapping[str, Feature], labels: Mapping[str, Label]
    ):
        self._folder = folder
        self._files: dict[str, GrowingArray] = {}
        for part in ("features", "labels"):
            (folder / part).mkdir()
        try:
            self._open("frames", np.int32)
            for f in features.values():
                self._open(f"features/{f.name}", f.dtype, f.shape)
                if f.spans:
                    self._open(f"features/{f.name}.spans", np.float64, (2,))
            for label in labels.values():
                tail = label.rows(0)[1:]
                self._open(f"labels/{label.name}", LABEL_DTYPES[label.kind], tail)
                self._open(f"labels/{label.name}.mask", np.bool_, tail)
        except BaseException:
            self.abandon()
            raise

    def _open(self, key: str, dtype: Any, tail: tuple[int, ...] = ()) -> None:
        path = self._folder / f"{key}.npy"
        path.parent.mkdir(exist_ok=True)  # RUN of features/RUN/OUTPUT
        self._files[key] = GrowingArray(path, dtype, tail)

    @contextlib.contextmanager
    def track(self) -> Iterator[None]:
        """A block that appends a track; an exception in it leaves the files as they were."""
        before = set(self._files)
        for file in self._files.values():
            file.mark()
        try:
            yield
        except BaseException:
            for key in self._files.keys() - before:
                self._files.pop(key).abandon()
                (self._folder / f"{key}.npy").unlink()
            for file in self._files.values():
                file.cut_back()
            raise

    def append(self, key: str, array: np.ndarray) -> None:
        """Rows of a file."""
        self._files[key].append(array)

    def append_feature(
        self, name: str, pieces: Iterable[tuple[np.ndarray, np.ndarray | None]]
    ) -> tuple[int, bool]:
        """(number of rows, are they all finite?) of pieces of a feature and of its mask."""
        file, key = self._files[f"features/{name}"], f"features/{name}.mask"
        start, finite = file.rows, True
        for x, mask in pieces:
            if mask is not None and key not in self._files and not mask.all():
                self._open(key, np.bool_)
                for first in range(0, file.rows, _AT_ONCE):
                    self.append(key, np.ones(min(_AT_ONCE, file.rows - first), bool))
            if key in self._files:
                self.append(key, np.ones(len(x), bool) if mask is None else mask)
            finite = finite and (x.dtype.kind != "f" or bool(np.isfinite(x).all()))
            file.append(x)
        return file.rows - start, finite

    def abandon(self) -> None:
        """Close without caring what is on disk, which may be full."""
        for file in self._files.values():
            file.abandon()

    def close(self) -> dict[str, str]:
        """End the files; {key: SHA-256 of the array's bytes}."""
        return {key: file.close() for key, file in self._files.items()}
