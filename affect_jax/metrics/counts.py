"""Counts of classes and of binary labels, exact and mergeable, and the formulas on them.

Everywhere 0/0 is 0: a class that is predicted or labelled, but never rightly, scores 0. The
formulas take counts of one call on the device and merged ones alike.

Macro means (F1, precision, recall) run over the classes that occur in labels or predictions, as
scikit-learn's do with zero_division=0. Those called `fixed` run over all classes, so that an
absent class costs its share: two data sets with different absent classes stay comparable.

Two scores are called macro F1 (Opitz and Burst, "Macro F1 and macro F1", 2019): `f1` is the mean of
the classes' F1, `f1_of_averages` the harmonic mean of macro precision and macro recall. Over the
same classes the latter is never smaller, and larger where a classifier leans to some of them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import numpy as np

from affect_jax.metrics import arrays

Array = jax.Array | np.ndarray


class Confusion(NamedTuple):
    """Counts of each class as predicted for each label.

    Attributes:
        counts: integers [C, C]; row = label, column = prediction.
    """

    counts: Array

    @classmethod
    def zero(cls, size: int) -> Confusion:
        """Nothing seen yet, for `size` classes."""
        return cls(np.zeros((size, size), np.int64))

    @classmethod
    def of(
        cls,
        pred: np.ndarray,
        target: np.ndarray,
        mask: np.ndarray,
        size: int,
        groups: arrays.Groups | None = None,
    ) -> Confusion:
        """Counts of class numbers on the host; ValueError if one is outside 0..size-1.

        Args:
            pred, target, mask: one shape, whatever it is.
            groups: of arrays [N]; the counts are [groups, C, C] then.
        """
        p, t, mask = arrays.converted("confusion", pred, target, mask)
        mask = np.ones(np.shape(p), bool) if mask is None else np.asarray(mask, bool)
        p, t = (np.asarray(x)[mask].astype(np.int64) for x in (p, t))
        for name, x in (("prediction", p), ("label", t)):
            if x.size and not 0 <= x.min() <= x.max() < size:
                wrong = x.min() if x.min() < 0 else x.max()
                raise ValueError(f"confusion: {name} {wrong} is none of the {size} classes from 0")
        cell, shape = t * size + p, (size, size)
        if groups is not None:
            cell, shape = groups.of_row[mask] * size**2 + cell, (groups.count, size, size)
        return cls(np.bincount(cell, minlength=math.prod(shape)).reshape(shape))

    def merge(self, other: Confusion) -> Confusion:
        """Counts of both together."""
        return Confusion(np.int64(self.counts) + np.int64(other.counts))

    @property
    def correct(self) -> Array:
        return self.counts.diagonal().sum()

    @property
    def total(self) -> Array:
        return self.counts.sum()


class LabelCounts(NamedTuple):
    """Hits and misses of K binary labels: integers [K] each."""

    tp: Array
    fp: Array
    fn: Array
    tn: Array

    @classmethod
    def zero(cls, size: int) -> LabelCounts:
        """Nothing seen yet, for `size` labels."""
        return cls(*(np.zeros(size, np.int64) for _ in range(4)))

    @classmethod
    def of(
        cls,
        pred: np.ndarray,
        target: np.ndarray,
        mask: np.ndarray,
        size: int,
        groups: arrays.Groups | None = None,
    ) -> LabelCounts:
        """Counts of arrays [..., K], K = size, on the host; an entry above 1/2 is positive.

        Args:
            groups: of arrays [N, K]; the counts are [groups, K] then.
        """
        p, t, mask = arrays.host_columns(pred, target, mask, size)
        return cls(*(arrays.sums(x, groups) for x in cells(p > 0.5, t > 0.5, mask)))

    def merge(self, other: LabelCounts) -> LabelCounts:
        """Counts of both together."""
        return LabelCounts(*(np.int64(a) + np.int64(b) for a, b in zip(self, other)))

    @property
    def n(self) -> Array:
        """Labelled entries of every label."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def correct(self) -> Array:
        return (self.tp + self.tn).sum()

    @property
    def total(self) -> Array:
        return self.n.sum()


def cells(p: Array, t: Array, mask: Array) -> tuple[Array, Array, Array, Array]:
    """True positives, false positives, false negatives, true negatives, entry by entry."""
    return p & t & mask, p & ~t & mask, ~p & t & mask, ~p & ~t & mask


# Formulas on counts.


def _ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 for 0/0."""
    return a / (b + (b == 0))


def accuracy_of(counts: Confusion | LabelCounts) -> Array:
    """Share of the labelled entries that are right."""
    return _ratio(counts.correct, counts.total)


def f1_per_class_of(c: Confusion) -> Array:
    """[C]: 2 tp / (2 tp + fp + fn) of every class; 0 for an absent one."""
    return _ratio(2 * c.counts.diagonal(), c.counts.sum(0) + c.counts.sum(1))


def _macro(per_class: Array, c: Confusion) -> Array:
    """Mean over the classes in labels or predictions; the others are 0 in `per_class`."""
    seen = (c.counts.sum(0) + c.counts.sum(1)) > 0
    return _ratio(per_class.sum(), seen.sum())


def recall_per_class_of(c: Confusion) -> Array:
    """[C]: share of a class's labels that are predicted so; 0 for a class without labels."""
    return _ratio(c.counts.diagonal(), c.counts.sum(1))


def precision_per_class_of(c: Confusion) -> Array:
    """[C]: share of a class's predictions that are right; 0 for a class never predicted."""
    return _ratio(c.counts.diagonal(), c.counts.sum(0))


def f1_of(c: Confusion) -> Array:
    """Macro F1 over the classes that occur in labels or predictions."""
    return _macro(f1_per_class_of(c), c)


def f1_fixed_of(c: Confusion) -> Array:
    """Macro F1 over all C classes."""
    return f1_per_class_of(c).mean()


def uar_of(c: Confusion) -> Array:
    """Unweighted average recall over the classes that occur in labels or predictions."""
    return _macro(recall_per_class_of(c), c)


def recall_fixed_of(c: Confusion) -> Array:
    """Macro recall over all C classes."""
    return recall_per_class_of(c).mean()


def precision_of(c: Confusion) -> Array:
    """Macro precision over the classes that occur in labels or predictions."""
    return _macro(precision_per_class_of(c), c)


def precision_fixed_of(c: Confusion) -> Array:
    """Macro precision over all C classes."""
    return precision_per_class_of(c).mean()


def f1_of_averages_of(c: Confusion) -> Array:
    """Harmonic mean of macro precision and macro recall over all C classes.

    Source: Li and Xu 2020 (RLPS), equation 7.
    """
    precision, recall = precision_fixed_of(c), recall_fixed_of(c)
    return _ratio(2 * precision * recall, precision + recall)


def f1_per_label_of(counts: LabelCounts) -> Array:
    """[K]: F1 of the positive class of every label."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn)


def f1_binary_of(counts: LabelCounts) -> Array:
    """Mean F1 of the positive class, over the labels that have any labelled entry."""
    return _ratio(f1_per_label_of(counts).sum(), (counts.n > 0).sum())
