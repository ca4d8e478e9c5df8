"""Predictions over labels along the frames of some tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect_jax.metrics.moments import Moments
from affect_jax.metrics.regression import ccc_of
from affect_jax.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DIMENSIONS = 3
POINTS = 500  # more than these in a panel are drawn as means with a band
BREAK_FRAMES, BREAK_STEPS = 10, 5  # frames further apart than both are not joined by a line
BAND, SEEN = 0.3, 0.05  # its opacity, and from which share of the axis on it is seen
PREDICTION, LABEL = style.VERMILION, style.INK


def draw_traces(
    tracks: Sequence[Mapping[str, Any]],
    *,
    limits: tuple[float, float] | None = (-1.0, 1.0),
    title: str = "",
) -> Figure:
    """Figure with a row a track and a column a dimension (three at most).

    Args:
        tracks: each {"name": str, "frame": int [N] ascending image numbers, "pred": {dimension:
            [N]}, "label": {dimension: [N], NaN where there is none}}, all with the same
            dimensions in label units; "label" may be left out.
        limits: label range, always inside the vertical axis; None: that of the data.
        title: above all panels.
    """
    dimensions = list(tracks[0]["pred"])[:MAX_DIMENSIONS] if tracks else []
    figure = style.new_figure(0.4 + 5.0 * max(len(dimensions), 1), 0.9 + 1.3 * len(tracks), title)
    if not dimensions:
        return figure
    figure.supxlabel("frame (image number in the video)", fontsize=style.NORMAL, color=style.INK)
    grid = figure.subplots(len(tracks), len(dimensions), squeeze=False, sharey="col")
    ranges = [
        _range([values for t in tracks for values in _values(t, dimension)], limits)
        for dimension in dimensions
    ]
    for column, (low, high) in zip(grid.T, ranges):
        column[0].set_ylim(low, high)
        if limits == (-1.0, 1.0):
            column[0].set_yticks([-1, 0, 1])
    banded = False
    for row, track in zip(grid, tracks):
        for axes, dimension, right in zip(row, dimensions, _numbers(track, dimensions)):
            banded |= _panel(axes, track, dimension)
            style.heading(axes, f"{track['name']}: {dimension}", right)
    _legend(figure, labelled=any("label" in track for track in tracks), banded=banded)
    return figure


def track_ccc(pred: np.ndarray, label: np.ndarray) -> float:
    """CCC of one track over its labelled frames; NaN below two of them."""
    mask = np.isfinite(label)
    if mask.sum() < 2:
        return float("nan")
    return ccc_of(Moments.of(pred[:, None], label[:, None], mask[:, None], 1))


def _numbers(track: Mapping[str, Any], dimensions: Sequence[str]) -> list[str]:
    """CCC of each dimension in words, and behind the last the mean that tracks are sorted by."""
    if "label" not in track:
        return ["no label"] * len(dimensions)
    labels = [track["label"][dimension] for dimension in dimensions]
    cccs = [track_ccc(track["pred"][d], label) for d, label in zip(dimensions, labels)]
    texts = [
        f"CCC {style.score_text(ccc)}" if np.isfinite(label).any() else "no label"
        for ccc, label in zip(cccs, labels)
    ]
    if len(cccs) > 1 and np.isfinite(cccs).any():
        texts[-1] += f"   mean of the row {style.score_text(np.nanmean(cccs))}"
    return texts


def _panel(axes: Axes, track: Mapping[str, Any], dimension: str) -> bool:
    """Draw one; returns whether a band of it is wider than its line, so that it can be seen."""
    frame = np.asarray(track["frame"])
    pred, *rest = _values(track, dimension)
    style.tidy(axes)
    banded = _trace(axes, frame, pred, PREDICTION, "prediction", 1.1, 3)
    if rest:
        banded |= _trace(axes, frame, rest[0], LABEL, "label", 1.4, 2)
    if len(frame):
        room = max(0.01 * (frame[-1] - frame[0]), 1)
        axes.set_xlim(frame[0] - room, frame[-1] + room)
    return banded


def _trace(
    axes: Axes, frame: np.ndarray, y: np.ndarray, colour: str, name: str, width: float, order: int
) -> bool:
    """One line, broken where values or many frames are missing; a band where it is thinned."""
    x, middle, low, high = thinned(frame, y, POINTS)
    wide = False
    if low is not None:
        axes.fill_between(x, low, high, color=colour, alpha=BAND, linewidth=0, zorder=order - 1)
        bottom, top = axes.get_ylim()
        mask = np.isfinite(high)
        wide = bool(mask.any()) and np.median((high - low)[mask]) > SEEN * (top - bottom)
    axes.plot(x, middle, color=colour, linewidth=width, label=name, zorder=order)
    alone = np.isfinite(middle) & ~np.isfinite(np.append(middle[1:], np.nan))
    alone &= ~np.isfinite(np.append(np.nan, middle[:-1]))
    axes.plot(x[alone], middle[alone], ".", color=colour, markersize=2.5, zorder=order)
    return bool(wide)


def thinned(
    frame: np.ndarray, y: np.ndarray, points: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """(frames, mean, lowest, highest) for a line of about `points` points.

    Short tracks come back as they are, with None for the band. NaN marks a break: where y is
    missing throughout a bin, and where image numbers jump by more than `BREAK_FRAMES` and
    `BREAK_STEPS` usual steps.
    """
    frame, y = np.asarray(frame, np.float64), np.asarray(y, np.float64)
    gaps = _gaps(frame)
    if len(frame) <= points:
        return np.insert(frame, gaps, frame[gaps]), np.insert(y, gaps, np.nan), None, None
    # No bin goes across a gap, or its mean would stand where there is nothing.
    cuts = np.union1d(np.linspace(0, len(frame), points + 1).astype(int)[:-1], gaps).astype(int)
    mask = np.isfinite(y)
    count = np.add.reduceat(mask, cuts)
    total = np.add.reduceat(np.where(mask, y, 0.0), cuts)
    middle = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    low = np.minimum.reduceat(np.where(mask, y, np.inf), cuts)
    high = np.maximum.reduceat(np.where(mask, y, -np.inf), cuts)
    low[count == 0] = high[count == 0] = np.nan
    x = np.add.reduceat(frame, cuts) / np.diff(np.append(cuts, len(frame)))
    at = np.searchsorted(cuts, gaps)
    return np.insert(x, at, x[at]), *(np.insert(line, at, np.nan) for line in (middle, low, high))


def _gaps(frame: np.ndarray) -> np.ndarray:
    """int: indices of the frames that no line joins to the frame before."""
    steps = np.diff(frame)
    usual = np.median(steps) if len(steps) else 0
    return np.flatnonzero(steps > max(BREAK_FRAMES, BREAK_STEPS * usual)) + 1


def _values(track: Mapping[str, Any], dimension: str) -> list[np.ndarray]:
    values = [np.asarray(track["pred"][dimension], np.float64)]
    if "label" in track:
        values.append(np.asarray(track["label"][dimension], np.float64))
    return values


def _range(values: Sequence[np.ndarray], limits: tuple[float, float] | None) -> tuple[float, float]:
    everything = np.concatenate([v[np.isfinite(v)] for v in values] + [np.array(limits or ())])
    if not len(everything):
        return -1.0, 1.0
    low, high = float(everything.min()), float(everything.max())
    room = 0.05 * (high - low) or 0.5
    return low - room, high + room


def _legend(figure: Figure, labelled: bool, banded: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    if labelled:
        handles.append(Line2D([], [], color=LABEL, linewidth=2.5, label="label"))
    handles.append(Line2D([], [], color=PREDICTION, linewidth=2.5, label="prediction"))
    if banded:
        handles.append(
            Patch(color=PREDICTION, alpha=BAND, linewidth=0, label="range of the frames averaged")
        )
    figure.legend(
        handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=style.SMALL + 1
    )
