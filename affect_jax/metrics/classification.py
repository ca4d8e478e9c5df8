"""Metrics of classes and of binary labels, as functions: jitted, vmappable, masked.

    f1(pred, target, mask, classes=8)          # class numbers, any one shape
    f1_binary(pred, target, mask)              # 0/1 arrays [..., K]

Predictions are decoded (class numbers, 0/1), not logits. 0/0 is 0, nothing labelled gives 0, and
masked entries may hold anything. What the macro means run over stands in counts.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from affect_jax.metrics import arrays, counts


def confusion(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Confusion matrix int32 [C, C], C = classes: row = label, column = prediction.

    Args:
        pred: class numbers, any shape; entries where prediction or label lie outside 0..C-1 count
            nowhere (under jit nothing can be raised; `METRICS` raises).
        target: class numbers of the same shape; anything where masked.
        mask: same shape, True where the label counts; None: everywhere.
        classes: the number of classes.

    Raises:
        ValueError: shapes differ.
    """
    return _of_classes("confusion", _matrix, pred, target, mask, classes)


def f1(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Macro F1 over the classes that occur in labels or predictions. Arguments as `confusion`."""
    return _of_classes("f1", counts.f1_of, pred, target, mask, classes)


def f1_fixed(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Macro F1 over all classes; an absent one is 0. Arguments as `confusion`."""
    return _of_classes("f1_fixed", counts.f1_fixed_of, pred, target, mask, classes)


def f1_per_class(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """F1 [C] of every class; an absent one is 0. Arguments as `confusion`."""
    return _of_classes("f1_per_class", counts.f1_per_class_of, pred, target, mask, classes)


def f1_of_averages(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Harmonic mean of `precision_fixed` and `recall_fixed`. Arguments as `confusion`."""
    return _of_classes("f1_of_averages", counts.f1_of_averages_of, pred, target, mask, classes)


def uar(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Unweighted average recall over the classes in labels or predictions. As `confusion`."""
    return _of_classes("uar", counts.uar_of, pred, target, mask, classes)


def precision(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Macro precision over the classes in labels or predictions. Arguments as `confusion`."""
    return _of_classes("precision", counts.precision_of, pred, target, mask, classes)


def recall_fixed(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Macro recall over all classes; that of an absent one is 0. Arguments as `confusion`."""
    return _of_classes("recall_fixed", counts.recall_fixed_of, pred, target, mask, classes)


def precision_fixed(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Macro precision over all classes; that of an absent one is 0. Arguments as `confusion`."""
    return _of_classes("precision_fixed", counts.precision_fixed_of, pred, target, mask, classes)


def recall_per_class(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Recall [C] of every class; that of an absent one is 0. Arguments as `confusion`."""
    return _of_classes("recall_per_class", counts.recall_per_class_of, pred, target, mask, classes)


def precision_per_class(pred: Any, target: Any, mask: Any = None, *, classes: int) -> jax.Array:
    """Precision [C] of every class; of one never predicted 0. Arguments as `confusion`."""
    formula = counts.precision_per_class_of
    return _of_classes("precision_per_class", formula, pred, target, mask, classes)


def label_counts(pred: Any, target: Any, mask: Any = None) -> counts.LabelCounts:
    """Hits and misses int32 [K] of arrays [..., K]; an entry above 1/2 is positive.

    Raises:
        ValueError: shapes differ.
    """
    return _of_labels("label_counts", _hits, pred, target, mask)


def f1_per_label(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """F1 [K] of the positive class of every label. Arguments as `label_counts`."""
    return _of_labels("f1_per_label", counts.f1_per_label_of, pred, target, mask)


def f1_binary(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Mean F1 of the positive class over those of the K labels that have a labelled entry.

    Arguments as `label_counts`.
    """
    return _of_labels("f1_binary", counts.f1_binary_of, pred, target, mask)


def accuracy(pred: Any, target: Any, mask: Any = None) -> jax.Array:
    """Share of the unmasked entries of two arrays of one shape that are equal."""
    return _equal(*arrays.checked("accuracy", pred, target, mask))


@jax.jit
def _equal(p: jax.Array, t: jax.Array, mask: jax.Array | None) -> jax.Array:
    mask = jnp.ones(p.shape, bool) if mask is None else jnp.asarray(mask, bool)
    n = mask.sum(dtype=jnp.int32)
    return ((p == t) & mask).sum(dtype=jnp.int32) / jnp.maximum(n, 1)


def _of_classes(
    what: str, formula: Callable[..., Any], pred: Any, target: Any, mask: Any, classes: int
) -> jax.Array:
    return _class_score(formula, *arrays.checked(what, pred, target, mask), classes)


@functools.partial(jax.jit, static_argnums=(0, 4))
def _class_score(
    formula: Callable[..., Any], p: jax.Array, t: jax.Array, mask: jax.Array | None, classes: int
) -> jax.Array:
    inside = (p >= 0) & (p < classes) & (t >= 0) & (t < classes)
    if mask is not None:
        inside &= jnp.asarray(mask, bool)
    cells = classes * classes
    # int32 first: int8 labels times the number of classes would wrap around.
    cell = jnp.asarray(t, jnp.int32) * classes + jnp.asarray(p, jnp.int32)
    cell_counts = jnp.bincount(jnp.where(inside, cell, cells).ravel(), length=cells + 1)
    return formula(counts.Confusion(cell_counts[:cells].reshape(classes, classes)))


def _matrix(c: counts.Confusion) -> jax.Array:
    return c.counts


def _of_labels(what: str, formula: Callable[..., Any], pred: Any, target: Any, mask: Any) -> Any:
    return _label_score(formula, *arrays.checked(what, pred, target, mask))


@functools.partial(jax.jit, static_argnums=0)
def _label_score(
    formula: Callable[..., Any], p: jax.Array, t: jax.Array, mask: jax.Array | None
) -> Any:
    mask = jnp.ones(p.shape, bool) if mask is None else jnp.asarray(mask, bool)
    leading = tuple(range(p.ndim - 1))
    hits = counts.cells(p > 0.5, t > 0.5, mask)
    return formula(counts.LabelCounts(*(x.sum(leading, dtype=jnp.int32) for x in hits)))


def _hits(c: counts.LabelCounts) -> counts.LabelCounts:
    return c
