"""A track's features and labels as the store has them, of what a user gives."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.given_arrays import fitted, given_array, given_mask
from data_pipelines.store_specs import LABEL_DTYPES, Feature, Label


def given_feature(track: str, name: str, value: Any) -> np.ndarray:
    """Numbers of a feature; UserError where there are none, which is the work of a mask."""
    x, missing = given_array(value, f"track {track!r}, feature {name!r}")
    if missing.any():
        row = int(np.argwhere(missing)[0][0]) if missing.ndim else 0
        raise UserError(
            f"track {track!r}, feature {name!r}, row {row}: masked, None or NA, expected a number. "
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


def feature_arrays(
    track: str, feature: Feature, x: np.ndarray | None, mask: Any, total: int, counted: str
) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [rows, D], bool [rows]: where it exists); zeros where it does not."""
    what = f"track {track!r}, feature {feature.name!r}"
    table = feature.axis != "frame"
    rows = total if not table else (len(x) if x is not None and x.ndim else 0)
    shape = (rows, feature.size)
    if x is None:
        return np.zeros(shape, np.float32), np.zeros(rows, bool)
    fit = fitted(x, shape)
    if fit is None:
        why = "" if table else f" ({counted})"
        raise UserError(f"{what}: shape {x.shape}, expected {shape}{why}.")
    with np.errstate(over="ignore"):  # beyond float32: not finite, which is said
        x = fit.astype(np.float32)
    if mask is None:
        return x, np.ones(rows, bool)
    present = given_mask(mask, (rows,), f"track {track!r}, mask of feature {feature.name!r}")
    return np.where(present[:, None], x, np.float32(0)), present


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
