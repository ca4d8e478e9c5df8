"""Lists over many videos: the multi-task list (one row an image) and the test lists."""

from __future__ import annotations

import pathlib
import re
import warnings
from collections.abc import Hashable, Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.folder import plain_name, warn_decomposed
from data_pipelines.labels.editions import ACTION_UNITS, EXPRESSIONS
from data_pipelines.labels.lines import Warn, parse_numbers, read_lines, separator
from data_pipelines.labels.texts import TrackLabels, au_table, expression_column, va_columns
from data_pipelines.report import listed

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
    images = _images(path, images, 2, warn)
    table = parse_numbers(path, numbers, 2, _MTL_FIELDS, after=" after the image")
    spans = _spans(path, images, _once(path, images, 2, table, warn), 2)
    arrays = va_columns(path, table[:, :2], 2)
    arrays["expression"] = expression_column(path, table[:, 2], 2, EXPRESSIONS)
    arrays["au"] = au_table(path, table[:, 3:], 2, ACTION_UNITS)
    return {
        track: TrackLabels(
            frames,
            {name: (values[rows], mask[rows]) for name, (values, mask) in arrays.items()},
            f"{path} (track {track})",
            again,
        )
        for track, (rows, frames, again) in spans.items()
    }


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
    firsts = [line.partition(",")[0].strip() for line in read_lines(path, warn)]
    skip = int(firsts[0].lower() in _NAME_HEADERS)
    rows, first_line = firsts[skip:], 1 + skip
    if not rows:
        raise UserError(f"{path}: a header and no rows.")
    if "/" in rows[0]:
        images = _images(path, rows, first_line, warn)
        spans = _spans(path, images, _once(path, rows, first_line, None, warn), first_line)
        return {
            track: TrackLabels(frames, {}, f"{path} (track {track})", again)
            for track, (_, frames, again) in spans.items()
        }
    for number, name in enumerate(rows, first_line):
        if not name or "/" in name or "\\" in name or separator(name):
            raise UserError(
                f"{path}:{number}: {name[:60]!r}, expected the name of a video.{separator(name)}"
            )
    names = [plain_name(name, f"{path}:{n}: video") for n, name in enumerate(rows, first_line)]
    warn_decomposed(rows, path, warn)
    return dict.fromkeys(names[row] for row in _once(path, names, first_line, None, warn))


def _images(
    path: pathlib.Path, rows: Sequence[str], first_line: int, warn: Warn
) -> list[tuple[str, int]]:
    """(track, image number) of rows `<video>/<frame>.jpg`."""
    tracks: dict[str, str] = {}
    images = []
    for line, row in enumerate(rows, first_line):
        match = _IMAGE.fullmatch(row.strip())
        if match is None:
            raise UserError(
                f"{path}:{line}: image {row[:60]!r}, expected <video>/<frame number>.jpg."
                f"{separator(row)}"
            )
        if match[1] not in tracks:
            tracks[match[1]] = plain_name(match[1], f"{path}:{line}: video")
        if int(match[2]) < 1:
            raise UserError(f"{path}:{line}: image number {int(match[2])}, the first image is 1.")
        images.append((tracks[match[1]], int(match[2])))
    warn_decomposed(tracks, path, warn)
    return images


def _once(
    path: pathlib.Path,
    rows: Sequence[Hashable],
    first_line: int,
    table: np.ndarray | None,
    warn: Warn,
) -> np.ndarray:
    """int64: the rows without those that come again; a UserError where `table` then differs."""
    first: dict[Hashable, int] = {}
    again = []
    for i, row in enumerate(rows):
        before = first.setdefault(row, i)
        if before == i:
            continue
        if table is not None and (table[i] != table[before]).any():
            track, number = row
            raise UserError(
                f"{path}:{first_line + i}: image {number} of {track!r} comes twice, in line "
                f"{first_line + before} with other labels."
            )
        again.append(f"line {first_line + i} is line {first_line + before}")
    if again:
        warn(f"{path}: rows that come twice, taken once: {listed(again)}.")
    return np.fromiter(first.values(), np.int64)


def _spans(
    path: pathlib.Path, images: Sequence[tuple[str, int]], kept: np.ndarray, first_line: int
) -> dict[str, tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
    """{track: (int64 [T] its rows, int32 [T] their image numbers, `TrackLabels.again`)}."""
    rows: dict[str, list[int]] = {}
    current = None
    for row in kept.tolist():
        where, (track, number) = f"{path}:{first_line + row}", images[row]
        if track != current:
            if track in rows:
                raise UserError(
                    f"{where}: rows of {track!r} go on after another video's (they began in line "
                    f"{first_line + rows[track][0]}). Rows of a video must stand together."
                )
            rows[track], current = [row], track
            continue
        last = images[rows[track][-1]][1]
        if number <= last:
            wrong = "comes twice" if number == last else f"comes after image {last}"
            raise UserError(
                f"{where}: image {number} of {track!r} {wrong}. Image numbers must ascend."
            )
        rows[track].append(row)
    again: dict[str, list[int]] = {track: [] for track in rows}
    if len(kept) < len(images):
        taken, place = set(kept.tolist()), dict.fromkeys(rows, 0)
        for row, (track, _) in enumerate(images):
            if row not in taken:
                again[track].append(place[track])
            place[track] += 1
    return {
        track: (
            np.array(where, np.int64),
            np.array([images[row][1] for row in where], np.int32),
            tuple(again[track]),
        )
        for track, where in rows.items()
    }
