"""Streams of one track over time: what each modality has of it, and where it has gaps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect_jax.report import style
from data_pipelines.errors import UserError, nearest
from data_pipelines.rows import rate_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from data_pipelines.store import AnyStore

PIECE = 0.05  # seconds of which the level of a fast stream is taken
WIDEST = 128  # numbers of a frame that are drawn, the first ones
TOUCH = 1e-3  # seconds by which spans may overlap that touch
GAP = "#EFE3D8"  # where a stream has nothing

Spans = Sequence[tuple[float, float]]


def draw_streams(
    store: AnyStore,
    track: str,
    names: Sequence[str] = (),
    spans: Mapping[str, Spans] | None = None,
    title: str = "",
) -> Figure:
    """Figure with a panel a stream, over seconds of the video; gaps are shaded.

    Streams of frames are drawn as colours, a line a column in units of its deviation; one of one
    number as a line. Of fast ones (samples of sound) the level is drawn, and of tables the rows
    with their spans. Labels are lines at the end.

    Args:
        names: of features and labels, from top to bottom; () for all, features first.
        spans: {what: (start, stop) in seconds of each}, drawn below the features: windows, say.

    Raises:
        UserError: there is no such track, feature or label, or the track has no frames a second.
    """
    index = _index(store, track)
    fps = float(rate_of(store, index, "streams are drawn over seconds"))
    for name in names:
        if name not in {**store.features, **store.labels}:
            hint = nearest(name, {**store.features, **store.labels})
            raise UserError(f"{store.path} has no feature or label {name!r}. {hint}")
    chosen = names or (*store.features, *store.labels)
    features = [name for name in chosen if name in store.features]
    labels = [name for name in chosen if name in store.labels]
    panels = [*features, *(spans or ()), *labels]
    heights = [1.6 if _is_image(store, name) else 1.0 for name in panels]
    figure = style.new_figure(9.5, 0.6 + 0.75 * sum(heights), title or track)
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    seconds = (np.asarray(store.frames[store.tracks[index].span]) - 1) / fps
    for axes, name in zip(grid, panels):
        style.tidy(axes, grid="x")
        if name in features:
            _draw_feature(axes, store, index, name, seconds, fps)
        elif name in labels:
            _draw_label(axes, store, index, name, seconds)
        else:
            style.heading(axes, name, f"{len(spans[name]):,} of them")
            _draw_spans(axes, np.reshape(spans[name], (-1, 2)), style.GREEN)
    grid[-1].set_xlim(0, seconds[-1] + 1 / fps)
    grid[-1].set_xlabel("seconds", fontsize=style.NORMAL, color=style.INK)
    return figure


def _index(store: AnyStore, track: str) -> int:
    names = {one.name: i for i, one in enumerate(store.tracks)}
    if track not in names:
        raise UserError(f"{store.path} has no track {track!r}. {nearest(track, names)}")
    return names[track]


def _is_image(store: AnyStore, name: str) -> bool:
    feature = store.features.get(name)
    return feature is not None and feature.axis == "frame" and feature.size > 1


def _draw_feature(
    axes: Axes, store: AnyStore, index: int, name: str, seconds: np.ndarray, fps: float
) -> None:
    feature, rows = store.features[name], store.rows(name, index)
    x, mask = np.asarray(store.feature(name)[rows]), store.feature_mask(name)
    there = np.ones(len(x), bool) if mask is None else np.asarray(mask[rows])
    x = x.reshape(len(x), feature.size)[:, :WIDEST] * np.float32(feature.scale)
    if not there.any():
        style.heading(axes, name, "nothing of it here")
        axes.set_facecolor(GAP)
        axes.set_yticks([])
        return
    if feature.axis == "table":
        found = np.asarray(store.spans(name)[rows])[there] / fps
        style.heading(
            axes, name, f"{len(found):,} rows of {feature.size:,} numbers, with their spans"
        )
        _draw_spans(axes, found, style.BLUE)
        return
    if feature.axis == "rate":
        rate = float(feature.rate)
        style.heading(axes, name, f"level, of {rate:,g} numbers a second")
        _draw_level(axes, np.where(there[:, None], x, np.nan), rate)
        return
    style.heading(axes, name, _columns(feature.size, there))
    if x.shape[1] == 1:
        axes.set_facecolor(GAP)
        _fill_there(axes, seconds, there, fps)
        axes.plot(seconds, np.where(there, x[:, 0], np.nan), color=style.BLUE, linewidth=0.8)
        return
    values = (x - x[there].mean(0)) / np.maximum(x[there].std(0), 1e-6)
    grid = np.full((x.shape[1], round(seconds[-1] * fps) + 1), np.nan)
    grid[:, np.rint(seconds[there] * fps).astype(int)] = values[there].T
    axes.set_facecolor(GAP)
    edge = grid.shape[1] / fps
    axes.imshow(
        grid,
        aspect="auto",
        cmap="RdBu_r",
        vmin=-2.5,
        vmax=2.5,
        extent=(0, edge, x.shape[1] + 0.5, 0.5),
        interpolation="nearest",
    )
    axes.grid(False)


def _columns(count: int, there: np.ndarray) -> str:
    numbers = "a number" if count == 1 else f"{count:,} numbers"
    numbers = numbers if count <= WIDEST else f"the first {WIDEST} of {numbers}"
    return f"{numbers} a frame" + ("" if there.all() else f", at {there.mean():.0%} of them")


def _fill_there(axes: Axes, seconds: np.ndarray, there: np.ndarray, fps: float) -> None:
    """White where a stream of one number exists."""
    edges = np.diff(np.concatenate([[0], there.astype(int), [0]]))
    for start, stop in zip(np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)):
        axes.axvspan(seconds[start], seconds[stop - 1] + 1 / fps, color="white", zorder=0, lw=0)


def _draw_level(axes: Axes, x: np.ndarray, rate: float) -> None:
    """Root mean square of pieces, 1 the loudest."""
    size = max(round(PIECE * rate), 1)
    pieces = np.square(x[: len(x) // size * size]).reshape(-1, size * x.shape[1]).mean(1)
    level = np.sqrt(pieces)
    level /= np.nanmax(level, initial=1e-9)
    at = (np.arange(len(level)) + 0.5) * size / rate
    axes.fill_between(at, 0, level, color=style.BLUE, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_yticks([])


def _draw_spans(axes: Axes, spans: np.ndarray, colour: str) -> None:
    """Bars; those that overlap lie below one another."""
    ends: list[float] = []
    for start, stop in spans:
        free = [lane for lane, end in enumerate(ends) if end <= start + TOUCH]
        lane = free[0] if free else len(ends)
        ends[lane : lane + 1] = [stop]
        bar = {"height": 0.75, "color": colour, "alpha": 0.6, "edgecolor": "white", "linewidth": 2}
        axes.barh(lane, stop - start, left=start, **bar)
    axes.set_ylim(max(len(ends), 2) - 0.5, -0.5)
    axes.set_yticks([])


def _draw_label(axes: Axes, store: AnyStore, index: int, name: str, seconds: np.ndarray) -> None:
    label, span = store.labels[name], store.tracks[index].span
    values, mask = (np.asarray(x[span]).reshape(len(seconds), -1) for x in store.label(name))
    style.heading(axes, name, f"label, known at {mask.any(1).mean():.0%} of the frames")
    axes.plot(seconds, np.where(mask, values, np.nan), color=style.INK, linewidth=1.2)
    if label.kind == "classes" and label.names:
        axes.set_yticks(range(len(label.names)), [style.plain(n, 14) for n in label.names])
