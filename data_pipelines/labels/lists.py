"""Lists over many videos: the multi-task list (one row an image) and the test lists."""

from __future__ import annotations

import pathlib
import re
import warnings
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.labels.editions import ACTION_UNITS, EXPRESSIONS
from data_pipelines.labels.lines import Warn, parse_numbers, read_lines
from data_pipelines.labels.texts import TrackLabels, au_table, expression_column, va_columns

MTL_HEADER = "image,valence,arousal,expression,aus"
_MTL_FIELDS = ("valence", "arousal", "expression", *ACTION_UNITS)
_IMAGE = re.compile(r"([^/\\,]+)/(\d{1,9})\.(?:jpg|jpeg|png)", re.IGNORECASE)
# First lines of the lists of names that are no name of a video.
_NAME_HEADERS = {"image", "image_location", "name", "names", "video", "videos", "video_name"}


def read_mtl(path: str | pathlib.Path, *, warn: Warn = warnings.warn) -> dict[str, TrackLabels]:
    """Reads a list of s-Aff-Wild2 (editions 3 and later): {track: its labels}, in list order.

    The first line is skipped, with a warning where it is not `image,valence,arousal,expression,aus`
    (five names for the sixteen fields of a row: fields are read by position). Each kind of label is
    missing for itself: -5 in both of valence and arousal, -1 for the expression or an action unit.
    Rows of a video must stand together and ascend by image number.
    """
    path = pathlib.Path(path)
    lines = read_lines(path, warn)
    if lines[0].strip() != MTL_HEADER:
        row = " It looks like a row, which is lost." if _IMAGE.match(lines[0]) else ""
        warn(
            f"{path}:1: skipped as the header, but it is {lines[0][:60]!r}, "
            f"not {MTL_HEADER!r}.{row}"
        )
    if len(lines) == 1:
        raise UserError(f"{path}: a header and no rows.")
    images, _, numbers = zip(*(line.partition(",") for line in lines[1:]))
    spans = _spans(path, images, 2)
    table = parse_numbers(path, numbers, 2, _MTL_FIELDS, after=" after the image")
    arrays = va_columns(path, table[:, :2], 2)
    arrays["expression"] = expression_column(path, table[:, 2], 2, EXPRESSIONS)
    arrays["au"] = au_table(path, table[:, 3:], 2, ACTION_UNITS)
    return {
        track: TrackLabels(
            frames,
            {
                name: (v[start : start + len(frames)], m[start : start + len(frames)])
                for name, (v, m) in arrays.items()
            },
            f"{path} (track {track})",
        )
        for track, (start, frames) in spans.items()
    }


def read_test_list(
    path: str | pathlib.Path, *, warn: Warn = warnings.warn
) -> dict[str, np.ndarray | None]:
    """Reads a test list or a sample submission: {track: int32 image numbers, or None}.

    Lists of images (`<video>/<frame>.jpg`, then nothing, a comma, or the sample's values; a header
    line or none) give the image numbers of each track; lists of names, one a line, give None.
    """
    path = pathlib.Path(path)
    firsts = [line.partition(",")[0].strip() for line in read_lines(path, warn)]
    skip = int(firsts[0].lower() in _NAME_HEADERS)
    if len(firsts) == skip:
        raise UserError(f"{path}: a header and no rows.")
    if "/" in firsts[skip]:
        spans = _spans(path, firsts[skip:], 1 + skip)
        return {track: frames for track, (_, frames) in spans.items()}
    names: dict[str, int] = {}
    for number, name in enumerate(firsts[skip:], 1 + skip):
        if not name or "/" in name or "\\" in name:
            raise UserError(f"{path}:{number}: {name!r}, expected the name of a video.")
        if name in names:
            raise UserError(f"{path}:{number}: {name!r} again, first in line {names[name]}.")
        names[name] = number
    return dict.fromkeys(names)


def _spans(
    path: pathlib.Path, images: Sequence[str], first_line: int
) -> dict[str, tuple[int, np.ndarray]]:
    """{track: (its first row, int32 image numbers of its rows)} of `<video>/<frame>.jpg` names."""
    starts: dict[str, int] = {}
    numbers: dict[str, list[int]] = {}
    current = None
    for row, image in enumerate(images):
        where = f"{path}:{first_line + row}"
        match = _IMAGE.fullmatch(image.strip())
        if match is None:
            raise UserError(f"{where}: image {image[:60]!r}, expected <video>/<frame number>.jpg.")
        track, number = match[1], int(match[2])
        if number < 1:
            raise UserError(f"{where}: image number {number}, the first image is 1.")
        if track != current:
            if track in starts:
                raise UserError(
                    f"{where}: rows of {track!r} go on after another video's (they began in line "
                    f"{first_line + starts[track]}). Rows of a video must stand together."
                )
            starts[track], numbers[track], current = row, [number], track
            continue
        last = numbers[track][-1]
        if number <= last:
            wrong = "comes twice" if number == last else f"comes after image {last}"
            raise UserError(
                f"{where}: image {number} of {track!r} {wrong}. Image numbers must ascend."
            )
        numbers[track].append(number)
    return {t: (starts[t], np.array(n, np.int32)) for t, n in numbers.items()}
