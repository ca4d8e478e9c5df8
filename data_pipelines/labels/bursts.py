"""Tables of HUME-VB: the organisers' and those that are prepared from them, joined by clip.

    data_info.csv, type_info.csv,             the organisers': File_ID, Split (Train, Val or Test)
    high_info.csv, two_info.csv,              and columns of labels
    culture_info.csv
    train.csv, val.csv, test.csv              prepared: File_ID and columns of labels

They lie in the folder or in its folder labels/, any of them. Columns are known by their names, in
any order. What several tables say of a clip must be the same; numbers are rounded to six decimals
first, as the prepared tables are. An empty cell, "nan" and a column that no table has are missing
labels.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines import folder as folders
from data_pipelines.bursts import (
    CLASSES,
    COLUMNS,
    FILE_ID,
    LABEL_COLUMNS,
    RANGE,
    SPLIT,
    column,
    file_id,
)
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.labels.lines import MISSING, Warn, each_line, finite_number, separator
from data_pipelines.report import Report

# Of tables and of the column Split; our names of splits.
SPLITS = {"train": "train", "val": "validation", "test": "test"}
PREPARED = tuple(f"{split}.csv" for split in SPLITS)
RAW = tuple(f"{what}_info.csv" for what in ("data", "type", "high", "two", "culture"))
FOLDER = "labels"
DECIMALS = 6
_SAME = 1.5 * 10**-DECIMALS  # a tie may have been rounded to either side


@dataclasses.dataclass(frozen=True)
class Table:
    """One table as it is read.

    Attributes:
        path: of the file.
        ids: names of the clips, without brackets, in the order of the file, each once.
        lines: 1-based line of each.
        splits: split of each, "" where the table does not say.
        values: float64 [N, 54], a column of `COLUMNS` each: numbers, or numbers of classes; NaN
            where the label is missing.
        columns: those of `COLUMNS` that the file has.
    """

    path: pathlib.Path
    ids: list[str]
    lines: list[int]
    splits: list[str]
    values: np.ndarray
    columns: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips of all tables, sorted by name.

    Attributes:
        ids: their names.
        splits: "train", "validation" or "test" of each.
        values: float64 [N, 54] as of a `Table`.
    """

    ids: list[str]
    splits: list[str]
    values: np.ndarray

    def labels(self, i: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{label: (values, mask)} of a clip, [1, K] each, of classes [1]."""
        found = {}
        for name, columns in LABEL_COLUMNS.items():
            values = self.values[i : i + 1, [COLUMNS.index(c) for c in columns]]
            values = values[:, 0] if columns[0] in CLASSES else values
            mask = np.isfinite(values)
            found[name] = np.where(mask, values, 0), mask
        return found


def read_folder(folder: pathlib.Path, report: Report) -> Clips:
    """The clips of every table in the folder; `report` gets what is missing or odd.

    Raises:
        UserError: no table, a table that cannot be read, tables that contradict each other.
    """
    paths = {p.name.lower(): p for p in _csv(folder / FOLDER)} | {
        p.name.lower(): p for p in _csv(folder)
    }
    known = [paths[name] for name in (*PREPARED, *RAW) if name in paths]
    if not known:
        expected = f"{listed(PREPARED)} or {listed(RAW)}"
        raise UserError(f"{folders.nothing(folder, 'table')}. Expected {expected}.")
    report.use(*known)
    tables = [read_table(path, warn=report.note) for path in known]
    clips = _joined(tables, report)
    absent = [c for c in COLUMNS if not any(c in table.columns for table in tables)]
    if absent:
        report.note("columns that no table has, labels that are masked", absent)
    return clips


def _csv(folder: pathlib.Path) -> list[pathlib.Path]:
    return folders.files(folder, ".csv")


def read_table(path: pathlib.Path, *, warn: Warn) -> Table:
    """One table. UserError, with file and line, for what it cannot be."""
    lines = _rows(path, each_line(path, warn))
    header = [column(name) for name in next(lines)[1]]
    _check_header(path, header, warn)
    of_name = SPLITS.get(path.stem.lower(), "")
    known = [(i, name) for i, name in enumerate(header) if name in COLUMNS]
    places = [COLUMNS.index(name) for _, name in known]
    at_id, at_split = header.index(FILE_ID), header.index(SPLIT) if SPLIT in header else None
    seen: dict[str, int] = {}
    twice: list[str] = []
    ids, numbers, splits, rows = [], [], [], []
    for number, cells in lines:
        where = f"{path}:{number}"
        if len(cells) != len(header):
            raise UserError(
                f"{where}: {len(cells)} fields, expected {len(header)}, those of the header."
            )
        clip = folders.plain_name(file_id(cells[at_id]), f"{where}: {FILE_ID}")
        split = of_name if at_split is None else _split(where, cells[at_split], of_name)
        row = np.full(len(COLUMNS), np.nan)
        row[places] = [_value(where, name, cells[i]) for i, name in known]
        if clip in seen:
            first = seen[clip]
            same = np.array_equal(rows[first], row, equal_nan=True) and splits[first] == split
            if not same:
                raise UserError(f"{where}: {clip} again, other than in line {numbers[first]}.")
            twice.append(clip)
            continue
        seen[clip] = len(ids)
        ids.append(clip)
        numbers.append(number)
        splits.append(split)
        rows.append(row)
    if not ids:
        raise UserError(f"{path}: a header and no rows.")
    if twice:
        warn(f"{path}: clips that come twice, taken once: {listed(twice)}")
    # As pandas rounds, with which tables are prepared.
    values = np.round(np.stack(rows), DECIMALS)
    return Table(path, ids, numbers, splits, values, tuple(name for _, name in known))


def _rows(path: pathlib.Path, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of every row."""
    reader = csv.reader(lines, strict=True)
    try:
        for cells in reader:
            yield reader.line_num, cells
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a row of a csv file ({error}).") from None


def _check_header(path: pathlib.Path, header: Sequence[str], warn: Warn) -> None:
    if FILE_ID not in header:
        raise UserError(
            f"{path}:1: no column {FILE_ID}. {nearest(FILE_ID, header)}{separator(header[0])}"
        )
    again = next((name for i, name in enumerate(header) if name in header[:i]), None)
    if again is not None:
        raise UserError(f"{path}:1: the column {again!r} comes twice.")
    strange = [name for name in header if name not in (FILE_ID, SPLIT, *COLUMNS)]
    if strange:
        warn(f"{path}: columns that are not known, left out: {listed(strange)}")


def _split(where: str, text: str, of_name: str) -> str:
    name = text.strip().lower()
    if name not in SPLITS:
        raise UserError(f"{where}: {SPLIT} is {text[:60]!r}, expected Train, Val or Test.")
    if of_name and SPLITS[name] != of_name:
        raise UserError(f"{where}: {SPLIT} is {text[:60]!r}, which the file's name contradicts.")
    return SPLITS[name]


def _value(where: str, name: str, text: str) -> float:
    """The number, or number of the class, of a cell; NaN where it is missing."""
    text = text.strip()
    if text.lower() in MISSING:
        return np.nan
    if name in CLASSES:
        if text not in CLASSES[name]:
            raise UserError(f"{where}: {name} is {text[:60]!r}. {nearest(text, CLASSES[name])}")
        return CLASSES[name].index(text)
    number = finite_number(text)
    if number is None or not RANGE[0] <= number <= RANGE[1]:
        low, high = RANGE
        raise UserError(
            f"{where}: {name} is {text[:60]!r}, expected a number from {low:g} to {high:g}."
        )
    return number


def _joined(tables: Sequence[Table], report: Report) -> Clips:
    ids = sorted({clip for table in tables for clip in table.ids})
    place = {clip: i for i, clip in enumerate(ids)}
    values, splits = np.full((len(ids), len(COLUMNS)), np.nan), [""] * len(ids)
    origin = np.zeros(values.shape, np.int8)  # the table that a value is of
    for k, table in enumerate(tables):
        rows = np.array([place[clip] for clip in table.ids])
        there, new = values[rows], table.values
        clash = np.abs(new - there) > _SAME  # never where one is missing
        if clash.any():
            row, at = (int(i) for i in np.argwhere(clash)[0])
            other = tables[origin[rows[row], at]]
            raise UserError(
                f"{_place(table, table.ids[row])}: {COLUMNS[at]} of {table.ids[row]} is "
                f"{_shown(at, new[row, at])}, but {_shown(at, there[row, at])} in "
                f"{_place(other, table.ids[row])}."
            )
        origin[rows] = np.where(np.isnan(there), k, origin[rows])
        values[rows] = np.where(np.isnan(there), new, there)
        for clip, i, split in zip(table.ids, rows, table.splits):
            if splits[i] and split and splits[i] != split:
                raise UserError(
                    f"{_place(table, clip)}: {clip} is in split {split!r}, but in {splits[i]!r} "
                    "in another table."
                )
            splits[i] = splits[i] or split
        if table.path.name.lower() in RAW and len(rows) < len(ids):
            missing = sorted(set(ids).difference(table.ids))
            report.note(f"{table.path}: clips of other tables that it does not have", missing)
    without = [clip for clip, split in zip(ids, splits) if not split]
    if without:
        report.note("clips of no split, left out", without)
    keep = [i for i, split in enumerate(splits) if split]
    return Clips([ids[i] for i in keep], [splits[i] for i in keep], values[keep])


def _place(table: Table, clip: str) -> str:
    """File and line of a clip in a table."""
    return f"{table.path}:{table.lines[table.ids.index(clip)]}"


def _shown(at: int, value: float) -> str:
    name = COLUMNS[at]
    return CLASSES[name][int(value)] if name in CLASSES else f"{value:g}"
