"""Style of all pictures: colours, sizes, and a writer that gives the same bytes every time.

Matplotlib is imported inside the functions, and only its Figure, never pyplot: importing the
report costs nothing, and nobody's open figures or settings are touched.
"""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from affect_jax.shown import decimals, printable
from data_pipelines.replace_file import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart with every common colour vision and, in this order, in grey.
INK, BLUE, VERMILION, GREEN = "#222222", "#0072B2", "#D55E00", "#009E73"
CYCLE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FAINT, GREY = "#DDDDDD", "#666666"
DPI = 110
SMALL, NORMAL, LARGE = 7.5, 9.0, 11.0  # points


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure of that many inches which lays out its own axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    if title:
        figure.suptitle(plain(title), x=0.01, ha="left", fontsize=LARGE, color=INK)
    return figure


def tidy(axes: Axes, *, grid: str = "y") -> None:
    """Light frame, small ticks, a grid behind the data along one axis."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(labelsize=SMALL, colors=INK, length=3)
    axes.set_axisbelow(True)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)


def heading(axes: Axes, left: str, right: str = "") -> None:
    """Title of the panel at the left, its number at the right."""
    axes.set_title(plain(left), loc="left", fontsize=NORMAL, color=INK, fontweight="bold")
    axes.set_title(right, loc="right", fontsize=SMALL, color=GREY)


def name_lines(
    axes: Axes, labels: Mapping[str, tuple[float, str]], line_height: float = 0.062
) -> None:
    """Write {text: (height, colour)} right of the panel, moved apart where they would touch.

    Args:
        line_height: of one line of text, in heights of the panel.
    """
    if not labels:
        return
    axes.autoscale_view()
    in_data = axes.transData.transform([(0.0, height) for height, _ in labels.values()])
    centres = axes.transAxes.inverted().transform(in_data)[:, 1]
    sizes = [line_height * (text.count("\n") + 1.5) for text in labels]
    font = {"fontsize": SMALL - 0.5, "va": "center", "linespacing": 1.0}
    for (text, (_, colour)), y in zip(labels.items(), spread(centres, sizes)):
        text = "\n".join(map(plain, text.split("\n")))
        axes.text(1.015, y, text, color=colour, transform=axes.transAxes, **font)


def spread(centres: Sequence[float], sizes: Sequence[float]) -> list[float]:
    """Centres of labels of these sizes, moved apart inside [0, 1] until none overlap.

    The order by centre is kept; where there is room, a label stays at its own place.
    """
    order = sorted(range(len(centres)), key=centres.__getitem__)
    placed, floor = list(centres), 0.0
    for i in order:
        placed[i] = max(placed[i], floor + sizes[i] / 2)
        floor = placed[i] + sizes[i] / 2
    ceiling = 1.0
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling - sizes[i] / 2)
        ceiling = placed[i] - sizes[i] / 2
    return placed


def plain(name: str, longest: int = 80) -> str:
    """A name from data as a figure takes it: no mathematics between dollars, no half character."""
    name = name if len(name) <= longest else f"{name[: longest - 1]}…"
    return printable(name).replace("$", r"\$")


def score_text(value: float, digits: int = 3) -> str:
    """A score with as many digits as it deserves, "–" where there is none."""
    return decimals(value, digits, "–")


def save(figure: Figure, path: str | os.PathLike) -> pathlib.Path:
    """Write a PNG (its folder is made) and return the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; a long one leaves little room.
        warnings.simplefilter("ignore", UserWarning)
        canvas.draw()
    # A palette takes a third of the room, and 256 colours are enough for flat areas and edges.
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])
    with replace_file(path) as partial:
        picture.quantize(256, dither=Image.Dither.NONE).save(partial, format="PNG", optimize=True)
    return path
