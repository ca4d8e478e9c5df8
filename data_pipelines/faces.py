"""Faces of a data set: what its sources and its builder share, from a list of them to a store.

A source makes a list of `Face`, a row a picture; `pixels` reads them, `write` makes a store.
Identical pictures are one group: folds and what is cut from a split keep them together. Those that
a data set itself has in several splits stay where they are, and data_pipelines.verify counts them.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from data_pipelines import folder as folders
from data_pipelines import images
from data_pipelines.errors import UserError, shown
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.plan import generator
from data_pipelines.report import Report
from data_pipelines.side_by_side import side_by_side
from data_pipelines.store_specs import split_key
from data_pipelines.store_writer import StoreWriter

LABELS = {"expression": dict(kind="classes", size=len(EXPRESSIONS), names=EXPRESSIONS)}
REPEATED = "identical pictures that the data set has in them: scores on these are too good"
FLAT = 1.0  # standard deviation of grey levels, below which a picture is blank


@dataclasses.dataclass(frozen=True)
class Face:
    """One picture of a data set.

    Attributes:
        name: unique in the data set; the track's.
        split: where it goes.
        label: number of its class; None where it is not known.
        picture: a file, or its grey pixels, uint8 [H, W].
        group: what must not be split; by default a hash of its pixels.
        box: left, top, right, bottom (excluded) of the face in the file; None: all of it.
        letterbox: it keeps its proportions, with black beside it; else it is stretched.
        where: the row that lists it, for messages: "FILE:12".
    """

    name: str
    split: str
    label: int | None
    picture: pathlib.Path | np.ndarray
    group: str = ""
    box: tuple[int, int, int, int] | None = None
    letterbox: bool = False
    where: str = ""

    def __str__(self) -> str:
        return self.where or str(self.picture)

    def read(self, size: int, *, grey: bool) -> np.ndarray:
        """uint8 [size, size, 3], or [size, size] where `grey`. UserError as `images.read`."""
        how = dict(grey=grey, letterbox=self.letterbox)
        if isinstance(self.picture, np.ndarray):
            return images.fit(Image.fromarray(self.picture), size, **how)
        try:
            return images.read(self.picture, size, box=self.box, **how)
        except UserError as error:
            raise UserError(f"{self.where}: {error}" if self.where else str(error)) from None


def pixels(
    faces: Sequence[Face], report: Report, label: str, size: int, *, grey: bool, skip_bad: bool
) -> Iterator[tuple[Face, np.ndarray]]:
    """(face, uint8 [size, size, 3] or [size, size]) of each, in their order.

    Raises:
        UserError: as `side_by_side` has it.
    """
    by_name = {face.name: face for face in faces}
    if len(by_name) < len(faces):
        raise ValueError("names of faces come twice")
    read = side_by_side(
        by_name, lambda face: face.read(size, grey=grey), report, label, skip_bad=skip_bad
    )
    for name, picture in read:
        face = by_name[name]
        yield dataclasses.replace(face, group=face.group or pixel_hash(picture)), picture


def write(
    store: str | pathlib.Path,
    faces: Sequence[Face],
    report: Report,
    *,
    source: str,
    name: str = "",
    labels: Mapping[str, Mapping] = LABELS,
    size: int,
    grey: bool,
    skip_bad: bool,
    groups_in_several_splits: str = REPEATED,
) -> None:
    """Writes a store of faces, split by split, with the feature "face" and one label.

    Args:
        source: the module of data_pipelines/sources.
        name: of the store; by default the source's.
        labels: the definition of the one label, as StoreWriter takes it.
        groups_in_several_splits: why groups are, where any is; data_pipelines.verify notes it.
    """
    (label,) = labels
    with StoreWriter(
        store,
        name=name or source,
        features=images.features(size, grey),
        labels=labels,
        source=source,
        notes=report.notes,
        groups_in_several_splits=groups_in_several_splits,
    ) as writer:
        for split in splits(faces):
            chosen = [face for face in faces if face.split == split]
            for face, picture in pixels(chosen, report, split, size, grey=grey, skip_bad=skip_bad):
                writer.add(
                    track=face.name,
                    split=split,
                    group=face.group,
                    features={"face": picture[None]},
                    labels={} if face.label is None else {label: [face.label]},
                )


def splits(faces: Iterable[Face]) -> list[str]:
    """Splits of the faces: train, validation and test first."""
    return sorted({face.split for face in faces}, key=split_key)


def pixel_hash(picture: np.ndarray) -> str:
    """A name that identical pictures share: 20 hexadecimal digits."""
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture))
    return digest.hexdigest()[:20]


def with_groups(
    faces: Sequence[Face], report: Report, size: int, *, grey: bool, skip_bad: bool
) -> list[Face]:
    """The faces with hashes of their pixels as groups; those that are bad are left out, if asked.

    Notes how many are blank or identical, and how many of these have different labels.
    """
    found, blank = [], 0
    for face, picture in pixels(faces, report, "pictures", size, grey=grey, skip_bad=skip_bad):
        found.append(face)
        blank += bool(picture.std((0, 1)).max() < FLAT)
    labels = collections.defaultdict(list)
    for face in found:
        labels[face.group].append(face.label)
    same = [group for group in labels.values() if len(group) > 1]
    if blank:
        report.note(f"blank pictures, of one grey: {blank:,}")
    if same:
        conflicts = sum(len({label for label in group if label is not None}) > 1 for group in same)
        report.note(
            f"groups of identical pictures: {len(same):,}, of {sum(map(len, same)):,} pictures; "
            f"with different labels: {conflicts:,} groups"
        )
    return found


def cut(faces: Sequence[Face], share: float, seed: int, name: str) -> set[str]:
    """Groups of a part that is cut off: whole groups at random, the classes in equal shares.

    Args:
        faces: of one split, with groups.
        share: of the pictures if below 1, rounded up; or else how many.
        seed: of the choice.
        name: of the part, for its own random numbers.

    Raises:
        UserError: all pictures or more.
    """
    total = math.ceil(share * len(faces) - 1e-6) if share < 1 else int(share)
    if total and total >= len(faces):
        raise UserError(
            f"{name}: {total:,} pictures cannot be cut from {len(faces):,}. One or more must stay."
        )
    classes = sorted({face.label for face in faces}, key=lambda c: -1 if c is None else c)
    counts: dict[str, collections.Counter] = {}
    for face in faces:
        counts.setdefault(face.group, collections.Counter())[face.label] += 1
    of_class = collections.Counter(face.label for face in faces)
    exact = {c: total * of_class[c] / len(faces) for c in classes}
    left = {c: math.floor(exact[c]) for c in classes}
    by_rest = sorted(classes, key=lambda c: left[c] - exact[c])
    for c in by_rest[: total - sum(left.values())]:
        left[c] += 1
    groups, chosen = list(counts), set()
    for i in generator(seed, name).permutation(len(groups)):
        group = counts[groups[i]]
        if all(left[c] >= number for c, number in group.items()):
            chosen.add(groups[i])
            for c, number in group.items():
                left[c] -= number
    return chosen


def share(text: str) -> float:
    """A `type` of flags: a share below 1, or a whole number of pictures."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not (0 <= number < 1 or (number < 1e9 and number == int(number) and number >= 1)):
        raise argparse.ArgumentTypeError(
            f"{shown(text)}: expected a share from 0 to 1, or a number of pictures"
        )
    return number


def note_counts(report: Report, found: Mapping[str, int], published: Mapping[str, int]) -> None:
    """A note of the parts that have another number of pictures than the published data set."""
    other = [
        f"{part}: {found.get(part, 0):,} of {number:,}"
        for part, number in published.items()
        if found.get(part, 0) != number
    ]
    if other:
        report.note("pictures of the published set that are there", other)


def files_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Every file of a picture in a folder or below it, by path."""
    return [p for inner in folders.folders(folder) for p in folders.files(inner, *images.SUFFIXES)]


def one_list(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """The one file of one of the names, in any case, in a folder or below it."""
    found = [
        path
        for inner in folders.folders(folder)
        for path in folders.entries(inner)
        if path.name.lower() in names and path.is_file()
    ]
    if not found:
        raise UserError(f"{folders.nothing(folder, names[0])}.")
    if len(found) > 1:
        both = ", ".join(os.path.relpath(path, folder) for path in found)
        raise UserError(f"{folder}: several lists of pictures ({both}). Name the folder of one.")
    return found[0]


def require_files(
    folder: pathlib.Path,
    missing: Sequence[str],
    found: Sequence[Face],
    report: Report,
    skip_bad: bool,
) -> None:
    """UserError for rows of a list without a picture; with `skip_bad` a note, if any has one.

    Args:
        missing: "FILE:12: name" of each.
    """
    if missing and not found:
        raise UserError(f"{missing[0]}: none of the {len(missing):,} pictures is in {folder}.")
    if missing and not skip_bad:
        also = f". Neither are more of them: {len(missing) - 1:,}" if len(missing) > 1 else ""
        raise UserError(
            f"{missing[0]}: the picture is not there{also}. Fetch it, or leave such rows out with "
            "--skip-bad."
        )
    if missing:
        report.note("rows without a picture, left out", missing)
