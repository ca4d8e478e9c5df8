"""Weights of a gate over the epochs: what a fusion model listens to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect_jax.report import style
from affect_jax.report.records import main_split, series

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATE = "gate/"  # what the names of such scores begin with
MOST = 16  # lines; of more, those that end highest


def gates_of(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Scores of the records that are mean weights of a gate."""
    split = main_split(records)
    names = (name for r in records for name in r.get("scores", {}).get(split, {}))
    return [name for name in dict.fromkeys(names) if name.startswith(GATE)]


def draw_gates(records: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Figure:
    """Figure of the mean weights by epoch, on the split that is evaluated.

    Args:
        records: lines of metrics.jsonl.
        names: from `gates_of`; there is one at least.
    """
    split = main_split(records)
    lines = {name: series(records, ("scores", split, name)) for name in names}
    order = sorted(names, key=lambda name: -np.nan_to_num(lines[name][-1]))[:MOST]
    figure = style.new_figure(6.4, 3.6, title)
    axes = figure.subplots()
    style.tidy(axes)
    aside = f"{len(order)} of {len(names)} weights" if len(order) < len(names) else ""
    style.heading(axes, f"mean weight on {split}", aside)
    labels = {}
    for i, name in enumerate(order):
        colour = style.CYCLE[i % len(style.CYCLE)]
        dashes = ("-", "--", ":")[i // len(style.CYCLE)]
        axes.plot(
            series(records, ("epoch",)),
            lines[name],
            marker=".",
            color=colour,
            linestyle=dashes,
            lw=1.3,
        )
        last = lines[name][-1]
        labels[f"{name.removeprefix(GATE)} {style.score_text(last, 2)}"] = (float(last), colour)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch", fontsize=style.NORMAL, color=style.INK)
    style.name_lines(axes, labels, line_height=0.036)
    return figure
