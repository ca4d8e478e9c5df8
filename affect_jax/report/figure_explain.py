"""On what predictions rest: importance along frames, features that count, maps over pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect_jax.report import style
from affect_jax.report.figure_traces import LABEL, PREDICTION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from affect_jax.explainer import Explained

FEATURES = 12  # that are drawn of an output
OUTPUTS = 4  # that are drawn side by side, the first ones
# Of streams along a row, as many as are drawn: the ones with the most importance.
STREAMS = tuple(colour for colour in style.CYCLE if colour not in (PREDICTION, "#000000"))
FEW = 100  # frames that are marked
COLUMNS = 10  # pictures side by side
LEAST = 1e-4  # importance, at which the axis begins: many frames that have little have much
ALPHA = 0.45  # of a map over its picture
COLOURS = "inferno"


def features_of(found: Iterable[Explained]) -> dict[str, dict[str, np.ndarray]]:
    """{output: {stream: float [D]}}: mean size of the gradient over all targets, 1 the largest.

    Of classes and of several labels it is that of the likeliest one at each target.
    """
    sums: dict[str, dict[str, np.ndarray]] = {}
    for one in found:
        streams = sums.setdefault(one.common, {})
        for name, values in one.of_feature.items():
            streams[name] = streams.get(name, 0) + values
    shares = {}
    for output, streams in sums.items():
        largest = max((x.max() for x in streams.values()), default=0) or 1
        shares[output] = {name: x / largest for name, x in streams.items()}
    return shares


def draw_summary(found: Sequence[Explained]) -> Figure:
    """Figure with a column an output: importance by distance from the target, features below.

    Without frames (clips that have no rows of their own) the features alone.
    """
    shares = dict(list(features_of(found).items())[:OUTPUTS])
    timed = {
        output: [one for one in found if one.common == output and len(one.prediction) > 1]
        for output in shares
    }
    rows = 2 if any(timed.values()) else 1
    figure = style.new_figure(0.4 + 4.2 * len(shares), 0.6 + 2.6 * rows, "on what predictions rest")
    grid = figure.subplots(rows, len(shares), squeeze=False)
    for column, (output, streams) in zip(grid.T, shares.items()):
        if rows == 2:
            _draw_reach(column[0], timed[output])
            style.heading(column[0], output, _own_share(timed[output]))
        _draw_features(column[-1], streams)
        style.heading(column[-1], "" if rows == 2 else output, "features, mean size of gradient")
    return figure


def _own_share(found: Sequence[Explained]) -> str:
    """Share of the importance that the target's own frame has, in words."""
    shares = [one.importance[one.at] / max(one.importance.sum(), LEAST) for one in found]
    return f"{np.mean(shares):.0%} on the target's own frame" if shares else ""


def _scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_ylim(LEAST, 1.5)
    axes.set_ylabel("importance", fontsize=style.SMALL, color=style.INK)
    style.tidy(axes)


def _draw_reach(axes: Axes, found: Sequence[Explained]) -> None:
    distance = np.concatenate([np.arange(len(one.frames)) - one.at for one in found])
    share = np.concatenate([one.importance for one in found])
    places, index = np.unique(distance, return_inverse=True)
    mean = np.maximum(np.bincount(index, share) / np.bincount(index), LEAST)
    axes.fill_between(places, LEAST, mean, color=style.BLUE, alpha=0.35, linewidth=0)
    axes.plot(places, mean, color=style.BLUE, linewidth=1.2)
    axes.axvline(0, color=style.GREY, linewidth=0.8)
    axes.set_xlabel("frames fed after the target", fontsize=style.SMALL, color=style.INK)
    _scale(axes)


def _draw_features(axes: Axes, streams: Mapping[str, np.ndarray]) -> None:
    colours = {name: style.CYCLE[i % len(style.CYCLE)] for i, name in enumerate(streams)}
    ranked = sorted(
        ((value, name, k) for name, x in streams.items() for k, value in enumerate(x, 1)),
        key=lambda one: -one[0],
    )[:FEATURES]
    for place, (value, name, _) in enumerate(ranked):
        axes.barh(place, value, color=colours[name], height=0.7)
    names = [f"{style.plain(name, 24)} {k}" for _, name, k in ranked]
    axes.set_yticks(range(len(ranked)), names)
    axes.invert_yaxis()
    style.tidy(axes, grid="x")


def draw_target(found: Sequence[Explained]) -> Figure:
    """Figure of one target: for each output what is predicted along the row, importance below.

    Of a clip importance alone.

    Args:
        found: its outputs.
    """
    one, found = found[0], found[:OUTPUTS]
    clip = len(one.prediction) < len(one.frames)
    what = "the prediction rests on" if clip else f"the prediction of frame {one.frame} rests on"
    height, streams = 2.8 if clip else 4.6, _most_important(found)
    figure = style.new_figure(0.4 + 5.0 * len(found), height, f"{one.track}: what {what}")
    grid = figure.subplots(1 if clip else 2, len(found), squeeze=False, sharex="col")
    for column, one in zip(grid.T, found):
        if not clip:
            _draw_course(column[0], one)
            style.heading(column[1], "", _own_share([one]))
        _draw_importance(column[-1], one, streams)
        prediction = f"prediction {style.score_text(one.prediction[one.at])}"
        style.heading(column[0], one.output, prediction)
        about = "parts of the clip" if clip else "frame (image number in the video)"
        column[-1].set_xlabel(about, fontsize=style.SMALL, color=style.INK)
    handles = [pair for axes in grid[:, 0] for pair in zip(*axes.get_legend_handles_labels())]
    if handles:
        lines, names = zip(*handles)
        figure.legend(
            lines, names, loc="outside lower center", ncols=6, frameon=False, fontsize=style.SMALL
        )
    return figure


def _draw_course(axes: Axes, one: Explained) -> None:
    """Prediction and label along the row."""
    for y, colour, name in (
        (one.label, LABEL, "label"),
        (one.prediction, PREDICTION, "prediction"),
    ):
        size = 2.5 if len(y) <= FEW else 0
        axes.plot(one.frames, y, ".-", color=colour, lw=1.2, ms=size, label=name)
    axes.axvline(one.frame, color=style.GREY, linewidth=0.8)
    style.tidy(axes)


def _most_important(found: Sequence[Explained]) -> list[str]:
    """Streams that are drawn, the most important first."""
    sums: dict[str, float] = {}
    for one in found:
        for name, share in one.of_stream.items():
            sums[name] = sums.get(name, 0) + float(share.sum())
    return sorted(sums, key=lambda name: -sums[name])[: len(STREAMS)]


def _draw_importance(axes: Axes, one: Explained, streams: Sequence[str]) -> None:
    """Importance of all streams together, shaded, and of some along the row."""
    share = np.maximum(one.importance, LEAST)
    shade = {"color": style.FAINT, "linewidth": 0, "label": "importance of all streams"}
    axes.fill_between(one.frames, LEAST, share, **shade, step="mid")
    for name, colour in zip(streams, STREAMS):
        share = np.maximum(one.of_stream[name], LEAST)
        axes.plot(one.frames, share, color=colour, lw=1.0, label=style.plain(name, 24))
    if len(one.prediction) == len(one.frames):
        axes.axvline(one.frame, color=style.GREY, linewidth=0.8)
    _scale(axes)


def draw_pictures(groups: Mapping[tuple[str, int], Sequence[Explained]]) -> Figure:
    """Figure with a row a picture: it, and its map of each output."""
    columns = min(max(len(found) for found in groups.values()), OUTPUTS)
    figure = style.new_figure(
        0.4 + 1.9 * (1 + columns), 0.5 + 1.8 * len(groups), "where in a picture"
    )
    grid = figure.subplots(len(groups), 1 + columns, squeeze=False)
    for row, ((track, _), found) in zip(grid, groups.items()):
        _show(row[0], found[0].pictures[0], track)
        for axes, one in zip(row[1:], found):
            _show(axes, overlay(one.pictures[0], one.maps["dynamic"][0]), _verdict(one))
    for axes in grid.flat:
        axes.set_axis_off()
    return figure


def _verdict(one: Explained) -> str:
    """An output of a picture with its prediction and label, in words."""
    known, label = not np.isnan(one.label[0]), one.label[0]
    if one.output != one.common:  # a class, or one of several labels
        right = "" if not known else ", right" if label else ", wrong"
        return f"{one.output} {one.prediction[0]:.0%}{right}"
    label = f", label {style.score_text(label, 2)}" if known else ""
    return f"{one.output} {style.score_text(one.prediction[0], 2)}{label}"


def draw_maps(one: Explained, shown: np.ndarray) -> Figure:
    """Figure of pictures in time: a row a map, at most ten frames.

    Args:
        shown: positions of the frames.
    """
    if len(shown) > COLUMNS:
        others = sorted(set(shown) - {one.at}, key=lambda t: -one.importance[t])
        shown = np.sort([one.at, *others[: COLUMNS - 1]])
    names = [name for name in ("static", "dynamic", "joint") if name in one.maps]
    title = f"{one.track}: {one.output} of frame {one.frame}"
    figure = style.new_figure(0.4 + 1.4 * len(shown), 0.6 + 1.6 * len(names), title)
    grid = figure.subplots(len(names), len(shown), squeeze=False)
    for row, name in zip(grid, names):
        for axes, t in zip(row, shown):
            mark = " (target)" if t == one.at else ""
            about = f"{one.frames[t]}{mark}" if name == names[0] else ""
            _show(axes, overlay(one.pictures[t], one.maps[name][t]), about)
            axes.set_axis_off()
        row[0].text(-0.06, 0.5, name, rotation=90, va="center", ha="right",
                    transform=row[0].transAxes, fontsize=style.NORMAL)  # fmt: skip
    return figure


def _show(axes: Axes, picture: np.ndarray, title: str) -> None:
    axes.imshow(picture)
    axes.set_title(style.plain(title, 30), fontsize=style.SMALL, color=style.INK)


def overlay(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: a picture with its map over it, bilinear and in colour.

    Args:
        picture: uint8 [H, W, 3].
        places: [h, w] in [0, 1].
    """
    from matplotlib import colormaps
    from PIL import Image

    small = Image.fromarray(np.rint(np.clip(places, 0, 1) * 255).astype(np.uint8))
    large = small.resize(picture.shape[1::-1], Image.Resampling.BILINEAR)
    colours = colormaps[COLOURS](np.asarray(large), bytes=True)[..., :3]
    return np.rint((1 - ALPHA) * picture + ALPHA * colours).astype(np.uint8)


def save_overlay(path: pathlib.Path, picture: np.ndarray, places: np.ndarray) -> None:
    """Write the overlay as a PNG of the picture's size; its folder is made."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(overlay(picture, places)).save(path)
