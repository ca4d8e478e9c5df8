"""Scores of a model on subsets of its modalities: a panel a score, a dot a subset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from affect_jax.report import style
from affect_jax.report.records import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_subsets(
    scores: Mapping[str, Mapping[str, float]], names: Sequence[str], title: str = ""
) -> Figure:
    """Figure of the scores `names`.

    Args:
        scores: {subset: {score: value}}, from top to bottom; the last, of all modalities, is also a
            line through the panel.
    """
    figure = style.new_figure(2.2 + 2.6 * len(names), 0.9 + 0.22 * len(scores), title)
    panels = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    heights = range(len(scores))
    for axes, name in zip(panels, names):
        style.tidy(axes, grid="x")
        style.heading(axes, name, "line: all of them")
        values = [number(of.get(name)) for of in scores.values()]
        axes.plot(values, heights, "o", color=style.BLUE, markersize=5)
        axes.axvline(values[-1], color=style.GREY, linewidth=1.0, zorder=1)
        axes.margins(x=0.12)
    panels[0].set_yticks(heights, [style.plain(subset, 60) for subset in scores])
    panels[0].set_ylim(len(scores) - 0.5, -0.5)
    return figure
