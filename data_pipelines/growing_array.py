"""A .npy file that is written piece by piece."""

from __future__ import annotations

import contextlib
import hashlib
import pathlib
from typing import Any

import numpy as np


class GrowingArray:
    """The file of an array [rows, *tail]; numpy reserves room to rewrite its header.

    Raises:
        OSError: by each method: a full disk.
    """

    def __init__(self, path: pathlib.Path, dtype: Any, tail: tuple[int, ...]):
        self.dtype, self.tail, self.rows = np.dtype(dtype), tail, 0
        self._file = open(path, "wb")  # noqa: SIM115 - closed by close()
        self._hash = hashlib.sha256()
        self._header()
        self.mark()

    def _header(self) -> None:
        self._file.seek(0)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.rows, *self.tail)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, array: np.ndarray) -> None:
        """Rows behind those that are there."""
        data = np.ascontiguousarray(array, self.dtype)
        self._file.write(data)
        self._hash.update(data)
        self.rows += len(data)

    def mark(self) -> None:
        """Set the end to which `cut_back` cuts: the rows that are there now."""
        self._marked = self.rows, self._file.tell(), self._hash.copy()

    def cut_back(self) -> None:
        """Take away the rows that came after the last `mark`."""
        self.rows, end, digest = self._marked
        self._hash = digest.copy()
        self._file.seek(end)
        self._file.truncate()

    def abandon(self) -> None:
        """Close without caring what is on disk, which may be full."""
        with contextlib.suppress(OSError):
            self._file.close()

    def close(self) -> str:
        """Write the final header; the SHA-256 of the array's bytes."""
        if not self._file.closed:
            self._header()
            self._file.close()
        return self._hash.hexdigest()
