"""Arrays as users have them: of text, objects, other byte orders or with a mask of their own."""

from __future__ import annotations

import decimal
import numbers
import warnings
from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files import readable

_KINDS = {
    "U": "text",
    "T": "text",
    "S": "bytes",
    "c": "complex numbers",
    "M": "dates",
    "m": "times",
}
_NO_VALUE = ("NAType", "NaTType", "MaskedConstant")  # pandas' and numpy's


def given_array(value: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of any array-like, and where there is none.

    Args:
        value: an array, a list, a table; None, pandas.NA and what a masked array hides are
            missing. NaN is a number here.
        what: what it is, for messages.

    Returns:
        (bools, integers or floats in the machine's byte order; bool, missing) of one shape.

    Raises:
        UserError: text, complex numbers, times, rows of different length, other objects.
    """
    with readable(what, "an array of numbers"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what numpy says of masked elements of a list
        if isinstance(value, (list, tuple)) and any(
            isinstance(x, np.ma.MaskedArray) for x in value
        ):
            value = np.ma.array(value)
        array = np.asarray(value)
    missing = (
        np.ma.getmaskarray(value) if np.ma.isMaskedArray(value) else np.zeros(array.shape, bool)
    )
    if array.dtype.kind == "O":
        array, none = _from_objects(array, what)
        missing = missing | none
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and its like
        with readable(what, "an array of numbers"):
            array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        kind = _KINDS.get(array.dtype.kind, array.dtype.name)
        example = f" such as {array.flat[0].item()!r:.30}" if array.size else ""
        raise UserError(f"{what}: {kind}{example}, expected numbers.")
    return array.astype(array.dtype.newbyteorder("="), copy=False), missing


def _from_objects(array: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
    values, missing = np.zeros(array.shape), np.zeros(array.shape, bool)
    with readable(what, "an array of numbers"):
        for place, item in np.ndenumerate(array):
            if item is None or type(item).__name__ in _NO_VALUE:
                missing[place] = True
            elif isinstance(item, (numbers.Real, decimal.Decimal, np.bool_)):
                values[place] = item
            else:
                row = f", row {place[0]}" if place else ""
                raise UserError(
                    f"{what}{row}: {type(item).__name__} {item!r:.30}, expected a number."
                )
    return values, missing


def given_mask(value: Any, shape: tuple[int, ...], what: str) -> np.ndarray:
    """A mask as bools of a shape; one for each row is one for all columns."""
    array, missing = given_array(value, what)
    wrong = missing | ~np.isin(array, (0, 1))
    if wrong.any():
        example = "a missing value" if missing.any() else f"{array[wrong][0]}"
        raise UserError(f"{what}: holds {example}, expected True and False, or 1 and 0.")
    flags = array.astype(bool)
    mask = fitted(flags, shape)
    if mask is None and (of_rows := fitted(flags, shape[:1])) is not None:
        mask = np.broadcast_to(of_rows[:, None], shape)
    if mask is None:
        raise UserError(f"{what}: shape {array.shape}, expected {shape}.")
    return mask


def fitted(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The array in a shape that differs from its own by a last axis of 1 at most; None: by more."""
    same = array.shape == shape or (*array.shape, 1) == shape or array.shape == (*shape, 1)
    return array.reshape(shape) if same else None


def given_frames(value: Any, largest: int, what: str) -> np.ndarray:
    """int64 [T] image numbers: whole, ascending, from 1 to `largest`."""
    array, missing = given_array(value, what)
    expected = f"expected ascending whole numbers from 1 to {largest}"
    if array.ndim != 1:
        raise UserError(f"{what}: shape {array.shape}, {expected}.")
    whole = ~missing & (array >= 1) & (array <= largest) & (array % 1 == 0)
    images = np.where(whole, array, 0).astype(np.int64)
    wrong = ~whole | (np.diff(images, prepend=0) <= 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        shown = "missing" if missing[row] else array[row]
        raise UserError(f"{what}, row {row}: {shown}, {expected}.")
    return images
