"""Lists over many videos: the multi-task list (one row an image) and the test lists."""

from __future__ import annotations

import itertools
import pathlib
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.editions import ACTION_UNITS, EXPRESSIONS
from data_pipelines.errors import UserError, listed
from data_pipelines.folder import plain_name, warn_decomposed
from data_pipelines.labels.lines import Warn, each_line, parse_numbers, separator
from data_pipelines.labels.texts import TrackLabels, au_table, expression_column, va_columns
from data_pipelines.labels.videos import Videos

MTL_HEADER = "image,valence,arousal,expression,aus"
_MTL_FIELDS = ("valence", "arousal", "expression", *ACTION_UNITS)
_IMAGE = re.compile(r"([^/\\,]+)/(\d{1,9})\.(?:jpg|jpeg|png)", re.IGNORECASE | re.ASCII)
# First lines of the lists of names that are no name of a video.
_NAME_HEADERS = {"image", "image_location", "name", "names", "video", "videos", "video_name"}


def read_mtl(path: str | pathlib.Path, *, warn: Warn = warnings.warn) -> dict[str, TrackLabels]:
    """Reads a list of s-Aff-Wild2 (editions 3 and later): {track: its labels}, in list order.

    The first line is skipped, with a warning where it is not `image,valence,arousal,expression,aus`
    (five names for the sixteen fields of a row: fields are read by position). Each kind of label is
    missing for itself: -5 in both of valence and arousal, -1 for the expression or an action unit.
    Rows of a video must stand together and ascend by image number. A row that comes twice with the
    same labels is taken once, with a warning.
    """
    path = pathlib.Path(path)
    lines = each_line(path, warn)
    header = next(lines)
    if header.strip() != MTL_HEADER:
        row = " It looks like a row, which is lost." if _IMAGE.match(header) else ""
        warn(
            f"{path}:1: skipped as the header, but it is {header[:60]!r}, not {MTL_HEADER!r}.{row}"
        )
    videos, raw = Videos(path), {}
    for line, track, images, numbers in _runs(path, lines, 2, raw):
        table = parse_numbers(path, numbers, line, _MTL_FIELDS, after=" after the image")
        arrays = va_columns(path, table[:, :2], line)
        arrays["expression"] = expression_column(path, table[:, 2], line, EXPRESSIONS)
        arrays["au"] = au_table(path, table[:, 3:], line, ACTION_UNITS)
        videos.add(track, line, images, arrays)
    return _complete(path, videos, raw, warn)


def read_test_list(
    path: str | pathlib.Path, *, warn: Warn = warnings.warn
) -> dict[str, np.ndarray | None]:
    """Reads a test list or a sample submission: {track: int32 image numbers, or None}.

    Lists of images (`<video>/<frame>.jpg`, then nothing, a comma, or the sample's values; a header
    line or none) give the image numbers of each track; lists of names, one a line, give None. What
    comes twice is taken once, with a warning.
    """
    tracks = read_test_tracks(path, warn=warn)
    return {name: track and track.frames for name, track in tracks.items()}


def read_test_tracks(
    path: str | pathlib.Path, *, warn: Warn = warnings.warn
) -> dict[str, TrackLabels | None]:
    """As `read_test_list`: {track: its images, without labels, or None}."""
    path = pathlib.Path(path)
    lines = each_line(path, warn)
    first, number = next(lines), 1
    if _name_in(first).lower() in _NAME_HEADERS:
        first, number = next(lines, ""), 2
    if number == 2 and not first:
        raise UserError(f"{path}: a header and no rows.")
    lines = itertools.chain([first], lines)
    if "/" in _name_in(first):
        videos, raw = Videos(path), {}
        for line, track, images, _ in _runs(path, lines, number, raw):
            videos.add(track, line, images, {})
        return _complete(path, videos, raw, warn)
    line_of: dict[str, int] = {}
    raw, again = [], []
    for line, name in enumerate(map(_name_in, lines), number):
        if not name or "/" in name or "\\" in name or separator(name):
            raise UserError(
                f"{path}:{line}: {name[:60]!r}, expected the name of a video.{separator(name)}"
            )
        raw.append(name)
        first_line = line_of.setdefault(plain_name(name, f"{path}:{line}: video"), line)
        if first_line < line:
            again.append(f"line {line} is line {first_line}")
    warn_decomposed(raw, path, warn)
    _warn_repeated(path, again, warn)
    return dict.fromkeys(line_of)


def _name_in(line: str) -> str:
    return line.partition(",")[0].strip()


def _complete(
    path: pathlib.Path, videos: Videos, raw: Mapping[str, str], warn: Warn
) -> dict[str, TrackLabels]:
    """The tracks of a list, after what there is to say of it."""
    tracks = videos.tracks()
    if not tracks:
        raise UserError(f"{path}: a header and no rows.")
    warn_decomposed(raw, path, warn)
    _warn_repeated(path, videos.repeated, warn)
    return tracks


def _warn_repeated(path: pathlib.Path, repeated: Sequence[str], warn: Warn) -> None:
    if repeated:
        warn(f"{path}: rows that come twice, taken once: {listed(repeated)}.")


def _runs(
    path: pathlib.Path, lines: Iterable[str], first_line: int, names: dict[str, str]
) -> Iterator[tuple[int, str, list[int], list[str]]]:
    """(line of the first, track, image numbers, what follows them) of rows of one video together.

    Args:
        names: filled with {track as it is written: its name}.
    """
    start, current = first_line, None
    images: list[int] = []
    rests: list[str] = []
    for line, row in enumerate(lines, first_line):
        image, _, rest = row.partition(",")
        match = _IMAGE.fullmatch(image.strip())
        if match is None:
            raise UserError(
                f"{path}:{line}: image {image.strip()[:60]!r}, expected <video>/<frame "
                f"number>.jpg.{separator(row)}"
            )
        if match[1] not in names:
            names[match[1]] = plain_name(match[1], f"{path}:{line}: video")
        if int(match[2]) < 1:
            raise UserError(f"{path}:{line}: image number {int(match[2])}, the first image is 1.")
        if names[match[1]] != current and images:
            yield start, current, images, rests
            start, images, rests = line, [], []
        current = names[match[1]]
        images.append(int(match[2]))
        rests.append(rest)
    if images:
        yield start, current, images, rests
