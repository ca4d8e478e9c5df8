"""Trials of a sweep: a panel a key, a dot a trial above the value that it had."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect_jax.report import style
from affect_jax.report.records import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_COLUMNS = 3
LONGEST = 24  # characters of a value beside its tick


def draw_sweep(
    keys: Mapping[str, Sequence[str]],
    chosen: Sequence[Sequence[int]],
    values: Sequence[float],
    best: int,
    title: str = "",
) -> Figure:
    """Figure of the trials.

    Args:
        keys: {key: its values in words}, drawn from left to right.
        chosen: [trials][keys], index of each trial's value.
        values: [trials] of the score; what is no number is not drawn.
        best: index of the trial that is marked.
    """
    rows = max(math.ceil(len(keys) / MAX_COLUMNS), 1)
    columns = max(math.ceil(len(keys) / rows), 1)
    figure = style.new_figure(0.5 + 3.4 * columns, 0.7 + 2.4 * rows, title)
    grid = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for axes in grid[len(keys) :]:
        axes.remove()
    scores = np.array([number(value) for value in values])
    for k, (axes, (key, names)) in enumerate(zip(grid, keys.items())):
        style.tidy(axes)
        style.heading(axes, key)
        at = np.array([one[k] for one in chosen])
        axes.plot(at, scores, "o", color=style.BLUE, markersize=4, alpha=0.6, label="a trial")
        there = [i for i in range(len(names)) if np.isfinite(scores[at == i]).any()]
        means = [np.nanmean(scores[at == i]) for i in there]
        line = {"color": style.GREY, "linewidth": 1, "markersize": 14, "zorder": 1}
        axes.plot(there, means, "_-", **line, label="mean of a value's trials")
        marked = {"color": style.VERMILION, "markersize": 7, "zorder": 3}
        axes.plot(at[best], scores[best], "o", **marked, label="the best trial")
        ticks = [style.plain(name, LONGEST) for name in names]
        turned = {"rotation": 30, "ha": "right"} if len("".join(ticks)) > 40 else {}
        axes.set_xticks(range(len(names)), ticks, **turned)
        axes.margins(x=0.15, y=0.1)
    where = {"loc": "outside lower center", "ncols": 3, "frameon": False, "fontsize": style.SMALL}
    figure.legend(*grid[0].get_legend_handles_labels(), **where)
    return figure
