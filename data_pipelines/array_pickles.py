"""Pickles of numpy arrays in plain containers, read without running what they hold.

Beside values, lists, tuples and dicts they may name what numpy writes its arrays with
(`_reconstruct`, `_frombuffer`, `ndarray`, `dtype`, `scalar`), and `_codecs.encode`, with which
protocol 2 writes bytes. A file from a stranger can hold wrong numbers at worst. Object arrays are
refused.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any

import numpy as np

from data_pipelines import pickled
from data_pipelines.errors import UserError
from data_pipelines.files import readable

_NDARRAY = "numpy.ndarray"  # the type itself, called, would make an array of any size
_MODULES = re.compile(r"numpy(\._?core\.(multiarray|numeric))?")  # numpy 1 and 2


def load(path: str | os.PathLike) -> Any:
    """The value of a pickle file of any protocol from 2 on.

    Raises:
        UserError: it is no pickle, is damaged or cut off, or names something else than arrays.
    """

    def find(module: str, name: str) -> Any:
        known = _KNOWN if _MODULES.fullmatch(module) else _BYTES.get(module, {})
        if name not in known:
            called = " ".join(f"{module}.{name}".split())[:100]
            raise UserError(
                f"{os.fspath(path)}: names {called!a}, and only numpy arrays in plain containers "
                "are read. Write it anew from these, or as .npz."
            )
        return known[name]

    with readable(path, "a pickle of arrays that is whole"), open(path, "rb") as file:
        return pickled.read(file, find, bounded=False)


class _Dtype(pickled.Unbuilt):
    """A dtype, whose byte order follows."""

    def __init__(self, text: str, *flags: Any):
        super().__init__()
        self._text = text

    def build(self, state: Any) -> np.dtype:
        dtype = np.dtype(self._text) if isinstance(self._text, str) else None
        if dtype is None or dtype.kind not in "biufSU":
            raise TypeError(f"an array of type {str(self._text)[:40]!r}, expected numbers")
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        return dtype.newbyteorder(order) if order in ("<", ">", "=") else dtype


class _Array(pickled.Unbuilt):
    """An array that is called empty first; its shape, type and bytes follow."""

    def __init__(self, kind: Any, *rest: Any):
        super().__init__()
        if kind is not _NDARRAY:
            raise TypeError("an array of a kind of its own")

    def build(self, state: Any) -> np.ndarray:
        _, shape, dtype, fortran, data = state
        return _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """The array of these bytes, none of them copied."""
    data = data.encode("latin-1") if isinstance(data, str) else data  # as Python 2 wrote bytes
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray):
        raise TypeError("an array without type or bytes, or of Python objects")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise ValueError("an array of no shape")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f"an array {shape} of {dtype} in {len(data):,} bytes")
    return np.ndarray(shape, dtype, data, order="F" if order == "F" else "C")


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any, *rest: Any) -> np.ndarray:
    shape = (shape,) if isinstance(shape, int) else shape
    return _array(data, dtype, shape, order)


def _scalar(dtype: Any, data: Any) -> Any:
    return _array(data, dtype, (), "C")[()]


def _encode(text: Any, encoding: Any) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes in an encoding of their own")
    return text.encode("latin-1")


_KNOWN = {
    "_reconstruct": _Array,
    "_frombuffer": _frombuffer,
    "ndarray": _NDARRAY,
    "dtype": _Dtype,
    "scalar": _scalar,
}
_BYTES = {"_codecs": {"encode": _encode}, "__builtin__": {"bytes": lambda: b""}}
