"""A table of labels of clips: a csv file with a row a clip and a column a label.

    file,split,group,emotion,two:valence,two:arousal
    anna/01.wav,train,anna,joy,0.4,0.7
    anna/02.wav,train,anna,,0.1,
    ben/01.wav,test,ben,anger,,

The first line names the columns, in any order and, of the first three, in any case:

    file or File_ID   path of the file from the folder, or the name of the file alone; either with
                      or without suffix, where no other is called so
    split             optional: what the clip is for; without the column all are train
    group             optional: what must not be split, the speaker; without it each clip by itself
    any other         a label: numbers are `values`, words `classes`, named in alphabetical order
    LABEL:NAME        one of several columns of numbers that are one label

An empty cell, "nan" and "na" are missing labels. Fields are separated by commas, or by semicolons
or tabs (then numbers may have decimal commas); the text is UTF-8.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import pathlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.labels.lines import MISSING, Warn, finite_number, read_lines
from data_pipelines.paths import require_name

FILE, SPLIT, GROUP = ("file", "file_id"), "split", "group"
_SEPARATORS = (",", ";", "\t")
_OWN = (*FILE, SPLIT, GROUP)
_DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+)", re.ASCII)
_MANY = 20  # classes; more of them than half the rows are texts of another kind


@dataclasses.dataclass(frozen=True)
class Clip:
    """One row: its number, its line in the file, the split and the group ("": its own)."""

    row: int
    line: int
    split: str
    group: str


@dataclasses.dataclass(frozen=True)
class ClipTable:
    """A table as it is read; N rows.

    Attributes:
        path: of the file.
        clips: {file as it is written, "/" between folders: its row}.
        definitions: {label: kind, size and names}, as a `StoreWriter` takes them.
        values: {label: float64 [N, K], of classes [N]}, NaN where it is missing.
    """

    path: pathlib.Path
    clips: Mapping[str, Clip]
    definitions: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, np.ndarray]

    def labels(self, clip: Clip) -> dict[str, np.ndarray]:
        """{label: float64 [1, K], of classes [1]} of a clip."""
        return {name: values[clip.row : clip.row + 1] for name, values in self.values.items()}


@dataclasses.dataclass(frozen=True)
class _Cells:
    """Fields of a csv file: {column: texts [N]}, and the lines [N] in which they stand.

    Columns of `_OWN` are in lower case.
    """

    path: pathlib.Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]
    separator: str

    def where(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}"


def read_table(path: pathlib.Path, columns: Sequence[str] = (), *, warn: Warn) -> ClipTable:
    """The table of a csv file.

    Args:
        columns: labels that are taken, LABEL for all its LABEL:NAME; () for all.

    Raises:
        UserError: names file, line and column of what cannot be.
    """
    cells = _read(path, warn)
    clips = _clips(cells)
    if SPLIT not in cells.columns:
        warn(f"{path}: no column {SPLIT}, all clips are the split train")
    of_label: dict[str, list[str]] = {}
    for name in cells.columns:
        if name not in _OWN:
            of_label.setdefault(name.partition(":")[0].strip(), []).append(name)
    for label in columns:
        if label not in of_label:
            raise UserError(f"{path}: no column of a label {label!r}. {nearest(label, of_label)}")
    definitions, values, empty = {}, {}, []
    for label in columns or of_label:
        definition, array = _label(cells, label, of_label[label])
        if np.isnan(array).all():
            empty.append(label)
        else:
            definitions[label], values[label] = definition, array
    if empty:
        warn(f"{path}: labels without a value, left out: {listed(empty)}")
    return ClipTable(path, clips, definitions, values)


def _read(path: pathlib.Path, warn: Warn) -> _Cells:
    lines = read_lines(path, warn)
    separator = _separator(path, lines[0])
    rows, numbers, start = [], [], 1
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                numbers.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a row of a csv file ({error}).") from None
    header = rows[0]
    for number, row in zip(numbers, rows):
        if len(row) != len(header):
            raise UserError(f"{path}:{number}: {len(row)} fields, the header has {len(header)}.")
        if any(cell and not name for cell, name in zip(row, header)):
            raise UserError(f"{path}:{number}: a field of a column without a name. Name it.")
    if len(rows) == 1:
        raise UserError(f"{path}: a header and no rows.")
    names = [name.lower() if name.lower() in _OWN else name for name in header]
    again = next((name for i, name in enumerate(names) if name and name in names[:i]), "")
    if again or set(FILE) <= set(names):
        raise UserError(f"{path}:1: the column {shown(again or FILE[1])} comes twice. Leave one.")
    columns = {name: [row[i] for row in rows[1:]] for i, name in enumerate(names) if name}
    return _Cells(path, columns, numbers[1:], separator)


def _separator(path: pathlib.Path, line: str) -> str:
    """The one that makes a header of the first line: one with a column of files."""
    for mark in _SEPARATORS:
        with contextlib.suppress(csv.Error):
            names = next(csv.reader([line], delimiter=mark), [])
            if any(name.strip().lower() in FILE for name in names):
                return mark
    raise UserError(
        f"{path}:1: {shown(line)}: no column {' or '.join(FILE)}. The first line names the "
        "columns, separated by commas, semicolons or tabs."
    )


def _clips(cells: _Cells) -> dict[str, Clip]:
    clips: dict[str, Clip] = {}
    files = next(cells.columns[name] for name in FILE if name in cells.columns)
    count = len(files)
    splits = cells.columns.get(SPLIT, ["train"] * count)
    groups = cells.columns.get(GROUP, [""] * count)
    for row, (text, split, group) in enumerate(zip(files, splits, groups)):
        where, name = cells.where(row), file_name(text)
        if not name:
            raise UserError(f"{where}: names no file.")
        if name in clips:
            raise UserError(f"{where}: {name!r} comes twice, first in line {clips[name].line}.")
        require_name(split, f"{where}: split")
        if GROUP in cells.columns:
            require_name(group, f"{where}: group")
        clips[name] = Clip(row, cells.lines[row], split, group)
    return clips


def file_name(text: str) -> str:
    """The path in one form: composed characters, "/" between folders, no "./" before it."""
    text = unicodedata.normalize("NFC", text.replace("\\", "/"))
    return str(pathlib.PurePosixPath(text)) if text else ""


def _label(cells: _Cells, label: str, names: Sequence[str]) -> tuple[dict[str, Any], np.ndarray]:
    """(kind, size and names; the values) of the label that some columns are together."""
    require_name(label, f"{cells.path}: label")
    parts = [name.partition(":")[2].strip() for name in names]
    if len(names) > 1 and not all(parts):
        raise UserError(f"{cells.path}: {names[0]!r} and {names[1]!r} are one label. Rename one.")
    columns = [_numbers(cells, name) for name in names]
    if all(column is not None for column in columns):
        named = tuple(part for part in parts if part)
        return dict(kind="values", size=len(names), names=named), np.stack(columns, axis=1)
    if any(parts):
        name = names[columns.index(None)] if None in columns else names[0]
        raise UserError(f"{cells.path}: column {name!r} holds words; LABEL:NAME are numbers.")
    texts = [None if text.lower() in MISSING else text for text in cells.columns[names[0]]]
    classes = tuple(sorted({text for text in texts if text is not None}))
    if len(classes) > max(_MANY, len(texts) / 2):
        raise UserError(
            f"{cells.path}: column {names[0]!r} has {len(classes):,} words in {len(texts):,} rows, "
            "which are no classes. Name the columns that are labels: --columns=NAME,NAME."
        )
    number = {text: i for i, text in enumerate(classes)} | {None: math.nan}
    array = np.array([number[text] for text in texts])
    return dict(kind="classes", size=len(classes), names=classes), array


def _numbers(cells: _Cells, name: str) -> np.ndarray | None:
    """float64 [N] of a column, NaN where it is missing; None of one of words."""
    values, words = np.full(len(cells.lines), np.nan), []
    for row, text in enumerate(cells.columns[name]):
        if text.lower() in MISSING:
            continue
        if decimal_comma := _DECIMAL_COMMA.fullmatch(text):
            if cells.separator == ",":
                raise UserError(
                    f"{cells.where(row)}: {name} is {text!r}. Where fields are separated by "
                    "commas, numbers have decimal points."
                )
            text = ".".join(decimal_comma.groups())
        number = finite_number(text)
        if number is None:
            words.append(row)
        else:
            values[row] = number
    if words and not np.isnan(values).all():
        row = words[0]
        raise UserError(
            f"{cells.where(row)}: {name} is {cells.columns[name][row][:60]!r}, where other rows "
            "have numbers. Make it a number, or empty; or all of them words."
        )
    return None if words else values
