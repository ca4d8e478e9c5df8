"""Loss and score curves of a run, one panel each, labelled at the lines instead of in legends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from affect_jax.report import style
from affect_jax.report.records import best, headline_scores, main_split, number, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS = 4
MARKED_POINTS = 25  # up to here every evaluation gets a dot
LOG_RATIO = 30.0  # losses that span more than this are drawn on a log axis
DASHES = ("--", ":", "-.", (0, (1, 3)))


def draw_curves(
    records: Sequence[Mapping[str, Any]],
    *,
    scores: Sequence[str] | None = None,
    references: Mapping[str, Mapping[str, Any]] | None = None,
    title: str = "",
) -> Figure:
    """Figure of the losses, the scores and, where it changes, the learning rate.

    Args:
        records: lines of metrics.jsonl, one an evaluation: step, epoch, loss {name: x},
            scores {split: {name: x}}, lr. What is missing or not finite leaves a gap.
        scores: names of the scores that get a panel; default the totals and one per task.
        references: {who: {score: value}} of the split that is evaluated, drawn as labelled
            horizontal lines.
        title: above all panels.
    """
    split = main_split(records)
    names = list(scores) if scores is not None else headline_scores(records)
    rates = series(records, ("lr",))
    changing = _any(rates) and np.nanmax(rates) > np.nanmin(rates)
    panels = 1 + len(names) + int(changing)
    rows = math.ceil(panels / MAX_COLUMNS)
    columns = math.ceil(panels / rows)
    figure = style.new_figure(0.3 + 3.2 * columns, 0.7 + 2.1 * rows, title)
    figure.supxlabel("epoch", fontsize=style.NORMAL, color=style.INK)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in grid[panels:]:
        axes.remove()
    for axes in grid[:panels]:
        style.tidy(axes)
        _epoch_axis(axes, series(records, ("epoch",)))
    _losses(grid[0], records)
    for axes, name in zip(grid[1:], names):
        lines = {who: number(r.get(name)) for who, r in (references or {}).items()}
        _score(axes, records, name, split, lines)
    if changing:
        _rate(grid[panels - 1], records, rates)
    return figure


def _losses(axes: Axes, records: Sequence[Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(name for record in records for name in record.get("loss", {})))
    names.sort(key=lambda name: name != "total")  # stable: the total first, tasks as they come
    colours = [style.INK] if names[:1] == ["total"] else []
    colours += list(style.CYCLE) * (1 + len(names) // len(style.CYCLE))
    curves = {name: series(records, ("loss", name)) for name in names}
    for (name, y), colour in zip(curves.items(), colours):
        _line(axes, records, y, colour, name)
    values = np.concatenate(list(curves.values())) if curves else np.array([])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > LOG_RATIO * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("")
    style.heading(axes, "training loss")
    style.name_lines(
        axes, {n: (_last(y), c) for (n, y), c in zip(curves.items(), colours) if _any(y)}
    )


def _score(
    axes: Axes,
    records: Sequence[Mapping[str, Any]],
    name: str,
    split: str,
    references: Mapping[str, float],
) -> None:
    others = dict.fromkeys(s for record in records for s in record.get("scores", {}) if s != split)
    labels = {}
    for s, colour in zip((split, *others), style.CYCLE):
        y = series(records, ("scores", s, name))
        if _any(y):
            _line(axes, records, y, colour, s)
            if others:
                labels[s] = (_last(y), colour)
    top = best(records, name, split)
    if top:
        axes.axvline(top.epoch, color=style.BLUE, linewidth=0.8, alpha=0.4, zorder=1)
        axes.plot(
            top.epoch,
            top.value,
            "o",
            color=style.BLUE,
            markersize=6,
            markerfacecolor="white",
            markeredgewidth=1.6,
            zorder=5,
        )
    style.heading(axes, name, f"best {style.score_text(top.value)} at {top.epoch}" if top else "")
    for i, (who, value) in enumerate(references.items()):
        if math.isfinite(value):
            dashes = DASHES[i % len(DASHES)]
            axes.axhline(value, color=style.GREY, linestyle=dashes, linewidth=1.1, zorder=1)
            labels["\n".join([*who.split(), style.score_text(value)])] = (value, style.GREY)
    axes.margins(y=0.08)
    style.name_lines(axes, labels)


def _rate(axes: Axes, records: Sequence[Mapping[str, Any]], rates: np.ndarray) -> None:
    _line(axes, records, rates, style.INK, "learning rate")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: _short(value))
    style.heading(axes, "learning rate", f"peak {_short(np.nanmax(rates))}")


def _epoch_axis(axes: Axes, epochs: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    if _any(epochs):
        low, high = np.nanmin(epochs), np.nanmax(epochs)
        room = max(0.03 * (high - low), 0.3)
        axes.set_xlim(low - room, high + room)


def _line(
    axes: Axes, records: Sequence[Mapping[str, Any]], y: np.ndarray, colour: str, label: str
) -> None:
    marker = "." if len(records) <= MARKED_POINTS else ""
    axes.plot(
        series(records, ("epoch",)),
        y,
        color=colour,
        linewidth=1.5,
        marker=marker,
        markersize=5,
        label=label,
    )


def _any(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _last(values: np.ndarray) -> float:
    return float(values[np.isfinite(values)][-1])


def _short(value: float) -> str:
    return f"{value:.3g}".replace("e-0", "e-")
