"""Annotation texts of one track: a header, then one line an image, line k for image k.

Source: specification of Aff-Wild2's files as released for the ABAW challenges, editions 1 to 11.
"""

from __future__ import annotations

import dataclasses
import pathlib
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.editions import (
    DEFAULT_EDITION,
    EDITIONS,
    RANGES,
    action_units,
    check_edition,
    expressions,
)
from data_pipelines.errors import UserError, nearest
from data_pipelines.labels.lines import (
    Warn,
    parse_numbers,
    plain_number,
    read_lines,
    refuse_first,
    separator,
)

VA_COLUMNS = ("valence", "arousal")
NO_VALUE, NO_CLASS = -5, -1  # the organisers' marks for "no label"; they stay in this package


@dataclasses.dataclass(frozen=True)
class TrackLabels:
    """Labels of one track.

    Attributes:
        frames: int32 [T], 1-based image number of each row, ascending.
        labels: {name: (labels, mask)}: valence and arousal float32 [T, 1] in [-1, 1], expression
            int32 [T], au int8 [T, K] of 0/1; masks bool of the same shape, False (and the label 0)
            where there is none.
        source: file and track, for messages.
        again: where the track's list repeats itself: places, among all its rows of the track, of
            those that were left out.
    """

    frames: np.ndarray
    labels: Mapping[str, tuple[np.ndarray, np.ndarray]]
    source: str
    again: tuple[int, ...] = ()


def read_text(
    path: str | pathlib.Path,
    kind: str,
    *,
    edition: int = DEFAULT_EDITION,
    warn: Warn = warnings.warn,
) -> TrackLabels:
    """Reads the text of one track.

    Args:
        kind: "va", "expr" or "au".
        edition: of the ABAW challenge; it decides which classes and action units there are.
    """
    path = pathlib.Path(path)
    columns = {"va": va_columns, "expr": _expression_column, "au": _au_columns}
    if kind not in columns:
        raise UserError(f"annotation kind {kind!r}. {nearest(kind, columns)}")
    lines = read_lines(path, warn)
    header = _header(kind, check_edition(edition))
    got = tuple(field.strip() for field in lines[0].split(","))
    if got != header:
        raise UserError(
            f"{path}:1: header {lines[0][:80]!r}, expected {','.join(header)!r}"
            f"{_other_edition(kind, got, edition)}.{separator(lines[0])}"
        )
    if len(lines) == 1:
        raise UserError(f"{path}: a header and no rows.")
    fields = ("expression",) if kind == "expr" else header
    table = parse_numbers(path, lines[1:], 2, fields)
    arrays = columns[kind](path, table, 2, header)
    return TrackLabels(np.arange(1, len(table) + 1, dtype=np.int32), arrays, str(path))


def _header(kind: str, edition: int) -> tuple[str, ...]:
    if kind == "va":
        return VA_COLUMNS
    return expressions(edition) if kind == "expr" else action_units(edition)


def _other_edition(kind: str, got: tuple[str, ...], edition: int) -> str:
    fits = [e for e in EDITIONS if e != edition and _header(kind, e) == got]
    return f" in edition {edition}; this is the header of edition {fits[0]}" if fits else ""


def va_columns(
    path: pathlib.Path, table: np.ndarray, first_line: int, _: Sequence[str] = VA_COLUMNS
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Checks [T, 2] of valence and arousal; -5 in both is "no label"."""
    missing = table == NO_VALUE
    refuse_first(
        missing[:, 0] != missing[:, 1],
        path,
        first_line,
        lambda i: (
            f"only one of valence and arousal is -5 ({plain_number(table[i, 0])}, "
            f"{plain_number(table[i, 1])})."
        ),
    )
    arrays = {}
    for column, name in enumerate(VA_COLUMNS):
        values, known = table[:, column], ~missing[:, column]
        low, high = RANGES[name]
        refuse_first(
            known & ((values < low) | (values > high)),
            path,
            first_line,
            lambda i, name=name, values=values: (
                f"{name} is {plain_number(values[i])}, expected -1 to 1, or -5 for no label."
            ),
        )
        values = np.where(known, values, 0).astype(np.float32)
        arrays[name] = (values[:, None], known[:, None])
    return arrays


def expression_column(
    path: pathlib.Path, values: np.ndarray, first_line: int, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Checks [T] of class numbers; -1 is "no label"."""
    known = values != NO_CLASS
    refuse_first(
        known & ((values < 0) | (values >= len(classes)) | (values % 1 != 0)),
        path,
        first_line,
        lambda i: (
            f"expression is {plain_number(values[i])}, expected 0 to {len(classes) - 1}, "
            "or -1 for no label."
        ),
    )
    return np.where(known, values, 0).astype(np.int32), known


def au_table(
    path: pathlib.Path, table: np.ndarray, first_line: int, units: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Checks [T, K] of 0/1; -1 is "no label", each action unit for itself."""
    known = table != NO_CLASS
    bad = known & (table != 0) & (table != 1)

    def complaint(row: int) -> str:
        unit = int(np.argmax(bad[row]))
        value = plain_number(table[row, unit])
        return f"{units[unit]} is {value}, expected 0 or 1, or -1 for no label."

    refuse_first(bad.any(axis=1), path, first_line, complaint)
    return np.where(known, table, 0).astype(np.int8), known


def _expression_column(path, table, first_line, header):
    return {"expression": expression_column(path, table[:, 0], first_line, header)}


def _au_columns(path, table, first_line, header):
    return {"au": au_table(path, table, first_line, header)}
