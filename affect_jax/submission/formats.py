"""The official files of each track and edition: header, fields of a row, ranges.

ABAW:

    mtl             one file, a row an image:  <image>,<valence>,<arousal>,<class>,<twelve 0/1>
    va, expr, au    from the fifth edition on one file: <image>,... ; in the first three a text a
                    video, named after it, row k for image k

A-VB 2022, one file each, called A-VB-Two_<team>_<n>.csv and alike, n from 1 to 5:

    two, high       a row a clip:  [<File_ID>],<values in [0, 1]>
    culture         the same; the columns of Surprise stand last, and one column is written
                    SouthAfrica_Sadness
    type            [<File_ID>],<name of the class>

Two headers do not name what stands below them: that of mtl has five names over sixteen fields, and
that of expr the eight classes over one number.

Source: specification of Aff-Wild2's files as released for the ABAW challenges, editions 1 to 11;
the organisers' description of entries to the A-VB competition, ACII 2022.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from data_pipelines import bursts
from data_pipelines.editions import EDITIONS
from data_pipelines.errors import UserError, nearest
from data_pipelines.labels import RANGES, check_edition, definitions
from data_pipelines.labels.folders import KINDS
from data_pipelines.labels.lists import MTL_HEADER
from data_pipelines.labels.texts import NO_CLASS, NO_VALUE

CLIP_TRACKS = ("two", "high", "culture", "type")  # of A-VB
TRACKS = (*KINDS, *CLIP_TRACKS)
ENTRIES = 5  # that a team may hand in to A-VB
ONE_FILE_FROM = 5  # edition; the fourth had the multi-task track only
DEFAULT_EDITION = ONE_FILE_FROM  # its files are those of all later editions

# Not all that float() takes: it also likes blanks, 1_000, nan and other scripts' digits.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a row.

    Attributes:
        name: for messages.
        choices: what it may be, ("0", "1", ...); () for a decimal number from `low` to `high`.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def complaint(self, text: str) -> str:
        """Why the text cannot stand in this field; "" if it can."""
        if text in self.choices:
            return ""
        number = float(text) if _DECIMAL.fullmatch(text) else None
        if self.choices:
            words = f"one of {', '.join(self.choices)}"
            numbers = f"a whole number from 0 to {self.choices[-1]}"
            mark, expected = NO_CLASS, numbers if self.choices[0] == "0" else words
        else:
            mark, expected = NO_VALUE, f"a number from {self.low:g} to {self.high:g}"
            if number is not None and self.low <= number <= self.high:
                return ""
        if number == mark:
            return f"{self.name} is {text}, the mark of a missing label; every row needs a value."
        return f"{self.name} is {text!r}, expected {expected}."


@dataclasses.dataclass(frozen=True)
class Part:
    """Fields that a task gives to a row.

    Attributes:
        spec: kind, size and names of its labels.
        range: that its values are clipped to; None where they are none.
        columns: which of its values stand in a row, in order; () for all as they are.
        words: what a class is written as; () for its number.
    """

    spec: Mapping[str, Any]
    range: tuple[float, float] | None = None
    columns: tuple[int, ...] = ()
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Format:
    """Layout of the files of a track.

    Attributes:
        edition: of ABAW; 0 of A-VB.
        parts: {task: what it gives}, in the order of a row.
        header: the first line.
        fields: of a row, behind the image or clip where rows begin with one.
        per_video: a folder with a text a video, whose rows do not name their image.
        other_headers: that are read as well.
    """

    track: str
    edition: int
    parts: Mapping[str, Part]
    header: str
    fields: tuple[Field, ...]
    per_video: bool = False
    other_headers: tuple[str, ...] = ()

    @property
    def clips(self) -> bool:
        """Rows are clips, in any order, not images."""
        return self.track in CLIP_TRACKS

    @property
    def unit(self) -> str:
        """What a track of a store is, for messages."""
        return "clip" if self.clips else "video"


def format_of(track: str, edition: int | None = None) -> Format:
    """The format of a track ("mtl", "two", ...); UserError where there was none.

    Args:
        edition: of ABAW, by default the fifth, whose files are those of all later ones.
    """
    if track not in TRACKS:
        raise UserError(f"track {track!r}. {nearest(track, TRACKS)}")
    if track in CLIP_TRACKS:
        if edition is not None:
            raise UserError(f"edition {edition}: track {track} is of A-VB, which was held once.")
        return _of_clips(track)
    edition = DEFAULT_EDITION if edition is None else check_edition(edition)
    labels = definitions(edition)
    per_video = track != "mtl" and edition < ONE_FILE_FROM
    if track == "mtl" and edition < 3:
        raise UserError(f"edition {edition} had no multi-task track; it came with the third.")
    if per_video and edition == ONE_FILE_FROM - 1:
        raise UserError(f"edition {edition} had the multi-task track only, no {track}.")
    header = MTL_HEADER
    if track != "mtl":
        names = KINDS["va"] if track == "va" else labels[KINDS[track][0]]["names"]
        header = ",".join(names if per_video else ("image_location", *names))
    fields: list[Field] = []
    for task in KINDS[track]:
        spec = labels[task]
        if task in RANGES:
            fields.append(Field(task, (), *RANGES[task]))
        elif spec["kind"] == "classes":
            fields.append(Field(task, tuple(map(str, range(spec["size"])))))
        else:
            fields += [Field(name, ("0", "1")) for name in spec["names"]]
    parts = {task: Part(labels[task], RANGES.get(task)) for task in KINDS[track]}
    return Format(track, edition, parts, header, tuple(fields), per_video)


def _of_clips(track: str) -> Format:
    spec = bursts.DEFINITIONS[track]
    if track == "type":
        part, fields = Part(spec, words=spec["names"]), [Field(bursts.TYPE, spec["names"])]
    else:
        last = [name.endswith("_Surprise") for name in spec["names"]]
        columns = tuple(sorted(range(spec["size"]), key=last.__getitem__))
        part = Part(spec, bursts.RANGE, columns)
        fields = [Field(spec["names"][i], (), *bursts.RANGE) for i in columns]
    plain = ",".join([bursts.FILE_ID, *(field.name for field in fields)])
    official = plain.replace("South Africa_Sadness", "SouthAfrica_Sadness")
    others = (plain, plain.replace("South Africa", "SouthAfrica"))
    return Format(track, 0, {track: part}, official, tuple(fields), other_headers=others)


def require_file_name(path: pathlib.Path, form: Format) -> None:
    """UserError where the organisers take no file of this name."""
    if form.clips:
        kind = f"A-VB-{form.track.capitalize()}"
        if not re.fullmatch(f"{kind}_.+_[1-{ENTRIES}]\\.csv", path.name):
            raise UserError(
                f"{path}: the organisers take {kind}_<team>_<n>.csv, with <n> from 1 to {ENTRIES}."
            )


def format_with_header(line: str) -> Format | None:
    """The newest format that begins with this line, or None."""
    known = [(track, None) for track in CLIP_TRACKS]
    known += [(track, edition) for edition in reversed(EDITIONS) for track in KINDS]
    for track, edition in known:
        try:
            form = format_of(track, edition)
        except UserError:
            continue
        if line in (form.header, *form.other_headers):
            return form
    return None


def described(form: Format) -> str:
    """For messages: "track au, edition 5 and later" and the like."""
    if form.track == "mtl" or form.clips:
        return f"track {form.track}"
    if not form.per_video:
        return f"track {form.track}, edition {ONE_FILE_FROM} and later"
    return f"track {form.track}, a text of one video, edition {form.edition}"
