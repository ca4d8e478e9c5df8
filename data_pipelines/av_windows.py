"""Windows of a video in seconds, labels of their steps, and which of them hold speech.

    rate = store_specs.rate(29.97)  # 30000/1001, exact
    found = windows(Fraction(frames) / rate, rate)
    labels, mask = step_labels(values, mask, found[0], rate)
    open_seconds, coverage = mouth(found[0], smoothed(is_open, rate), face, rate)
    use_for_audio = speaks(found[0], open_seconds, coverage)

Index i of an array stands for image i + 1. Numbers are rounded half to even. Times and rates may be
fractions, then what is computed of them is exact.

Two rules are known for the labels of steps and for speech: "shipped" made the tables that the
authors give out, "script" is what their scripts do today. They agree for whole rates and for
windows of full length.

Source: SMIL-SPCRAS/CVPRW-26, src_audio_and_fusion (arXiv 2603.13056).
"""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import numpy as np

from data_pipelines.errors import UserError, nearest

Number = int | float | Fraction

RULES = ("shipped", "script")
LENGTH, HOP, SHORTEST = 4, 2, 1  # seconds
STEPS = 4
LARGEST_GAP, SHORTEST_OPEN = 0.15, 0.20  # seconds
LEAST_OPEN = {"shipped": 1.0, "script": 0.25}  # seconds; share of the window
LEAST_COVERAGE = 0.80


@dataclasses.dataclass(frozen=True)
class Window:
    """A stretch of a video.

    Attributes:
        start_time, end_time: in seconds.
        start, stop: frames (0-based, stop excluded).
    """

    start_time: Number
    end_time: Number
    start: int
    stop: int


def windows(
    duration: Number,
    fps: Number,
    *,
    length: Number = LENGTH,
    hop: Number = HOP,
    shortest: Number = SHORTEST,
) -> list[Window]:
    """Windows every `hop` seconds until one reaches the end, which the last one is cut at.

    What is left behind a window is none if it is shorter than `shortest`; a video no longer than
    `length` is one window, however short.
    """
    times: list[tuple[Number, Number]] = []
    start: Number = 0
    while duration > length and start < duration:
        end = start + length
        if end < duration or duration - start >= shortest:
            times.append((start, min(end, duration)))
        if end >= duration or duration - start < shortest:
            break
        start += hop
    return [
        Window(begin, end, round(begin * fps), round(end * fps))
        for begin, end in times or [(0, duration)]
    ]


def name(track: str, window: Window, index: int, suffix: str) -> str:
    """The name under which the authors keep a window: TRACK___START_STOP_INDEX.mp4.

    Args:
        index: number of the window in its track, from 0.
        suffix: of the video's file.
    """
    return f"{track}___{window.start}_{window.stop}_{index:04d}{suffix}"


def label_means(
    values: np.ndarray, mask: np.ndarray, start: int, stop: int
) -> tuple[np.ndarray, np.ndarray]:
    """(means float64 [K], mask bool [K]) of the labelled frames from start to stop.

    Args:
        values, mask: [T, K]; frames beyond T have no label. Columns are taken each by itself.
    """
    values, mask = values[max(start, 0) : stop], mask[max(start, 0) : stop]
    count = mask.sum(0)
    total = np.where(mask, values, 0).sum(0, dtype=np.float64)
    return total / np.maximum(count, 1), count > 0


def step_labels(
    values: np.ndarray,
    mask: np.ndarray,
    window: Window,
    fps: Number,
    *,
    steps: int = STEPS,
    length: Number = LENGTH,
    rule: str = "shipped",
) -> tuple[np.ndarray, np.ndarray]:
    """(means float64 [S, K], mask bool [S, K]) of the labels in the steps of a window.

    Args:
        values, mask: [T, K] labels of the video's frames.
        steps: S, into which the full `length` in seconds is divided; steps behind the end of a
            shorter window have no label.
        rule: "shipped": steps of a rounded number of frames, one after the other; "script": every
            frame that a step touches, so that neighbours may share one.
    """
    _require_rule(rule)
    found = []
    for step in range(steps):
        if rule == "shipped":
            size = round(Fraction(length) * Fraction(fps) / steps)
            start = window.start + step * size
            stop = min(start + size, window.stop)
        else:
            size = Fraction(length) / steps
            begin = window.start_time + step * size
            start, stop = math.floor(begin * fps), 0
            if begin < window.end_time:
                end = min(window.start_time + (step + 1) * size, window.end_time)
                stop = max(math.ceil(end * fps), start + 1)
        found.append(label_means(values, mask, start, max(stop, start)))
    means, there = zip(*found, strict=True)
    return np.stack(means), np.stack(there)


def smoothed(
    flags: np.ndarray,
    fps: Number,
    *,
    largest_gap: float = LARGEST_GAP,
    shortest_open: float = SHORTEST_OPEN,
) -> np.ndarray:
    """bool [T]: an open mouth that closes for a moment stays open, one that opens so is not.

    Args:
        flags: bool [T], open.
        largest_gap, shortest_open: seconds. First closed gaps up to the one are opened, then open
            runs up to the other closed; of each at least a frame.
    """
    gap, least = (max(1, round(seconds * float(fps))) for seconds in (largest_gap, shortest_open))
    flags = np.array(flags, bool)
    for start, stop in _runs(~flags):
        if start > 0 and stop < len(flags) and stop - start <= gap:
            flags[start:stop] = True
    for start, stop in _runs(flags):
        if stop - start <= least:
            flags[start:stop] = False
    return flags


def mouth(
    window: Window, is_open: np.ndarray, face: np.ndarray, fps: Number
) -> tuple[float, float]:
    """(seconds in which the mouth is open, share of the frames that show a face) of a window.

    Args:
        is_open, face: bool [T]; frames beyond T have no face.
    """
    if window.stop <= window.start:
        return 0.0, 0.0
    opened, shown = (int(x[window.start : window.stop].sum()) for x in (is_open, face))
    return opened / float(fps), shown / (window.stop - window.start)


def speaks(
    window: Window,
    open_seconds: float,
    coverage: float,
    *,
    rule: str = "shipped",
    least_open: float | None = None,
    least_coverage: float = LEAST_COVERAGE,
) -> bool:
    """True where the sound of a window is taken for speech of the person that is seen.

    Args:
        open_seconds, coverage: of the window, as `mouth` has them.
        rule: what `least_open` is: "shipped": seconds, by default 1; "script": a share of the
            window, by default a quarter.
    """
    _require_rule(rule)
    least = LEAST_OPEN[rule] if least_open is None else least_open
    if rule == "script":
        least *= float(window.end_time - window.start_time)
    return open_seconds >= least and coverage >= least_coverage


def _require_rule(rule: str) -> None:
    if rule not in RULES:
        raise UserError(f"rule {rule!r}. {nearest(rule, RULES)}")


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """(start, stop) of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
