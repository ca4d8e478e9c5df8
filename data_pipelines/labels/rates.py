"""Frames a second of videos: a csv file with the columns video_name and fps, videos_fps.csv.

    video_name,fps
    a.mp4,29.97
    b.avi,

Rates are exact: 29.97 is 30000/1001. An empty field is a rate that is not known.
"""

from __future__ import annotations

import csv
import io
import pathlib
import unicodedata
from collections.abc import Iterable, Mapping
from fractions import Fraction

from data_pipelines.errors import UserError, listed
from data_pipelines.labels.csv_rows import read_rows
from data_pipelines.labels.lines import MISSING, Warn
from data_pipelines.replace_file import replace_text
from data_pipelines.store_specs import rate

NAME = "videos_fps.csv"
HIGHEST = 1000.0  # frames a second; beyond is damage
LONGEST = 10**7  # frames of a video; likewise
_PERSON = ("_left", "_right")


def read_rates(path: pathlib.Path, *, warn: Warn) -> dict[str, Fraction | None]:
    """{video, with its suffix: frames a second, None where not known}, in the file's order."""
    rates: dict[str, Fraction | None] = {}
    for where, row in read_rows(path, ("video_name", "fps"), warn=warn):
        name, text = row["video_name"], row["fps"]
        if not name:
            raise UserError(f"{where}: no video_name.")
        found = None if text.lower() in MISSING else _rate(where, text)
        if rates.setdefault(name, found) != found:
            raise UserError(f"{where}: {name!r} again, with another fps. Leave one line.")
    return rates


def write_rates(path: pathlib.Path, rates: Mapping[str, Fraction | None]) -> None:
    """Write the file, decimals rounded to three as the authors do."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("video_name", "fps"))
    table.writerows((name, decimals(fps)) for name, fps in rates.items())
    replace_text(path, text.getvalue())


def decimals(fps: Fraction | None) -> str:
    """The rate with at most three decimals, as the authors write it; "" where it is not known."""
    return "" if fps is None else repr(round(float(fps), 3))


def video_of(track: str, videos: Mapping[str, str]) -> str | None:
    """The video that shows a track: of its name, or of that without `_left` or `_right`; or None.

    Args:
        videos: {name without suffix: video}.
    """
    for person in ("", *_PERSON):
        if track.endswith(person) and (stem := track.removesuffix(person)) in videos:
            return videos[stem]
    return None


def stems(names: Iterable[str], where: object) -> dict[str, str]:
    """{name without suffix, in composed form: video}; UserError where two videos have one."""
    found: dict[str, str] = {}
    for name in names:
        stem = unicodedata.normalize("NFC", pathlib.PurePath(name).stem)
        if stem in found:
            raise UserError(f"{where}: {found[stem]!r} and {name!r} are of one name. Leave one.")
        found[stem] = name
    return found


def rate_of_track(
    track: str, rates: Mapping[str, Fraction | None], where: object
) -> tuple[str, Fraction]:
    """(video, frames a second) of a track; UserError where it is not known."""
    video = video_of(track, stems(rates, where))
    if video is None:
        raise UserError(f"{where}: no video of track {track!r}. It has {listed(rates, 3)}.")
    fps = rates[video]
    if fps is None:
        raise UserError(f"{where}: the fps of {video!r} is not known. Write it into the file.")
    return video, fps


def _rate(where: str, text: str) -> Fraction:
    try:
        found = rate(text if "/" in text else float(text))
    except ValueError:
        found = Fraction(0)
    if not 0 < found <= HIGHEST:
        raise UserError(
            f"{where}: fps is {text[:60]!r}, expected frames a second, up to {HIGHEST:g}."
        )
    return found
