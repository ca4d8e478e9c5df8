"""Scores of a cross-validation: a panel a score, a dot a fold, their mean and the pooled score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from affect_jax.report import style
from affect_jax.report.records import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 4


def draw_folds(
    names: Sequence[str],
    folds: Mapping[str, Mapping[str, float]],
    mean: Mapping[str, float],
    pooled: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Figure of the scores `names`.

    Args:
        folds: {fold: {score: value}}, drawn from left to right.
        mean: {score: over the folds}; pooled: {score: over all their frames joined}; drawn as
            labelled lines.
    """
    rows = max(math.ceil(len(names) / MAX_COLUMNS), 1)
    columns = max(math.ceil(len(names) / rows), 1)
    figure = style.new_figure(0.3 + 3.2 * columns, 0.7 + 2.1 * rows, title)
    figure.supxlabel("fold", fontsize=style.NORMAL, color=style.INK)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[len(names) :]:
        axes.remove()
    ticks = [fold.removeprefix("fold") for fold in folds]
    for axes, name in zip(grid, names):
        style.tidy(axes)
        style.heading(axes, name)
        values = [number(scores.get(name)) for scores in folds.values()]
        axes.plot(range(len(values)), values, "o", color=style.BLUE, markersize=5)
        axes.set_xticks(range(len(values)), ticks)
        axes.margins(x=0.1, y=0.15)
        labels = {}
        lines = (("mean", mean, style.BLUE, "-"), ("pooled", pooled, style.VERMILION, "--"))
        for who, scores, colour, dashes in lines:
            value = number(scores.get(name))
            if math.isfinite(value):
                axes.axhline(value, color=colour, linestyle=dashes, linewidth=1.1, zorder=1)
                labels[f"{who} {style.score_text(value)}"] = (value, colour)
        style.name_lines(axes, labels)
    return figure
