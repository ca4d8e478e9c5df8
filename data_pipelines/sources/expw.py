"""ExpW faces: boxes and expressions of its list, cut out of pictures of the web.

    FOLDER/.../label.lst     a face a line: image_name face_id_in_image face_box_top face_box_left
                             face_box_right face_box_bottom face_box_confidence expression_label;
                             labels are 0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise,
                             6 neutral
    FOLDER/.../<image_name>  the pictures, in any folder

A track is a face, <image>_<face id>, its group the picture that it is from. There is no official
split: test and validation are cut from all pictures with the classes in equal shares, 10 % each.
Boxes are cut to the picture. Lines without eight columns are passed over and counted. The label
"expression" has the classes in the order of EXPRESSIONS (data_pipelines/expressions.py).

Source: Zhang, Luo, Loy and Tang, From facial expression recognition to interpersonal relation
prediction, IJCV 126, 2018.
"""

from __future__ import annotations

import dataclasses
import pathlib

from data_pipelines import faces, images
from data_pipelines import folder as folders
from data_pipelines.command import whole
from data_pipelines.errors import UserError, listed, shown
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.faces import Face
from data_pipelines.labels.lines import each_line
from data_pipelines.report import Report

DATA_SETS = ("ExpW",)
FLAGS = {
    "seed": dict(type=whole(), default=0, help="of the splits; default 0"),
    **images.flags(100),
}
_PUBLISHED = {"faces": 91793}
_COLUMNS, _SHARE = 8, 0.1


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    seed: int = 0,
    size: int = 100,
    grey: bool = False,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    report = report or Report()
    found = read(pathlib.Path(folder), report, seed=seed, skip_bad=skip_bad)
    how = dict(size=size, grey=grey, skip_bad=skip_bad)
    faces.write(store, found, report, source="expw", **how)


def read(
    folder: pathlib.Path, report: Report, *, seed: int = 0, skip_bad: bool = False
) -> list[Face]:
    """The faces of the list that have a picture, cut into splits.

    Raises:
        UserError: what is wrong with the list, by line; a picture that is missing, unless
            `skip_bad` leaves its faces out.
    """
    path = faces.one_list(folder, "label.lst")
    found = _with_pictures(folder, _list(path, report), report, skip_bad)
    folders.note_rest(folder, report)
    faces.note_counts(report, {"faces": len(found)}, _PUBLISHED)
    split_of, rest, total = {}, found, len(found)
    # Of all, so that both have the same size.
    for split in ("test", "validation"):
        chosen = faces.cut(rest, _SHARE * total / len(rest), seed, split)
        split_of |= dict.fromkeys(chosen, split)
        rest = [face for face in rest if face.group not in chosen]
    return [dataclasses.replace(f, split=split_of.get(f.group, "train")) for f in found]


def _list(path: pathlib.Path, report: Report) -> list[tuple[str, Face]]:
    """(name of a picture, face without one) of each line."""
    report.use(path)
    rows: dict[str, tuple[str, Face]] = {}
    other = 0
    for number, line in enumerate(each_line(path, report.note), 1):
        fields, where = line.split(), f"{path}:{number}"
        if len(fields) != _COLUMNS:
            other += 1
            continue
        image, *numbers, _, label = fields
        if label not in map(str, range(len(EXPRESSIONS))):
            raise UserError(
                f"{where}: class {shown(label)}, expected 0 to {len(EXPRESSIONS) - 1} "
                f"({listed(EXPRESSIONS)})."
            )
        for text in numbers:
            if not (text.removeprefix("-").isdecimal() and len(text) < 10):
                raise UserError(f"{where}: {shown(text)}, expected a whole number of pixels.")
        identity, top, left, right, bottom = map(int, numbers)
        image = folders.plain_name(image, f"{where}: picture")
        stem = pathlib.PurePosixPath(image).stem
        name = f"{stem}_{identity}"
        if name in rows:
            raise UserError(f"{where}: face {identity} of {image} comes twice. Leave one.")
        box = left, top, right, bottom
        face = Face(name, "", int(label), path, group=stem, box=box, where=where)
        rows[name] = image, face
    if other:
        report.note(f"{path.name}: lines without {_COLUMNS} columns, passed over: {other:,}")
    if not rows:
        raise UserError(f"{path}: no line of {_COLUMNS} columns, as label.lst of ExpW has them.")
    return list(rows.values())


def _with_pictures(
    folder: pathlib.Path, rows: list[tuple[str, Face]], report: Report, skip_bad: bool
) -> list[Face]:
    files: dict[str, pathlib.Path] = {}
    twice: dict[str, pathlib.Path] = {}
    for file in faces.files_below(folder):
        report.use(file)
        name = folders.plain_name(file.name, f"{file.parent}: file")
        if name in files:
            twice[name] = file
        files.setdefault(name, file)
    found, missing = [], []
    for image, face in rows:
        if image in twice:
            two = " and ".join(str(f.relative_to(folder)) for f in (files[image], twice[image]))
            raise UserError(f"{face.where}: two pictures are called {image}: {two}. Leave one.")
        if image in files:
            found.append(dataclasses.replace(face, picture=files[image]))
        else:
            missing.append(f"{face.where}: {image}")
    faces.require_files(folder, missing, found, report, skip_bad)
    if spare := sorted(files.keys() - {image for image, _ in rows}):
        report.note("pictures that label.lst does not list, left out", spare)
    return found
