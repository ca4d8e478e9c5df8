"""Any pictures in folders of their classes, with or without splits above them.

    FOLDER/<class>/<picture>             split train
    FOLDER/<split>/<class>/<picture>     train (training), validation (val, valid), test
    FOLDER/<picture>                     without a class: no label, split test, for predictions

The class of a picture is the folder in which it lies, its split the nearest one above it that is
called like one. Pictures in a folder of a split itself have no label. Where every class is one of
the seven EXPRESSIONS (data_pipelines/expressions.py) in any usual spelling (angry, Happy, 4_sad),
the classes are these seven in their order, or else the names of the folders in alphabetical order.
A track is a picture, called by its path without suffix, "_" between folders; its group is a hash of
its pixels. The label is called "expression", or as --label says.
"""

from __future__ import annotations

import dataclasses
import pathlib

from data_pipelines import faces, images
from data_pipelines import folder as folders
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS, expression
from data_pipelines.faces import Face
from data_pipelines.paths import require_name
from data_pipelines.report import Report

FLAGS = {
    "label": dict(
        metavar="NAME", default="expression", help="what the label is called; default expression"
    ),
    "letterbox": dict(
        action="store_true", help="keep the proportions of a picture, with black beside it"
    ),
    **images.flags(100),
}
_SPLITS = {"training": "train", "val": "validation", "valid": "validation"} | {
    name: name for name in ("train", "validation", "test")
}


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    label: str = "expression",
    letterbox: bool = False,
    size: int = 100,
    grey: bool = False,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    require_name(label, "--label")
    found, classes = read(folder, report)
    found = [dataclasses.replace(face, letterbox=letterbox) for face in found]
    labels = {label: dict(kind="classes", size=len(classes), names=classes)}
    how = dict(size=size, grey=grey, skip_bad=skip_bad)
    name = folder.resolve().name
    faces.write(store, found, report, source="folders", name=name, labels=labels, **how)


def read(folder: pathlib.Path, report: Report) -> tuple[list[Face], tuple[str, ...]]:
    """(the pictures by path, the names of their classes).

    Raises:
        UserError: no picture, or two that would be called alike.
    """
    paths = faces.files_below(folder)
    if not paths:
        suffixes = ", ".join(f"*{suffix}" for suffix in images.SUFFIXES)
        raise UserError(f"{folders.nothing(folder, f'picture ({suffixes})')}.")
    report.use(*paths)
    folders.note_rest(folder, report)
    class_of = {path: _class(folder, path) for path in paths}
    words = sorted({word for word in class_of.values() if word is not None})
    seven = all(expression(word) is not None for word in words)
    number = {word: expression(word) if seven else i for i, word in enumerate(words)}
    found: dict[str, Face] = {}
    for path in paths:
        track = _track(folder, path)
        if track in found:
            other = found[track].picture
            raise UserError(f"{path}: {other} would be {track}, too. Rename or leave one.")
        word = class_of[path]
        label = None if word is None else number[word]
        found[track] = Face(track, _split(folder, path, word), label, path)
    if alone := sum(word is None for word in class_of.values()):
        report.note(f"pictures in no folder of a class, without a label: {alone:,}")
    return list(found.values()), EXPRESSIONS if seven else tuple(words)


def _class(folder: pathlib.Path, path: pathlib.Path) -> str | None:
    inner = path.relative_to(folder).parent.parts
    if not inner or inner[-1].lower() in _SPLITS:
        return None
    return folders.plain_name(inner[-1], f"{path}: folder")


def _split(folder: pathlib.Path, path: pathlib.Path, word: str | None) -> str:
    for part in reversed(path.relative_to(folder).parent.parts):
        if part.lower() in _SPLITS:
            return _SPLITS[part.lower()]
    return "test" if word is None else "train"


def _track(folder: pathlib.Path, path: pathlib.Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return "_".join(folders.plain_name(part, f"{path}: file") for part in parts)
