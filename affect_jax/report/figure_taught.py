"""Scores of tasks that read others: on what is predicted of these, and on their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from affect_jax.models import TAUGHT
from affect_jax.report import style
from affect_jax.report.records import number
from affect_jax.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Link(NamedTuple):
    """One score of a task, on predictions and on labels of the tasks that it reads."""

    name: str
    predicted: float
    taught: float


def links_of(scores: Mapping[str, Any], tasks: Sequence[Task]) -> list[Link]:
    """The scores that are there both ways, in the order of the tasks."""
    names = [f"{task.name}/{metric}" for task in tasks for metric in task.metrics]
    both = [Link(n, number(scores.get(n)), number(scores.get(f"{TAUGHT}{n}"))) for n in names]
    return [link for link in both if math.isfinite(link.taught)]


def draw_taught(links: Sequence[Link], title: str = "") -> Figure:
    """Figure of a line a score, from its value on predictions to that on labels."""
    figure = style.new_figure(6.2, 1.1 + 0.28 * len(links), title)
    axes = figure.subplots()
    style.tidy(axes, grid="x")
    for y, link in enumerate(links):
        axes.plot((link.predicted, link.taught), (y, y), color=style.GREY, linewidth=1.2, zorder=1)
    heights = range(len(links))
    for which, label, colour in (
        ("predicted", "on predictions of the others", style.BLUE),
        ("taught", "on their labels", style.VERMILION),
    ):
        values = [getattr(link, which) for link in links]
        axes.plot(values, heights, "o", color=colour, markersize=5, label=label)
    axes.set_yticks(heights, [style.plain(link.name) for link in links])
    axes.set_ylim(len(links) - 0.5, -0.5)
    axes.legend(
        fontsize=style.SMALL, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2
    )
    return figure
