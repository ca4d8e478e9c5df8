"""RAF-DB basic emotions: its list of labels, and aligned pictures of faces.

    FOLDER/.../list_patition_label.txt         lines "train_00001.jpg 5": a picture and its class,
                                               1 surprise, 2 fear, 3 disgust, 4 happiness,
                                               5 sadness, 6 anger, 7 neutral
    FOLDER/.../train_00001_aligned.jpg         the pictures, in any folder and format; without
                                               _aligned where there is no aligned one

A track is a picture, its group a hash of its pixels. The splits are train, validation, which is cut
from train with the classes in equal shares, and test. The label "expression" has the classes in the
order of EXPRESSIONS (data_pipelines/expressions.py).

Source: Li, Deng and Du, Reliable crowdsourcing and deep locality-preserving learning for expression
recognition in the wild, CVPR 2017.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import re

from data_pipelines import faces, images
from data_pipelines import folder as folders
from data_pipelines.command import whole
from data_pipelines.errors import UserError, listed, shown
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.faces import Face
from data_pipelines.labels.lines import each_line
from data_pipelines.report import Report

DATA_SETS = ("RAF-DB",)
CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # from 1 on
FLAGS = {
    "validation": dict(
        type=faces.share,
        default=0.2,
        metavar="SHARE",
        help="share of the training pictures, or their number, that become validation; default 0.2",
    ),
    "seed": dict(type=whole(), default=0, help="of that choice; default 0"),
    **images.flags(100),
}
_PUBLISHED = {"train": 12271, "test": 3068}
_NAME = re.compile(r"(train|test)_\w+", re.ASCII)


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    validation: float = 0.2,
    seed: int = 0,
    size: int = 100,
    grey: bool = False,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    report = report or Report()
    how = dict(size=size, grey=grey, skip_bad=skip_bad)
    found = read(pathlib.Path(folder), report, validation=validation, seed=seed, **how)
    faces.write(store, found, report, source="rafdb", **how)


def read(
    folder: pathlib.Path,
    report: Report,
    *,
    validation: float = 0.2,
    seed: int = 0,
    size: int = 100,
    grey: bool = False,
    skip_bad: bool = False,
) -> list[Face]:
    """The pictures of the list, with groups, cut into splits.

    Raises:
        UserError: what is wrong with the list, by line, or with a picture; with `skip_bad`
            pictures that are missing or bad are left out and noted.
    """
    path = faces.one_list(folder, "list_patition_label.txt", "list_partition_label.txt")
    found = _found(folder, path, _list(path, report), report, skip_bad)
    folders.note_rest(folder, report)
    faces.note_counts(report, collections.Counter(face.split for face in found), _PUBLISHED)
    found = faces.with_groups(found, report, size, grey=grey, skip_bad=skip_bad)
    training = [face for face in found if face.split == "train"]
    chosen = faces.cut(training, validation, seed, "validation")
    return [
        dataclasses.replace(face, split="validation")
        if face.split == "train" and face.group in chosen
        else face
        for face in found
    ]


def _list(path: pathlib.Path, report: Report) -> dict[str, tuple[int, int]]:
    """{name of a picture without suffix: (its line, its class from 0)}."""
    report.use(path)
    rows: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(each_line(path, report.note), 1):
        if not line.strip():
            continue
        fields = line.split()
        where = f"{path}:{number}"
        if len(fields) != 2:
            raise UserError(f'{where}: {shown(line)}, expected such as "train_00001.jpg 5".')
        name = pathlib.PurePosixPath(fields[0]).stem.removesuffix("_aligned")
        if not _NAME.fullmatch(name):
            raise UserError(f"{where}: {shown(fields[0])}, expected such as train_00001.jpg.")
        if fields[1] not in map(str, range(1, len(CLASSES) + 1)):
            raise UserError(
                f"{where}: class {shown(fields[1])}, expected 1 to {len(CLASSES)} "
                f"({listed(CLASSES)})."
            )
        if name in rows:
            raise UserError(f"{where}: {name} stands in line {rows[name][0]} too. Leave one.")
        rows[name] = number, EXPRESSIONS.index(CLASSES[int(fields[1]) - 1])
    return rows


def _found(
    folder: pathlib.Path,
    path: pathlib.Path,
    rows: dict[str, tuple[int, int]],
    report: Report,
    skip_bad: bool,
) -> list[Face]:
    """The faces of the list that have a picture, in its order."""
    files: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for file in faces.files_below(folder):
        report.use(file)
        files[file.stem].append(file)
    found, missing, plain = [], [], []
    for name, (number, label) in rows.items():
        where = f"{path}:{number}"
        aligned = f"{name}_aligned" in files
        there = files.get(f"{name}_aligned") or files.get(name) or []
        if len(there) > 1:
            two = " and ".join(str(file.relative_to(folder)) for file in there[:2])
            raise UserError(f"{where}: two pictures are called {name}: {two}. Leave one.")
        if not there:
            missing.append(f"{where}: {name}")
            continue
        if not aligned:
            plain.append(name)
        split = name.partition("_")[0]
        found.append(Face(name, split, label, there[0], where=where))
    faces.require_files(folder, missing, found, report, skip_bad)
    if plain:
        report.note(f"pictures that are there without _aligned alone: {len(plain):,}")
    known = {key for name in rows for key in (name, f"{name}_aligned")}
    if spare := sorted(name for name in files if name not in known):
        report.note(f"pictures that {path.name} does not list, left out", spare)
    return found
