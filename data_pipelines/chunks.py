"""Arrays in pieces of so many bytes, so that a store may be larger than memory."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

CHUNK_BYTES = 1 << 24


def chunks(*arrays: np.ndarray) -> Iterator[tuple[Any, ...]]:
    """(first row, rows of each array), in pieces; what was looked at does not stay in memory."""
    width = max(math.prod(array.shape[1:]) * array.itemsize for array in arrays)
    step = max(1, CHUNK_BYTES // max(width, 1))
    for start in range(0, len(arrays[0]), step):
        yield start, *(_piece(array, start, step) for array in arrays)


def flat(array: np.ndarray) -> np.ndarray:
    """The numbers of an array [...] in one row, for `chunks` where an item may be large."""
    if not (_is_file(array) and array.size):
        return array.reshape(-1)
    return np.memmap(array.filename, array.dtype, "r", array.offset, array.size)


def _is_file(array: np.ndarray) -> bool:
    """Is the array all of a mapped file, and no view of it?"""
    return isinstance(array.base, mmap.mmap) and array.flags.c_contiguous


def _piece(array: np.ndarray, start: int, step: int) -> np.ndarray:
    """Rows of a memory map, mapped anew: pages of a map that lives on count as the process's."""
    if not _is_file(array):
        return array[start : start + step]
    rows = min(step, len(array) - start)
    offset = array.offset + start * array.strides[0]
    return np.memmap(array.filename, array.dtype, "r", offset, (rows, *array.shape[1:]))
