"""Forms in which FER2013 is handed on: tables of pixels, npz files, folders of pictures."""

from __future__ import annotations

import collections
import csv
import itertools
import pathlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines import faces
from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.expressions import EXPRESSIONS, expression
from data_pipelines.faces import Face
from data_pipelines.files import Npz, require_array
from data_pipelines.labels.lines import MISSING, each_line, separator
from data_pipelines.report import Report

SIDE = 48
_USAGES = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}
_FOLDERS = {name.lower(): split for name, split in _USAGES.items()} | {
    **{name: "validation" for name in ("val", "valid")},
    **{name: name for name in ("train", "validation", "test", "public_test", "private_test")},
}
_TABLES = ("fer2013.csv", "icml_face_data.csv", "train.csv", "test.csv")
_COLUMNS = ("emotion", "pixels", "usage")
_ARRAYS = ("train", "public_test", "private_test")
_PICTURE = re.compile(r"(training|publictest|privatetest)_(\w+)", re.ASCII | re.IGNORECASE)
_CLASSES = f"0 to {len(EXPRESSIONS) - 1}"


def parts(
    folder: pathlib.Path, report: Report, *, skip_bad: bool
) -> Iterator[tuple[pathlib.Path, list[Face]]]:
    """(file or folder, its pictures) of whatever is there: tables, npz files, pictures.

    Raises:
        UserError: what is wrong, by file and row.
    """
    for name in _TABLES:
        if (path := folders.named(folder, name)).is_file():
            yield path, _table(path, report)
    for split in _ARRAYS:
        if (path := folders.named(folder, f"{split}.npz")).is_file():
            report.use(path)
            yield path, _arrays(path, split, report)
    if pictures := _pictures(folder, report):
        report.use(*(face.picture for face in pictures))
        yield folder, pictures
    report.use(folders.named(folder, "manifest.json"))


def _table(path: pathlib.Path, report: Report) -> list[Face]:
    """The rows of a csv file; the numbers in their names count all rows from 0."""
    report.use(path)
    lines = each_line(path, report.note)
    rows = csv.reader(lines)
    found: list[Face] = []
    try:
        header = [name.strip().lower() for name in next(rows)]
        if "pixels" not in header:
            raise UserError(
                f"{path}:1: {shown(', '.join(header))}, expected the header emotion,pixels,Usage."
                f"{separator(header[0])}"
            )
        if again := next((name for name in _COLUMNS if header.count(name) > 1), None):
            raise UserError(f"{path}:1: the column {again!r} comes twice.")
        split = _FOLDERS.get(path.stem.lower())
        if "usage" not in header and split is None:
            raise UserError(f"{path}:1: no column Usage, which says what is training and test.")
        if "emotion" not in header:
            report.note(f"{path}: no column emotion, so none of its pictures has a label")
        for fields in rows:
            where = f"{path}:{rows.line_num}"
            if not any(field.strip() for field in fields):
                continue
            if len(fields) != len(header):
                raise UserError(
                    f"{where}: {len(fields)} fields, expected {len(header)}: {','.join(header)}."
                )
            row = dict(zip(header, fields))
            of = _usage(row["usage"], where) if "usage" in row else split
            name = f"{of}_{len(found):05}"
            label = _emotion(row.get("emotion", ""), where)
            found.append(Face(name, of, label, _grey(row["pixels"], where), where=where))
    except csv.Error as error:
        raise UserError(f"{path}:{rows.line_num}: no line of a csv file ({error}).") from None
    if not found:
        raise UserError(f"{path}: no row below the header.")
    return found


def _usage(text: str, where: str) -> str:
    split_of = {name.lower(): split for name, split in _USAGES.items()}
    key = text.strip().lower()
    if key not in split_of:
        raise UserError(f"{where}: Usage {shown(text)}. {nearest(text, _USAGES)}")
    return split_of[key]


def _emotion(text: str, where: str) -> int | None:
    text = text.strip()
    if text.lower() in MISSING:
        return None
    if text not in map(str, range(len(EXPRESSIONS))):
        raise UserError(f"{where}: emotion {shown(text)}, expected {_CLASSES}.")
    return int(text)


def _grey(text: str, where: str) -> np.ndarray:
    """uint8 [48, 48] of numbers with spaces between."""
    try:
        if "_" in text:  # 1_0 would be 10
            raise ValueError
        numbers = bytes(map(int, text.split()))
    except ValueError:
        bad = next(n for n in text.split() if not (n.isdecimal() and len(n) < 9 and int(n) < 256))
        raise UserError(f"{where}: pixel {shown(bad)}, expected 0 to 255.") from None
    if len(numbers) != SIDE * SIDE:
        raise UserError(f"{where}: {len(numbers):,} pixels, expected {SIDE} x {SIDE}.")
    return np.frombuffer(numbers, np.uint8).reshape(SIDE, SIDE)


def _arrays(path: pathlib.Path, split: str, report: Report) -> list[Face]:
    """The pictures of a npz file, called by their ids, or counted from 0 where there are none."""
    with Npz(path) as file:
        if "images" not in file:
            raise UserError(f"{path}: no array images. It has {listed(file) or 'none'}.")
        require_array(f"{path}: images", *file.header("images"), "u", ("N", SIDE, SIDE))
        pixels = file["images"]
        if pixels.dtype != np.uint8:
            raise UserError(f"{path}: images are {pixels.dtype}, expected uint8.")
        given = {}
        for name in ("labels", "ids"):
            if name in file:
                require_array(f"{path}: {name}", *file.header(name), "ui", (len(pixels),))
                given[name] = file[name].tolist()
    labels = given.get("labels", [None] * len(pixels))
    for row, label in enumerate(labels):
        if label is not None and not 0 <= label < len(EXPRESSIONS):
            raise UserError(f"{path}: labels[{row}] is {label}, expected {_CLASSES}.")
    names = _unique([f"{split}_{i:05}" for i in given.get("ids", range(len(pixels)))], report)
    return [
        Face(name, split, label, picture, where=f"{path}: row {row}")
        for row, (name, label, picture) in enumerate(zip(names, labels, pixels))
    ]


def _pictures(folder: pathlib.Path, report: Report) -> list[Face]:
    """The pictures below a folder whose split is told, by path; the folder of one is its class."""
    rows = []
    for path in faces.files_below(folder):
        inner = path.relative_to(folder).parent.parts
        match = _PICTURE.fullmatch(path.stem)
        above = next((part for part in reversed(inner) if part.lower() in _FOLDERS), None)
        if match is None and above is None:
            continue
        split = _FOLDERS[(match[1] if match else above).lower()]
        label = None
        if inner and inner[-1].lower() not in _FOLDERS:
            label = expression(inner[-1])
            if label is None:
                raise UserError(
                    f"{path}: class {shown(inner[-1])}. {nearest(inner[-1], EXPRESSIONS)}"
                )
        rows.append((f"{split}_{match[2] if match else path.stem}", split, label, path))
    names = _unique([row[0] for row in rows], report)
    return [Face(name, *row[1:]) for name, row in zip(names, rows)]


def _unique(names: Sequence[str], report: Report) -> list[str]:
    """The names, those that come again with "_2" and so on behind them, which is noted."""
    taken, result, again = set(names), [], []
    seen: collections.Counter[str] = collections.Counter()
    for name in names:
        seen[name] += 1
        if seen[name] > 1:
            again.append(name)
            name = next(n for i in itertools.count(seen[name]) if (n := f"{name}_{i}") not in taken)
            taken.add(name)
        result.append(name)
    if again:
        report.note("names of pictures that come again, with a number behind them", again)
    return result
