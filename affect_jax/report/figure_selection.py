"""Selections in pictures: turns of the selector, P(retain) and keep rates, retained and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from affect_jax.report import style
from affect_jax.report.figure_classes import grouped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
# Curves of a selector's history; others are called by their keys.
CURVES = {
    "reward": "reward of retained rows",
    "keep_rate": "share of rows retained",
    "p_retain": "mean P(retain)",
    "p_label": "mean probability of the label",
    "score": "macro F1 on held-out rows",
}


class Face(NamedTuple):
    """One picture.

    Attributes:
        pixels: uint8 [H, W], [H, W, 1] or [H, W, 3].
        proposed: name of the likeliest class.
        p_retain: probability of retaining it.
        right: the row has no noise; None where nobody knows.
    """

    pixels: np.ndarray
    proposed: str
    p_retain: float
    right: bool | None


def draw_turns(history: Mapping[str, np.ndarray], title: str = "") -> Figure:
    """Figure of a selector's history by turn: its curves, and the rewards of some rows.

    Args:
        history: {name: [turns]}, drawn where any number is finite; "rewards" [turns, rows]; and
            "alone" bool [turns], grey: the policy learned and the classifier did not.
        title: above all panels.
    """
    curves = {n: x for n, x in history.items() if x.ndim == 1 and n in CURVES}
    curves = {n: curves[n] for n in CURVES if n in curves and np.isfinite(curves[n]).any()}
    rewards = history.get("rewards")
    panels = len(curves) + (rewards is not None)
    rows = -(-panels // COLUMNS)
    figure = style.new_figure(0.3 + 3.4 * min(panels, COLUMNS), 0.7 + 2.3 * rows, title)
    figure.supxlabel("turn", fontsize=style.NORMAL, color=style.INK)
    grid = list(figure.subplots(rows, min(panels, COLUMNS), squeeze=False).flat)
    for axes in grid[panels:]:
        axes.remove()
    for axes, (name, values) in zip(grid, curves.items()):
        style.tidy(axes)
        turns = np.arange(1, len(values) + 1)
        axes.axvspan(0.5, history["alone"].sum() + 0.5, color=style.FAINT, alpha=0.5, linewidth=0)
        axes.plot(turns, values, color=style.BLUE, linewidth=1.5, marker=".", markersize=4)
        last = values[np.isfinite(values)][-1]
        style.heading(axes, CURVES[name], f"last {style.score_text(last)}")
    if rewards is not None:
        _rewards(figure, grid[panels - 1], np.asarray(rewards, np.float64))
    return figure


def _rewards(figure: Figure, axes: Axes, rewards: np.ndarray) -> None:
    """Rewards [turns, rows] as colours, the rows by their mean."""
    order = np.argsort(-rewards.mean(0), kind="stable")
    most = max(float(np.nanmax(np.abs(rewards), initial=0.0)), 1e-12)
    extent = (0.5, len(rewards) + 0.5, rewards.shape[1], 0)
    options = dict(aspect="auto", interpolation="nearest", extent=extent)
    image = axes.imshow(rewards.T[order], cmap="RdBu", vmin=-most, vmax=most, **options)
    axes.set_yticks([])
    axes.tick_params(labelsize=style.SMALL, colors=style.INK, length=3)
    axes.set_ylabel("rows, by mean reward", fontsize=style.SMALL)
    style.heading(axes, f"rewards of {rewards.shape[1]} rows")
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=style.SMALL)
    bar.outline.set_visible(False)


def draw_rows(
    p_retain: Mapping[str, np.ndarray],
    keep_rates: Mapping[str, tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
    title: str = "",
) -> Figure:
    """Figure of P(retain) of groups of rows, and of the share retained of each class.

    Args:
        p_retain: {group: [rows]}, from top to bottom.
        keep_rates: {rows: (share retained [C], number of rows [C])}.
        classes: names of the C classes, in the order of the task.
        title: above both panels.
    """
    width = 4.2 + 0.6 * max(len(classes), 4)
    figure = style.new_figure(width, 3.4, title)
    left, right = figure.subplots(1, 2, width_ratios=(3.2, 1.0 + 0.6 * max(len(classes), 4)))
    _histograms(left, p_retain)
    style.tidy(right)
    style.heading(right, "share retained by label")
    x, step = np.arange(len(classes)), 0.8 / len(keep_rates)
    for i, (name, (share, _)) in enumerate(keep_rates.items()):
        at = x + (i - (len(keep_rates) - 1) / 2) * step
        colour = {"all": style.FAINT, "right": style.GREEN, "wrong": style.VERMILION}[name]
        right.bar(at, np.nan_to_num(share), width=0.92 * step, color=colour, label=name)
    right.set_ylim(0, 1)
    counts = next(iter(keep_rates.values()))[1]
    ticks = [f"{style.plain(name, 14)}\n{grouped(n)}" for name, n in zip(classes, counts)]
    right.set_xticks(x, ticks, fontsize=style.SMALL)
    right.tick_params(axis="x", length=0)
    if len(keep_rates) > 1:
        place = dict(loc="lower center", bbox_to_anchor=(0.5, -0.32), ncols=len(keep_rates))
        right.legend(fontsize=style.SMALL, frameon=False, **place)
    return figure


def _histograms(axes: Axes, p_retain: Mapping[str, np.ndarray]) -> None:
    """A histogram of P(retain) a group, one above the other, with the mean of each."""
    style.tidy(axes, grid="x")
    style.heading(axes, "P(retain)", "mean")
    edges = np.linspace(0, 1, 41)
    for i, p in enumerate(p_retain.values()):
        base, colour = len(p_retain) - 1 - i, style.CYCLE[i % len(style.CYCLE)]
        counts = np.histogram(p, edges)[0] / max(len(p), 1)
        height = 0.85 * counts / max(counts.max(), 1e-12)
        axes.stairs(base + height, edges, baseline=base, fill=True, color=colour, alpha=0.75)
        axes.plot([p.mean()] * 2, [base, base + 0.9], color=style.INK, linewidth=1.2)
        text = dict(fontsize=style.SMALL, va="bottom", color=style.INK)
        axes.text(1.02, base + 0.05, style.score_text(p.mean()), **text)
    names = [f"{style.plain(n, 14)}\n{grouped(len(p))}" for n, p in p_retain.items()]
    axes.set_yticks([len(names) - 1 - i + 0.3 for i in range(len(names))], names)
    axes.tick_params(axis="y", length=0, labelsize=style.SMALL)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, len(names))
    axes.axvline(0.5, color=style.GREY, linewidth=0.8, linestyle=":")


def draw_faces(
    columns: Mapping[str, tuple[Sequence[Face], Sequence[Face]]], shown: int, title: str = ""
) -> Figure:
    """Figure of retained pictures above removed ones, a column a given label.

    Below each stands the proposed label and P(retain); where it is known, the frame is green for
    a right row and red for a wrong one.

    Args:
        columns: {given label: (retained, removed)}, at most `shown` each.
        title: above all.
    """
    figure = style.new_figure(0.7 + 1.05 * len(columns), 0.9 + 2 * 1.25 * shown, title)
    grid = figure.subplots(2 * shown, len(columns), squeeze=False)
    for column, (name, parts) in enumerate(columns.items()):
        grid[0, column].set_title(style.plain(name, 14), fontsize=style.NORMAL, fontweight="bold")
        for part, faces in enumerate(parts):
            for row in range(shown):
                face = faces[row] if row < len(faces) else None
                _face(grid[part * shown + row, column], face)
    for part, name in enumerate(("retained", "removed")):
        grid[part * shown, 0].set_ylabel(name, fontsize=style.NORMAL, fontweight="bold")
    return figure


def _face(axes: Axes, face: Face | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(face is not None and face.right is not None)
    if face is None:
        return
    pixels = face.pixels[..., 0] if face.pixels.shape[2:] == (1,) else face.pixels
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.spines[:].set_color(style.GREEN if face.right else style.VERMILION)
    axes.spines[:].set_linewidth(2.5)
    proposed = f"{style.plain(face.proposed, 12)} {face.p_retain:.2f}"
    axes.set_xlabel(proposed, fontsize=style.SMALL - 0.5, labelpad=2)
