"""Which returns separate clean rows from noisy ones? Three toys of the selector, as tables.

    python -m benchmarks.selection_toy [--seeds=4]

1. Gradients at a fixed policy over 4,000 draws of the actions: size and cosine against the gradient
   of the expected reward of the retained rows, and the mean's size in deviations of one draw.
2. What a policy learns from known rewards in 200 epochs.
3. A classifier and its selector in turns: P(retain) by kind of noise, and the accuracy of a fresh
   classifier trained on what is retained.

Behind each number of ours stands that of an independent NumPy program in float64, on data of the
same description (not the same data), where there is one. Takes some minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from affect_jax.compilation import compilation_cache
from benchmarks import selection_loop, selection_static
from benchmarks.selection_static import area
from data_pipelines.command import Parser, exit_code, whole

# Of the NumPy program. Size, cosine, ratio to the deviation.
GRADIENTS = {
    "signed": (2.0, 1.0, 61),
    "retain": (1.001, 1.0, 2.0),
    "literal": (0.012, 0.14, 0.011),
    "log p": (1.95, 1.0, np.inf),
    "episode sum": (0.998, 0.998, 0.098),
    "literal, 0.2 more if retained": (5.45, -0.13, 5.1),
}
# (returns, shift of all rewards, rise of those of retained rows): P(retain) of clean and of noisy
# rows, area under the curve, accuracy.
LEARNED = {
    ("signed", 0.0, 0.0): (0.897, 0.096, 0.958, 0.909),
    ("retain", 0.0, 0.0): (0.895, 0.121, 0.956, 0.905),
    ("literal", 0.0, 0.0): (0.481, 0.479, 0.504, 0.524),
    ("log p", 0.0, 0.0): (0.586, 0.019, 0.858, 0.696),
    ("episode sum", 0.0, 0.0): (0.533, 0.400, 0.875, 0.581),
    ("signed", 0.5, 0.0): (0.999, 0.995, np.nan, np.nan),
    ("retain", 0.5, 0.0): (0.999, 0.996, np.nan, np.nan),
    ("signed", 0.0, 0.2): (0.951, 0.183, 0.957, np.nan),
    ("retain", 0.0, 0.2): (0.979, 0.410, np.nan, np.nan),
    ("literal", 0.0, 0.2): (0.998, 0.996, np.nan, np.nan),
}
# {title: (options, {(reward, returns): P(retain) of full, half, none; area; accuracy in %},
# accuracy of all rows, accuracy without the rows that are none)}.
LOOPS = {
    "480 rows, those that are none far from the classes": (
        dict(rows=480, far=4.0),
        {
            ("probability", "signed"): (0.87, 0.62, 0.01, 0.989, 86.04),
            ("probability", "retain"): (0.91, 0.70, 0.01, 0.991, 86.45),
            ("class", "signed"): (0.91, 0.69, 0.00, 0.992, 86.01),
            ("probability", "literal"): (0.86, 0.84, 0.81, 0.610, 86.74),
            ("f1", "literal"): (0.51, 0.52, 0.53, 0.411, 75.75),
        },
        (86.74, 86.61),
    ),
    "240 rows, those that are none among the classes": (
        dict(rows=240, far=0.0),
        {
            ("probability", "signed"): (0.74, 0.39, 0.17, 0.783, 83.80),
            ("probability", "retain"): (0.83, 0.49, 0.28, 0.799, 82.59),
            ("class", "signed"): (0.79, 0.44, 0.19, 0.816, 82.39),
            ("probability", "literal"): (0.93, 0.91, 0.91, 0.686, 83.00),
            ("f1", "literal"): (0.59, 0.58, 0.56, 0.639, 76.41),
        },
        (83.00, 84.60),
    ),
}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table."""
    for cells in (columns, ["---"] * len(columns), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


def beside(ours: Sequence[float], theirs: Sequence[float], digits: int = 3) -> list[str]:
    """Cells 'ours (theirs)'; theirs is left out where it is NaN."""
    pairs = zip(ours, theirs, strict=True)
    return [f"{a:.{digits}f}" + f" ({b:.{digits}f})" * (not np.isnan(b)) for a, b in pairs]


def gradients() -> None:
    """Print the first table."""
    found = selection_static.gradients(jax.random.key(0))
    rows = ([name, *beside(found[name], theirs)] for name, theirs in GRADIENTS.items())
    table(("returns", "size", "cosine", "mean / deviation"), rows)


def learned(seeds: int) -> None:
    """Print the second table."""
    found = selection_static.learned_of(list(LEARNED), seeds)
    rows = []
    for chance, clean, ((name, shift, raised), theirs) in zip(*found, LEARNED.items(), strict=True):
        name += f", {shift:+g} for all" * bool(shift) + f", {raised:+g} if retained" * bool(raised)
        rows.append([name, *beside(separation(np.array(chance), np.array(clean)), theirs)])
    table(("returns", "P clean", "P noisy", "area", "accuracy"), rows)


def separation(chance: np.ndarray, clean: np.ndarray) -> tuple[float, float, float, float]:
    """Mean P(retain) of clean and noisy rows, area under the curve, accuracy; of [seeds, N]."""
    areas = [area(p, c) for p, c in zip(chance, clean, strict=True)]
    right = ((chance >= 0.5) == clean).mean()
    return chance[clean].mean(), chance[~clean].mean(), float(np.mean(areas)), right


def loop(title: str, seeds: int) -> None:
    """Print a third table; the area is that of full rows against none."""
    options, methods, (of_all, of_oracle) = LOOPS[title]
    found = selection_loop.runs(list(methods), seeds, **options)
    found = {name: np.asarray(x) for name, x in found.items()}
    rows = []
    for i, (method, theirs) in enumerate(methods.items()):
        chance, kind = found["chance"][i], found["kind"][i]
        means = [chance[kind == k].mean() for k in range(len(selection_loop.KINDS))]
        pairs = zip(chance, kind, strict=True)
        ends = np.mean([area(p[k != 1], k[k != 1] == 0) for p, k in pairs])
        score = accuracy(found["selection"][i], theirs[-1])
        rows.append([", ".join(method), *beside([*means, ends], theirs[:-1], 2), score])
    for name, theirs in (("all", of_all), ("oracle", of_oracle)):
        rows.append([name, *[""] * 4, accuracy(found[name][0], theirs)])
    print(f"\n{title}\n")
    table(("reward, returns", *selection_loop.KINDS, "area", "accuracy in %"), rows)


def accuracy(of_seeds: np.ndarray, theirs: float) -> str:
    """Mean and deviation over seeds, in %, beside theirs."""
    deviation = f" +- {100 * of_seeds.std(ddof=1):.1f}" if len(of_seeds) > 1 else ""
    return f"{100 * of_seeds.mean():.1f}{deviation} ({theirs:.1f})"


def main(arguments: Sequence[str]) -> None:
    """Print all tables."""
    parser = Parser(
        prog="python -m benchmarks.selection_toy",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--seeds", type=whole(1, 100), default=4)
    flags = parser.parse_all(arguments)
    compilation_cache()
    gradients()
    print()
    learned(flags.seeds)
    for title in LOOPS:
        loop(title, flags.seeds)


if __name__ == "__main__":
    sys.exit(exit_code(main))
