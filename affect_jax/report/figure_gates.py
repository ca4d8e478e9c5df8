"""Weights of a gate, over the epochs and along a track: what a fusion model listens to."""

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


def draw_gates_in_time(
    frames: np.ndarray, weights: np.ndarray, names: Sequence[str], title: str = ""
) -> Figure:
    """Figure of the weights along a track, one above the other; where none is there is a gap.

    Args:
        frames: int [T], ascending image numbers.
        weights: float [T, E], the array "gate" of a model; their sum is 1, or 0 where no modality
            exists.
        names: of the E weights: with modalities in the order of config.model.streams, by name,
            those of `fusion_experts.pairs`, or of RAAV the modalities of frames themselves.
    """
    weights = np.where(weights.sum(1, keepdims=True) > 0, weights, np.nan)
    figure = style.new_figure(9.5, 3.4, title)
    axes = figure.subplots()
    style.tidy(axes)
    style.heading(axes, "weight of each")
    bottom = np.zeros(len(frames))
    for i, name in enumerate(names):
        top = bottom + weights[:, i]
        mean = style.score_text(np.nanmean(weights[:, i]), 2)
        area = axes.fill_between(frames, bottom, top, label=f"{name}, mean {mean}", linewidth=0)
        area.set(facecolor=style.CYCLE[i % len(style.CYCLE)], edgecolor="white")
        area.set_hatch(("", "////", "....")[i // len(style.CYCLE) % 3])
        bottom = top
    axes.set(xlim=(frames[0], frames[-1]), ylim=(0, 1))
    axes.set_xlabel("frame (image number in the video)", fontsize=style.NORMAL, color=style.INK)
    handles, labels = axes.get_legend_handles_labels()
    where = {"loc": "outside right center", "frameon": False, "fontsize": style.SMALL}
    figure.legend(handles[::-1], labels[::-1], **where)  # from top to bottom, as drawn
    return figure
