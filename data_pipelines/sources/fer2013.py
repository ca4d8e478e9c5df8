"""FER2013: grey faces of 48 x 48 pixels, as the contest's tables, npz files or pictures.

    FOLDER/fer2013.csv, icml_face_data.csv    columns emotion, pixels (2304 numbers), Usage
    FOLDER/train.csv, test.csv                the same without Usage; test.csv has no emotion either
    FOLDER/train.npz, public_test.npz,        images uint8 [N, 48, 48], perhaps labels [N] and
           private_test.npz                   ids [N]
    FOLDER/.../train/angry/<picture>          folders of pictures; of <Usage>_<id>.jpg the name
                                              says which split

Whatever is there is read; where a split is there twice, the first of these. A track is a picture,
its group a hash of its 48 x 48 pixels. The splits are train, public_test and
private_test; pictures of these two that occur in train are in the splits public_test_seen and
private_test_seen. The label "expression" has the classes in the order of EXPRESSIONS
(data_pipelines/expressions.py), which is that of FER2013's numbers.

Source: Goodfellow et al., Challenges in representation learning, ICONIP 2013.
"""

from __future__ import annotations

import collections
import dataclasses
import pathlib

from data_pipelines import faces, images
from data_pipelines import folder as folders
from data_pipelines.errors import UserError
from data_pipelines.faces import Face
from data_pipelines.labels import fer2013
from data_pipelines.report import Report

DATA_SETS = ("FER2013", "FER-2013")
FLAGS = {name: flag for name, flag in images.flags(fer2013.SIDE).items() if name != "grey"}
_PUBLISHED = {"train": 28709, "public_test": 3589, "private_test": 3589}
_SEEN = "_seen"
_REPEATED = f"pictures that the contest has again; what training has, too, is in splits *{_SEEN}"


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    size: int = fer2013.SIDE,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    report = report or Report()
    found = read(pathlib.Path(folder), report, skip_bad=skip_bad)
    how = dict(size=size, grey=True, skip_bad=skip_bad, groups_in_several_splits=_REPEATED)
    faces.write(store, found, report, source="fer2013", **how)


def read(folder: pathlib.Path, report: Report, *, skip_bad: bool = False) -> list[Face]:
    """The pictures of every form that is there, with groups, split by split.

    Raises:
        UserError: nothing is there, or what is wrong in it, by file and row.
    """
    found: list[Face] = []
    from_file: dict[str, str] = {}
    for path, rows in fer2013.parts(folder, report, skip_bad=skip_bad):
        new = sorted({row.split for row in rows} - from_file.keys())
        if again := sorted({row.split for row in rows} - set(new)):
            report.note(f"{path}: already read from another file", again)
        from_file |= dict.fromkeys(new, str(path))
        found += [row for row in rows if row.split in new]
    folders.note_rest(folder, report)
    if not found:
        raise UserError(
            f"{folders.nothing(folder, 'form of FER2013')}. Expected fer2013.csv, train.npz, or "
            "pictures such as train/angry/1.jpg; of classes alone, --source=folders reads them."
        )
    counts = collections.Counter(face.split for face in found)
    faces.note_counts(report, counts, _PUBLISHED)
    found = faces.with_groups(found, report, fer2013.SIDE, grey=True, skip_bad=skip_bad)
    return _seen_apart(found, report)


def _seen_apart(found: list[Face], report: Report) -> list[Face]:
    """The faces, with those that training has too in splits of their own."""
    training = {face.group for face in found if face.split == "train"}
    others = [split for split in faces.splits(found) if split != "train"]
    if others and not training:
        report.note("no training pictures, so none of the others can be told to be among them")
    moved = [
        dataclasses.replace(face, split=face.split + _SEEN)
        if face.split != "train" and face.group in training
        else face
        for face in found
    ]
    for split, count in sorted(collections.Counter(face.split for face in moved).items()):
        if split.endswith(_SEEN):
            report.note(
                f"pictures of {split.removesuffix(_SEEN)} that training has too, in the split "
                f"{split}: {count:,}"
            )
    return moved
