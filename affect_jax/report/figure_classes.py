"""Confusion matrix of classes, F1 of classes or of action units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect_jax.report import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REFERENCE_COLOURS = (style.INK, style.VERMILION, style.GREEN, "#CC79A7")


def draw_confusion(
    matrix: np.ndarray, names: Sequence[str], *, unit: str = "frames", title: str = ""
) -> Figure:
    """Figure of a confusion matrix: share of each label's row, and the counts.

    Args:
        matrix: int [C, C], row: label, column: prediction.
        names: of the C classes, in the order of the task.
        unit: what is counted.
        title: above the matrix.
    """
    matrix = np.asarray(matrix, np.int64)
    total = matrix.sum(axis=1, keepdims=True)
    share = np.where(total > 0, matrix / np.maximum(total, 1), np.nan)
    names, size = [style.plain(name, 24) for name in names], len(names)
    figure = style.new_figure(2.6 + 0.78 * size, 1.5 + 0.56 * size, title)
    axes = figure.subplots()
    axes.set_facecolor("#F2F2F2")  # rows without labels
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        if not total[row, 0]:
            continue
        colour = "white" if share[row, column] > 0.62 else style.INK
        weight = "bold" if row == column else "normal"
        axes.text(
            column,
            row - 0.14,
            f"{100 * share[row, column]:.0f} %",
            ha="center",
            va="center",
            fontsize=style.NORMAL,
            color=colour,
            fontweight=weight,
        )
        axes.text(
            column,
            row + 0.24,
            grouped(matrix[row, column]),
            ha="center",
            va="center",
            fontsize=style.SMALL - 1,
            color=colour,
        )
    rows = [
        f"{name}\n{grouped(n)}" if n else f"{name}\nnone" for name, n in zip(names, total[:, 0])
    ]
    columns = [f"{name}\n{grouped(n)}" for name, n in zip(names, matrix.sum(axis=0))]
    axes.set_yticks(range(size), rows, fontsize=style.SMALL)
    axes.set_xticks(range(size), columns, fontsize=style.SMALL)
    axes.tick_params(length=0)
    axes.set_ylabel(f"label ({unit})", fontsize=style.NORMAL)
    axes.set_xlabel(f"prediction ({unit})", fontsize=style.NORMAL)
    axes.set_xticks(np.arange(1, size) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, size) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.015)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"], fontsize=style.SMALL)
    bar.set_label("share of the label's row", fontsize=style.SMALL)
    bar.outline.set_visible(False)
    return figure


def draw_f1_bars(
    values: Sequence[float],
    names: Sequence[str],
    *,
    references: Mapping[str, Sequence[float] | float] | None = None,
    support: Sequence[int] | None = None,
    total: int | Sequence[int] | None = None,
    unit: str = "frames",
    title: str = "",
) -> Figure:
    """Figure of one F1 a name, in the order given, with their mean.

    Args:
        values: F1 in [0, 1] of each name; NaN where it is not defined.
        names: of the bars, in the order of the task.
        references: {who: one mean F1 (a line), or one a name (a mark on each bar)}.
        support: positive labels of each name.
        total: labels, positive or not, of all or of each name; gives the rate in per cent.
        unit: what is counted.
        title: above the bars.
    """
    values, names = np.asarray(values, np.float64), [style.plain(name, 24) for name in names]
    figure = style.new_figure(2.0 + 0.72 * max(len(names), 4), 3.6, title)
    axes = figure.subplots()
    style.tidy(axes)
    x = np.arange(len(names))
    axes.bar(x, np.nan_to_num(values), width=0.62, color=style.BLUE)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylabel("F1", fontsize=style.NORMAL)
    rows = _rows(values, support, total, unit)
    axes.set_xticks(
        x, ["\n".join(column) for column in zip(names, *rows.values())], fontsize=style.SMALL
    )
    axes.tick_params(axis="x", length=0, pad=4)
    axes.annotate(
        "\n".join(["", *rows]),
        (0, 0),
        (-6, -4),
        "axes fraction",
        "offset points",
        ha="right",
        va="top",
        fontsize=style.SMALL,
        color=style.GREY,
    )
    lines = {}
    if np.isfinite(values).any():
        mean = float(np.nanmean(values))
        axes.axhline(mean, color=style.BLUE, linewidth=1.2)
        lines[f"mean\n{style.score_text(mean)}"] = (mean, style.BLUE)
    for i, (who, given) in enumerate((references or {}).items()):
        colour = REFERENCE_COLOURS[i % len(REFERENCE_COLOURS)]
        given = np.asarray(given, np.float64)
        if given.ndim:
            marks = {"linewidth": 2.0, "color": colour, "zorder": 4}
            axes.hlines(given, x - 0.4, x + 0.4, **marks)
        mean = float(np.nanmean(given)) if np.isfinite(given).any() else np.nan
        if np.isfinite(mean):
            axes.axhline(mean, color=colour, linewidth=1.1, linestyle="--", zorder=1)
            lines["\n".join([*who.split(), style.score_text(mean)])] = (mean, colour)
    style.name_lines(axes, lines, line_height=0.05)
    return figure


def _rows(
    values: np.ndarray,
    support: Sequence[int] | None,
    total: int | Sequence[int] | None,
    unit: str,
) -> dict[str, list[str]]:
    """The numbers below the bars, {heading: one text a bar}."""
    rows = {"F1": [style.score_text(value) for value in values]}
    if support is not None:
        rows[f"positive {unit}"] = [grouped(n) for n in support]
        if total is not None:
            totals = np.broadcast_to(np.asarray(total), (len(values),))
            rates = np.asarray(support) / np.maximum(totals, 1)
            rows["rate"] = [f"{100 * rate:.1f} %" for rate in rates]
    return rows


def grouped(count: int) -> str:
    """12345 as "12 345", with a narrow space that does not break."""
    return f"{int(count):,}".replace(",", "\u202f")
