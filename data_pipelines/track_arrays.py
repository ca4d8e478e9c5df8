"""A track's features and labels as the store has them, of what a user gives."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from data_pipelines.chunks import chunks
from data_pipelines.errors import UserError
from data_pipelines.given_arrays import fitted, given_array, given_mask
from data_pipelines.store_specs import LABEL_DTYPES, SPANS, Feature, Label, wrong_spans


def given_feature(track: str, name: str, value: Any) -> Any:
    """The numbers of a feature, or the iterator that gives them in pieces.

    UserError where a number is missing, which is the work of a mask.
    """
    if isinstance(value, Iterator):
        return value
    return _numbers(value, f"track {track!r}, feature {name!r}")


def _numbers(value: Any, what: str) -> np.ndarray:
    x, missing = given_array(value, what)
    if missing.any():
        row = int(np.argwhere(missing)[0][0]) if missing.ndim else 0
        raise UserError(
            f"{what}, row {row}: masked, None or NA, expected a number. "
            "Fill it, and say with feature_masks which rows do not exist."
        )
    return x


def given_labels(track: str, name: str, value: Any) -> tuple[np.ndarray, Any]:
    """(numbers, NaN where there are none; the mask beside them or None)."""
    # A tuple of two numbers is a track of two frames.
    pair = isinstance(value, tuple) and len(value) == 2
    pair = pair and value[0] is not None and not np.isscalar(value[0])
    values, mask = value if pair else (value, None)
    values, missing = given_array(values, f"track {track!r}, label {name!r}")
    return (np.where(missing, np.nan, values) if missing.any() else values), mask


def feature_pieces(
    track: str, feature: Feature, given: Any, mask: Any, total: int | None, counted: str
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """(rows [n, *shape] of the stored dtype, their mask or None: all exist), in pieces.

    Args:
        given: None, what `given_feature` made of an array, or an iterator of arrays.
        mask: bool [rows]: which exist, the others become zeros; None: all that are given.
        total: frames of the track, None where they are to be counted.
        counted: what they were counted in, for messages.
    """
    what = f"track {track!r}, feature {feature.name!r}"
    zero = np.zeros((), feature.dtype)
    total, why = (total, f" ({counted})") if feature.axis == "frame" else (None, "")
    if given is None:
        pieces: Iterable[np.ndarray] = [np.broadcast_to(zero, (total or 0, *feature.shape))]
        mask = np.zeros(total or 0, bool)
    elif isinstance(given, Iterator):
        pieces = _fitted_pieces(what, feature, given)
    else:
        rows = total if total is not None else (len(given) if given.ndim else 0)
        pieces = [_fitted(given, (rows, *feature.shape), what, why)]
        total = rows
    if mask is not None:
        total = np.size(mask) if total is None else total
        mask = given_mask(mask, (total,), f"track {track!r}, mask of feature {feature.name!r}")
    start = 0
    for _, x in itertools.chain.from_iterable(map(chunks, pieces)):
        stop = start + len(x)
        if total is not None and stop > total:
            raise UserError(f"{what}: more than {total} rows{why}.")
        rows_mask = None if mask is None else mask[start:stop]
        if rows_mask is not None:
            x = np.where(rows_mask.reshape(-1, *[1] * (x.ndim - 1)), x, zero)
        yield _stored(x, feature, what, start), rows_mask
        start = stop
    if total is not None and start < total:
        raise UserError(f"{what}: {start} rows, expected {total}{why}.")


def _fitted_pieces(what: str, feature: Feature, given: Iterator[Any]) -> Iterator[np.ndarray]:
    for number, piece in enumerate(given, 1):
        where = f"{what}, piece {number}"
        x = _numbers(piece, where)
        yield _fitted(x, (len(x) if x.ndim else 0, *feature.shape), where, "")


def _fitted(x: np.ndarray, shape: tuple[int, ...], what: str, why: str) -> np.ndarray:
    fit = fitted(x, shape)
    if fit is None:
        raise UserError(f"{what}: shape {x.shape}, expected {shape}{why}.")
    return fit


def _stored(x: np.ndarray, feature: Feature, what: str, start: int) -> np.ndarray:
    """The numbers in the feature's dtype; UserError for the first that it cannot hold.

    Floats may be NaN or infinite, and as float32 become so: StoreWriter.not_finite tells.
    """
    dtype = np.dtype(feature.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == np.float32 or np.can_cast(x.dtype, dtype):
            return x.astype(dtype, copy=False)
        if dtype == np.float16:
            stored = x.astype(dtype)
            wrong = np.isinf(stored) & np.isfinite(x)
            expected = f"numbers up to {np.finfo(dtype).max:g}, the largest of {dtype}"
        else:
            low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
            # As float64: in float16 the limit itself is rounded to one that does not fit.
            wrong = ~((x >= np.float64(low)) & (x <= np.float64(high)) & (x % 1 == 0))
            stored = np.where(wrong, 0, x).astype(dtype)
            expected = f"whole numbers from {low} to {high}, which {dtype} holds"
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise UserError(f"{what}, row {start + place[0]}: {x[place]}, expected {expected}.")
    return stored


def given_spans(track: str, name: str, value: Any, rows: int) -> np.ndarray:
    """float64 [rows, 2]: the spans of a track's rows of a table."""
    what = f"track {track!r}, spans of feature {name!r}"
    if value is None:
        raise UserError(f"{what}: none, expected start and stop in frames of each of {rows} rows.")
    array, missing = given_array(value, what)
    spans = _fitted(np.where(missing, np.nan, array), (rows, 2), what, "").astype(np.float64)
    wrong = wrong_spans(spans)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(f"{what}, row {row}: {spans[row].tolist()}, expected {SPANS}.")
    return spans


def label_arrays(
    track: str, label: Label, given: tuple[np.ndarray, Any] | None, total: int
) -> tuple[np.ndarray, np.ndarray]:
    """(labels, mask) of the store's dtype and shape; zeros where there is no label."""
    what, shape, dtype = f"label {label.name!r}", label.rows(total), LABEL_DTYPES[label.kind]
    if given is None:
        return np.zeros(shape, dtype), np.zeros(shape, bool)
    values = fitted(given[0], shape)
    if values is None:
        raise UserError(
            f"track {track!r}, {what}: shape {given[0].shape}, expected {shape}. A mask goes into "
            "a tuple with its labels, (labels, mask)."
        )
    mask = ~np.isnan(values)
    if given[1] is not None:
        mask &= given_mask(given[1], shape, f"track {track!r}, mask of {what}")
    values = np.where(mask, values, 0)
    wrong = label.wrong(values)  # before the cast, which would wrap 256 to 0 and cut 1.5 to 1
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise UserError(
            f"track {track!r}, {what}, row {place[0]}: {values[place]}, expected {label.expected}."
        )
    return values.astype(dtype), mask
