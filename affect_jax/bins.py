"""Values as bins: a softmax over the bins of [-1, 1], whose expectation is the prediction.

Source: the bin heads of arXiv 2203.13032, as in its released code. NumPy and JAX arrays alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Table = tuple[tuple[float, ...], ...]


def uniform_bins(count: int = 22) -> dict[str, Table]:
    """`centres` and `edges` of a task of one value: `count` - 2 bins of one width, and both ends.

    The ends -1 and 1 are centres too, or no expectation could come near them. An edge lies in the
    middle between two centres.
    """
    width = 2 / (count - 2)
    inner = -1 + width * (np.arange(count - 2) + 0.5)
    centres = np.array([-1, *inner, 1])
    return _fields(centres, (centres[1:] + centres[:-1]) / 2)


def frequency_bins(counts: Sequence[int]) -> dict[str, Table]:
    """The same with len(counts) inner bins that hold equally many labels each.

    Args:
        counts: of the labels in as many cells of one width over [-1, 1]; inside a cell they count
            as spread evenly.
    """
    cells = len(counts)
    share = np.concatenate([[0], np.cumsum(counts, dtype=np.float64)]) / np.sum(counts)
    bounds = np.interp(np.arange(cells + 1) / cells, share, np.linspace(-1, 1, cells + 1))
    inner = (bounds[1:] + bounds[:-1]) / 2
    edges = [(inner[0] - 1) / 2, *bounds[1:-1], (inner[-1] + 1) / 2]
    return _fields(np.array([-1, *inner, 1]), edges)


def _fields(centres: Sequence[float], edges: Sequence[float]) -> dict[str, Table]:
    """The fields of one value; rounded so that 0.1 + 0.2 is 0.3 and tasks.json can be read."""
    rounded = (tuple(round(float(x), 9) for x in row) for row in (centres, edges))
    return {name: (row,) for name, row in zip(("centres", "edges"), rounded, strict=True)}


def assign(values: Any, edges: Table) -> Any:
    """Number of the bin of each value: [..., K] -> int [..., K], 0 .. len(edges[k]).

    A value on an edge belongs to the upper bin, one beyond the last edge to the last bin, so that
    every value belongs to one.

    Args:
        edges: of each of the K values, rising.
    """
    return (values[..., None] >= np.asarray(edges, np.float32)).sum(-1)


def expectation(logits: Any, centres: Table) -> Any:
    """Sum of softmax * centre: [..., K, C] -> [..., K].

    Args:
        centres: [K, C]; each of the K values has its own.
    """
    namespace = logits.__array_namespace__()
    weight = namespace.exp(logits - logits.max(-1, keepdims=True))
    return (weight * np.asarray(centres, np.float32)).sum(-1) / weight.sum(-1)
