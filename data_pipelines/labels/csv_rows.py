"""Rows of a csv file by the names of its columns, with the file and line in every complaint."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Iterator, Sequence

from data_pipelines.errors import UserError, nearest
from data_pipelines.labels.lines import Warn, each_line, finite_number, separator


def read_rows(
    path: pathlib.Path, columns: Sequence[str], *, warn: Warn
) -> Iterator[tuple[str, dict[str, str]]]:
    """("FILE:LINE", {column: its field, without spaces around}) of each row that is not blank.

    Args:
        columns: those that the file must have; others it may have, in any order.

    Raises:
        UserError: where the reading comes to it.
    """
    reader, header = csv.reader(each_line(path, warn), strict=True), None
    try:
        for fields in reader:
            where = f"{path}:{reader.line_num}"
            fields = [field.strip() for field in fields]
            if header is None:
                header = fields
                _check(path, header, columns)
            elif any(fields):
                if len(fields) != len(header):
                    raise UserError(
                        f"{where}: {len(fields)} fields, expected {len(header)}, those of the "
                        f"header.{separator(fields[0])}"
                    )
                yield where, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a row of a csv file ({error}).") from None


def number(where: str, name: str, text: str) -> float:
    """The finite number of a field; UserError where it is none."""
    found = finite_number(text)
    if found is None:
        raise UserError(f"{where}: {name} is {text[:60]!r}, expected a number.")
    return found


def whole(where: str, name: str, text: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """The whole number of a field, which may be written 4.0; UserError where it is none."""
    found = finite_number(text)
    if found is None or found % 1 or not least <= found <= most:
        raise UserError(
            f"{where}: {name} is {text[:60]!r}, expected a whole number from {least} to {most}."
        )
    return int(found)


def _check(path: pathlib.Path, header: Sequence[str], columns: Sequence[str]) -> None:
    again = next((name for i, name in enumerate(header) if name and name in header[:i]), None)
    if again is not None:
        raise UserError(f"{path}:1: the column {again!r} comes twice.")
    for name in columns:
        if name not in header:
            raise UserError(
                f"{path}:1: no column {name!r}. {nearest(name, header)}{separator(header[0])}"
            )
