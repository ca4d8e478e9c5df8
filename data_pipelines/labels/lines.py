"""Lines and numbers of a text file, with the file and line in every complaint."""

from __future__ import annotations

import codecs
import contextlib
import math
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.files import refuse_pointer

# Not all that float() takes: it also likes 1_000, control characters and other scripts' digits.
_NUMBER = re.compile(r"[ \t]*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?[ \t]*", re.ASCII | re.IGNORECASE)

# What a cell of a csv file holds, in lower case, where there is no label.
MISSING = ("", "nan", "na")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Warn = Callable[[str], object]


def read_lines(path: pathlib.Path, warn: Warn) -> list[str]:
    """Lines of a UTF-8 text; LF, CRLF or CR, with or without byte order mark, no blank end."""
    return list(each_line(path, warn))


def each_line(path: pathlib.Path, warn: Warn) -> Iterator[str]:
    """The lines of `read_lines`, one by one; a list of millions never lies in memory."""
    number, blank, raw, line = 0, [], b"", ""
    try:
        with path.open("rb") as file:
            for raw in file:
                if not number:
                    _refuse_first(path, raw)
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                # Not splitlines(): it also breaks at form feeds and Unicode separators.
                for end in (b"\r\r\n", b"\r\n", b"\r"):
                    raw = raw.replace(end, b"\n")
                for data in raw.removesuffix(b"\n").split(b"\n"):
                    number += 1
                    line = _decoded(path, number, data)
                    blank.append(line)
                    if line.strip():  # blank lines count where another follows
                        yield from blank
                        blank = []
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    if len(blank) == number:
        raise UserError(f"{path}: the file is empty.")
    if line.strip() and not raw.endswith(b"\n"):
        # Every official file ends with one; a line cut inside a number still reads as a number.
        warn(f"{path}: no line end after the last line, the file may be cut off.")


def _refuse_first(path: pathlib.Path, data: bytes) -> None:
    if data.startswith(_UTF16):
        raise UserError(f"{path}: is UTF-16 text. Save it as UTF-8.")
    refuse_pointer(path, data)


def _decoded(path: pathlib.Path, number: int, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}:{number}: byte {data[error.start]:#04x} is not UTF-8 text. Is it a text file?"
        ) from None


def separator(line: str) -> str:
    """Says so where fields are not separated by commas but by what spreadsheets also write."""
    separators = [name for mark, name in ((";", "semicolons"), ("\t", "tabs")) if mark in line]
    return f" Fields are separated by {separators[0]}; commas are expected." if separators else ""


def parse_numbers(
    path: pathlib.Path,
    lines: Sequence[str],
    first_line: int,
    fields: Sequence[str],
    *,
    after: str = "",
) -> np.ndarray:
    """float64 [len(lines), len(fields)] of comma-separated finite numbers.

    Args:
        first_line: 1-based number of lines[0] in the file.
        fields: what the columns are, for the message.
        after: what stands in the file before these fields, for the message.
    """
    if not lines:
        return np.zeros((0, len(fields)))
    table = None
    if all(line.strip() for line in lines):  # loadtxt would skip blank ones
        with contextlib.suppress(ValueError):
            table = np.loadtxt(lines, delimiter=",", comments=None, ndmin=2)
    # Line by line only to find the one that is wrong.
    if table is None or table.shape != (len(lines), len(fields)) or not np.isfinite(table).all():
        for number, line in enumerate(lines, first_line):
            _check_line(f"{path}:{number}", line, fields, after)
        raise AssertionError(f"{path}: unreadable, but every line reads")
    return table


def _check_line(where: str, line: str, fields: Sequence[str], after: str) -> None:
    expected = f"expected {len(fields)}: {_fields(fields)}"
    if not line.strip():
        raise UserError(f"{where}: nothing{after}, {expected}.")
    values = line.split(",")
    if len(values) != len(fields):
        raise UserError(
            f"{where}: {len(values)} fields{after} ({line[:60]!r}), {expected}.{separator(line)}"
        )
    for name, value in zip(fields, values):
        if finite_number(value) is None:
            raise UserError(
                f"{where}: {name} is {value[:60]!r}, expected a number.{separator(value)}"
            )


def finite_number(text: str) -> float | None:
    """The finite decimal number that a field is, or None."""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None


def plain_number(number: float) -> str:
    """A number as short as it can be told from its neighbours: 8, 1.01, 1.0000001."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _fields(fields: Sequence[str]) -> str:
    return ",".join(fields if len(fields) <= 8 else (*fields[:2], "...", fields[-1]))


def refuse_first(
    bad: np.ndarray, path: pathlib.Path, first_line: int, complaint: Callable[[int], str]
) -> None:
    """UserError for the first row where `bad` (bool [T]) is set; complaint(row) says why."""
    if bad.any():
        row = int(np.argmax(bad))
        raise UserError(f"{path}:{first_line + row}: {complaint(row)}")
