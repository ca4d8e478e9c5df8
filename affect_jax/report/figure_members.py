"""Members of an ensemble beside it: a panel a score, a dot a member with its weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from affect_jax.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 3


class Panel(NamedTuple):
    """One score.

    Attributes:
        score: its name.
        members: (name, score, weight) of each, from top to bottom.
        lines: {what: score}, the ensemble's first.
    """

    score: str
    members: Sequence[tuple[str, float, float]]
    lines: Mapping[str, float]


def draw_members(panels: Sequence[Panel], title: str = "") -> Figure:
    """Figure of the panels; the area of a dot grows with the member's weight."""
    rows = math.ceil(len(panels) / MAX_COLUMNS)
    columns = math.ceil(len(panels) / rows)
    longest = max(len(panel.members) for panel in panels)
    height = 0.9 + rows * (1.2 + 0.22 * longest)
    figure = style.new_figure(0.4 + 4.2 * columns, height, title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(panels) :]:
        axes.remove()
    for axes, panel in zip(grid, panels):
        style.tidy(axes, grid="x")
        style.heading(axes, panel.score)
        heights = range(len(panel.members))
        names, scores, weights = zip(*panel.members)
        axes.scatter(scores, heights, s=[14 + 90 * w for w in weights], color=style.BLUE, zorder=3)
        ticks = [
            f"{style.plain(n, 40)}, weight {style.score_text(w, 2)}" for n, w in zip(names, weights)
        ]
        axes.set_yticks(heights, ticks)
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.margins(x=0.12)
        colours = (style.VERMILION, style.GREY, style.GREEN)
        for (what, value), colour in zip(panel.lines.items(), colours):
            label = f"{style.plain(what)} {style.score_text(value)}"
            axes.axvline(value, color=colour, linewidth=1.2, zorder=2, label=label)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.12),
            fontsize=style.SMALL,
            frameon=False,
        )
    return figure
