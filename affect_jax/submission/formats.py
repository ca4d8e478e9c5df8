"""The official files of each track and edition: header, fields of a row, ranges.

    mtl             one file, a row an image:  <image>,<valence>,<arousal>,<class>,<twelve 0/1>
    va, expr, au    from the fifth edition on one file: <image>,... ; in the first three a text a
                    video, named after it, row k for image k

Two headers do not name what stands below them: that of mtl has five names over sixteen fields, and
that of expr the eight classes over one number.

Source: specification of Aff-Wild2's files as released for the ABAW challenges, editions 1 to 11.
"""

from __future__ import annotations

import dataclasses
import re

from data_pipelines.editions import EDITIONS
from data_pipelines.errors import UserError, nearest
from data_pipelines.labels import RANGES, check_edition, definitions
from data_pipelines.labels.folders import KINDS
from data_pipelines.labels.lists import MTL_HEADER
from data_pipelines.labels.texts import NO_CLASS, NO_VALUE

TRACKS = tuple(KINDS)
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
            mark, expected = NO_CLASS, f"a whole number from 0 to {self.choices[-1]}"
        else:
            mark, expected = NO_VALUE, f"a number from {self.low:g} to {self.high:g}"
            if number is not None and self.low <= number <= self.high:
                return ""
        if number == mark:
            return f"{self.name} is {text}, the mark of a missing label; every row needs a value."
        return f"{self.name} is {text!r}, expected {expected}."


@dataclasses.dataclass(frozen=True)
class Format:
    """Layout of the files of a track.

    Attributes:
        tasks: names of the predictions that a row consists of, in order.
        header: the first line.
        fields: of a row, behind the image where rows begin with one.
        per_video: a folder with a text a video, whose rows do not name their image.
    """

    track: str
    edition: int
    tasks: tuple[str, ...]
    header: str
    fields: tuple[Field, ...]
    per_video: bool


def format_of(track: str, edition: int = DEFAULT_EDITION) -> Format:
    """The format of a track ("mtl", "va", "expr" or "au"); UserError where there was none."""
    if track not in TRACKS:
        raise UserError(f"track {track!r}. {nearest(track, TRACKS)}")
    labels = definitions(check_edition(edition))
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
    return Format(track, edition, KINDS[track], header, tuple(fields), per_video)


def format_with_header(line: str) -> Format | None:
    """The newest format that begins with this line, or None."""
    for edition in reversed(EDITIONS):
        for track in TRACKS:
            try:
                form = format_of(track, edition)
            except UserError:
                continue
            if form.header == line:
                return form
    return None


def described(form: Format) -> str:
    """For messages: "track au, edition 5 and later" and the like."""
    if form.track == "mtl":
        return "track mtl"
    if not form.per_video:
        return f"track {form.track}, edition {ONE_FILE_FROM} and later"
    return f"track {form.track}, a text of one video, edition {form.edition}"
