"""Chain of stages: a box each, from left to right, with arrows from what is read to what reads."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from affect_jax.report import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, GAP = 2.3, 0.7  # inches of a box, and between two columns
LINE, PAD, BETWEEN = 0.16, 0.2, 0.25  # inches: a line of text, around them, between two boxes
LETTERS = 33  # a line


class Box(NamedTuple):
    """One stage.

    Attributes:
        lines: of text, its name first.
        reads: keys of the boxes that arrows come from.
        alarm: it gives away what is scored.
        learned: labels went into it.
    """

    lines: Sequence[str]
    reads: Sequence[str]
    alarm: bool
    learned: bool


def draw_chain(boxes: Mapping[str, Box], title: str = "") -> Figure:
    """Figure of {key: box}; each stands right of all that it reads.

    An arrow over several columns has a place of its own in those between, so that it crosses no
    box.
    """
    texts = {key: _wrapped(box.lines) for key, box in boxes.items()}
    heights = {key: LINE * (text.count("\n") + 1) + PAD for key, text in texts.items()}
    columns = _columns(boxes)
    tall = max(sum(heights.get(k, LINE) + BETWEEN for k in keys) for keys in columns)
    wide = len(columns) * (WIDTH + GAP)
    figure = style.new_figure(wide + 0.3, tall + 1.0, title)
    axes = figure.subplots()
    axes.set(xlim=(0, wide), ylim=(0, tall))
    axes.set_axis_off()
    left, middle = {}, {}
    for column, keys in enumerate(columns):
        y = (tall + sum(heights.get(k, LINE) + BETWEEN for k in keys)) / 2
        for key in keys:
            y -= heights.get(key, LINE) + BETWEEN
            left[key] = column * (WIDTH + GAP) + GAP / 2
            middle[key] = y + (BETWEEN + heights.get(key, LINE)) / 2
    for key, box in boxes.items():
        _draw_box(axes, box, texts[key], (left[key], middle[key], heights[key]))
        for other in box.reads:
            points = [(left[other] + WIDTH, middle[other])]
            for lane in ((other, c) for c in range(len(columns)) if (other, c) in left):
                if left[lane] < left[key]:
                    points += [(left[lane] + x, middle[lane]) for x in (0, WIDTH)]
            axes.plot(*zip(*points), color=style.GREY, linewidth=1)
            arrow = {"arrowstyle": "-|>", "color": style.GREY, "linewidth": 1}
            arrow |= {"shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (left[key], middle[key]), points[-1], arrowprops=arrow)
    _legend(figure, boxes)
    return figure


def _legend(figure: Figure, boxes: Mapping[str, Box]) -> None:
    from matplotlib.patches import Patch

    frames = [(style.BLUE, "labels went into it"), (style.GREY, "no label went into it")]
    if any(box.alarm for box in boxes.values()):
        frames.insert(0, (style.VERMILION, "it gives away labels of what is scored"))
    handles = [Patch(facecolor="white", edgecolor=colour, label=name) for colour, name in frames]
    where = {"loc": "outside lower left", "ncols": 3, "frameon": False}
    figure.legend(handles=handles, fontsize=style.SMALL, **where)


def _draw_box(axes: Axes, box: Box, text: str, place: tuple[float, float, float]) -> None:
    """One box; `place` is (left edge, middle, height)."""
    from matplotlib.patches import FancyBboxPatch

    x, y, height = place
    colour = style.VERMILION if box.alarm else style.BLUE if box.learned else style.GREY
    corners = {"boxstyle": "round,pad=0,rounding_size=0.06", "facecolor": "white"}
    wide = 2.2 if box.alarm else 1.2
    shape = FancyBboxPatch(
        (x, y - height / 2), WIDTH, height, edgecolor=colour, linewidth=wide, **corners
    )
    axes.add_patch(shape)
    font = {"fontsize": style.SMALL, "color": style.INK, "linespacing": 1.25}
    axes.text(x + WIDTH / 2, y, text, ha="center", va="center", **font)


def _columns(boxes: Mapping[str, Box]) -> list[list[Hashable]]:
    """Keys by column, and (key, column) for each arrow of a box that passes the column."""
    depth: dict[str, int] = {}
    for key in boxes:
        _depth(boxes, key, depth)
    columns: list[dict[Hashable, None]] = [{} for _ in range(max(depth.values()) + 1)]
    for key, box in boxes.items():
        for other in box.reads:
            for column in range(depth[other] + 1, depth[key]):
                columns[column][other, column] = None
    for key in boxes:
        columns[depth[key]][key] = None
    ordered: list[list[Hashable]] = [list(columns[0])]
    for column, keys in enumerate(columns[1:], 1):  # beside what their arrows come from
        place = {key: i for i, key in enumerate(ordered[-1])}

        def height(key: Hashable, place: Mapping[Hashable, int] = place, c: int = column) -> float:
            sources = [key[0]] if isinstance(key, tuple) else boxes[key].reads
            at = [place.get((other, c - 1), place.get(other, 0)) for other in sources]
            return sum(at) / len(at)

        ordered.append(sorted(keys, key=height))
    return ordered


def _wrapped(lines: Sequence[str]) -> str:
    return "\n".join(
        part for line in lines for part in textwrap.wrap(style.plain(line), LETTERS) or [""]
    )


def _depth(boxes: Mapping[str, Box], key: str, known: dict[str, int]) -> int:
    """Column of a box, one behind the last of what it reads; put into `known`."""
    if key not in known:
        known[key] = max((1 + _depth(boxes, other, known) for other in boxes[key].reads), default=0)
    return known[key]
