"""Tables of windows: a csv file with a row a window, as the authors of RAS keep them.

    full_video_name   the video's file
    video_name        TRACK___START_STOP_INDEX and the video's suffix
    text              a description of what is seen
    start_frame, end_frame, start_time, end_time
                      of the window: frames from 0, the end excluded, and seconds
    valence_s0, arousal_s0, ..., valence, arousal
                      mean labels of its steps and of all of it; -5 or empty where there are none
    open_sec, coverage_ratio, use_for_audio, fps
                      only in {train,val,test}_audio_segment.csv: what the mouth says of the sound

Of what is read only video_name, start_frame and end_frame must be there.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

import numpy as np

from data_pipelines.av_windows import Window
from data_pipelines.errors import UserError
from data_pipelines.labels.csv_rows import number, read_rows, whole
from data_pipelines.labels.lines import MISSING, Warn
from data_pipelines.labels.rates import LONGEST, decimals
from data_pipelines.labels.texts import NO_VALUE, VA_COLUMNS
from data_pipelines.replace_file import replace_text
from data_pipelines.store_specs import rate

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v")
_PLACE = ("video_name", "start_frame", "end_frame")
_INDEX = re.compile(r"___\d+_\d+_\d+$", re.ASCII)
_STEP = re.compile(rf"({'|'.join(VA_COLUMNS)})_s(\d+)", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Speech:
    """Speech in a window, by the mouth of the person that is seen.

    Attributes:
        open_seconds: in which the mouth is open.
        coverage: share of the frames that show a face.
        use: the sound is taken for speech of the person that is seen.
        fps: frames a second, exact; None where not known.
    """

    open_seconds: float
    coverage: float
    use: bool
    fps: Fraction | None


@dataclasses.dataclass(frozen=True)
class Segment:
    """One row of a table.

    Attributes:
        video: the video's file; "" where the table does not say.
        name: of the window.
        window: times are NaN where the table has none.
        labels: float64 [2], valence and arousal; steps: float64 [S, 2]. NaN where there is none.
        text: a description.
        speech: None where the table does not say.
    """

    video: str
    name: str
    window: Window
    labels: np.ndarray
    steps: np.ndarray
    text: str = ""
    speech: Speech | None = None

    @property
    def track(self) -> str:
        """The track that the window is of."""
        return track_of(self.name)


def track_of(name: str) -> str:
    """The track of a window, by its name: without the video's suffix and ___START_STOP_INDEX."""
    name = name.strip()
    suffix = pathlib.PurePath(name).suffix
    if suffix.lower() in VIDEO_SUFFIXES:
        name = name.removesuffix(suffix)
    return _INDEX.sub("", name)


def read_segments(path: pathlib.Path, *, warn: Warn) -> list[Segment]:
    """The rows of a table. UserError, with file and line, for what cannot be."""
    return [_segment(where, row) for where, row in read_rows(path, _PLACE, warn=warn)]


def _segment(where: str, row: Mapping[str, str]) -> Segment:
    name = row["video_name"]
    if not track_of(name):
        raise UserError(f"{where}: no video_name.")
    start, stop = (whole(where, column, row[column], most=LONGEST) for column in _PLACE[1:])
    if stop < start:
        raise UserError(f"{where}: end_frame {stop} is before start_frame {start}.")
    times = (_number(where, column, row) for column in ("start_time", "end_time"))
    steps = sorted({int(found[2]) for column in row if (found := _STEP.fullmatch(column))})
    if steps != list(range(len(steps))):
        raise UserError(f"{where}: labels of the steps {steps}, expected 0, 1, 2, ...")
    speech = None
    if "use_for_audio" in row:
        fps = _number(where, "fps", row)
        measured = (_number(where, column, row) for column in ("open_sec", "coverage_ratio"))
        speech = Speech(
            *measured, _flag(where, row["use_for_audio"]), rate(fps) if fps > 0 else None
        )
    return Segment(
        row.get("full_video_name", ""),
        name,
        Window(*times, start, stop),
        np.array([_label(where, column, row) for column in VA_COLUMNS]),
        np.array(
            [[_label(where, f"{column}_s{i}", row) for column in VA_COLUMNS] for i in steps]
        ).reshape(-1, len(VA_COLUMNS)),
        row.get("text", ""),
        speech,
    )


def _number(where: str, column: str, row: Mapping[str, str]) -> float:
    """The number of a field; NaN where it is empty, or the table has no such column."""
    text = row.get(column, "")
    return np.nan if text.lower() in MISSING else number(where, column, text)


def _label(where: str, column: str, row: Mapping[str, str]) -> float:
    value = _number(where, column, row)
    return np.nan if value == NO_VALUE else value


def _flag(where: str, text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise UserError(f"{where}: use_for_audio is {text[:60]!r}, expected True or False.")
    return text.lower() in ("true", "1")


def write_segments(path: pathlib.Path, segments: Sequence[Segment], *, marked: bool = True) -> None:
    """Write a table; with the columns of speech where the first segment has some.

    Args:
        segments: of one number of steps.
        marked: missing labels are -5; False: empty, as where a split has no labels.
    """
    missing = f"{float(NO_VALUE)}" if marked else ""
    steps = len(segments[0].steps) if segments else 0
    names = [f"{column}_s{i}" for i in range(steps) for column in VA_COLUMNS]
    header = ["full_video_name", "video_name", "text", "start_frame", "end_frame"]
    header += ["start_time", "end_time", *names, *VA_COLUMNS]
    spoken = bool(segments) and segments[0].speech is not None
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*header, *("open_sec", "coverage_ratio", "use_for_audio", "fps") * spoken])
    for one in segments:
        window, labels = one.window, np.append(one.steps, one.labels)
        place = [one.video, one.name, one.text, window.start, window.stop]
        times = [float(window.start_time), float(window.end_time)]
        marks = [missing if np.isnan(x) else repr(float(x)) for x in labels]
        table.writerow([*place, *times, *marks, *_spoken(one.speech)])
    replace_text(path, text.getvalue())


def _spoken(speech: Speech | None) -> Iterable[object]:
    if speech is None:
        return ()
    return speech.open_seconds, speech.coverage, speech.use, decimals(speech.fps) or "0.0"
