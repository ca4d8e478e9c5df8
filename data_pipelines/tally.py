"""Counts and moments of a label by split and by track: one pass, in pieces, over a store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines.chunks import chunks
from data_pipelines.store import Store


class Tally:
    """Counts of one label. S splits in the order of `store.splits`, K columns, C classes.

    Attributes:
        rows: int [S], frames with a label in any column.
        labelled: bool [tracks], those with any label.
        counts: int [S, C] of classes; of other labels int [S, K], how many there are.
        means, deviations: float64 [S, K] of values and 0/1 labels; NaN where there are none.
        low, next, high: float64 [K], of values: the smallest, the smallest but that, the largest.
        at_low: int [K], how many are the smallest.
    """

    def __init__(self, store: Store, name: str):
        values, mask = store.label(name)
        label = store.labels[name]
        self.label = label
        splits, columns = len(store.splits), 1 if label.kind == "classes" else label.size
        classes = label.size if label.kind == "classes" else 0
        self.rows = np.zeros(splits, np.int64)
        self.labelled = np.zeros(len(store.tracks), bool)
        self.counts = np.zeros((splits, classes or columns), np.int64)
        self.low, self.next = np.full(columns, np.inf), np.full(columns, np.inf)
        self.high, self.at_low = np.full(columns, -np.inf), np.zeros(columns, np.int64)
        pivot, sums = np.full(columns, np.nan), np.zeros((2, splits, columns))
        offsets = np.array([track.offset for track in store.tracks])
        order = {split: i for i, split in enumerate(store.splits)}
        split_of = np.array([order[track.split] for track in store.tracks], np.intp)

        for start, y, y_mask in chunks(values, mask):
            track = np.searchsorted(offsets, np.arange(start, start + len(y)), side="right") - 1
            split = split_of[track]
            rows_mask = y_mask if y_mask.ndim == 1 else y_mask.any(axis=1)
            self.labelled[track[rows_mask]] = True
            self.rows += np.bincount(split[rows_mask], minlength=splits)
            if classes:
                at = split[rows_mask] * classes + y[rows_mask]
                self.counts += np.bincount(at, minlength=splits * classes).reshape(splits, classes)
                continue
            for k in range(columns):
                column_mask = y_mask[:, k]
                x, of = y[column_mask, k].astype(np.float64), split[column_mask]
                if not len(x):
                    continue
                self.counts[:, k] += np.bincount(of, minlength=splits)
                if np.isnan(pivot[k]):  # moments about a value of their size: nothing cancels
                    pivot[k] = x[0]
                for power, moment in enumerate(sums[:, :, k], 1):
                    moment += np.bincount(of, (x - pivot[k]) ** power, minlength=splits)
                if label.kind == "values":
                    self._extremes(k, x)
        with np.errstate(invalid="ignore"):
            first, second = sums / self.counts if not classes else sums
        self.means = pivot + first
        self.deviations = np.sqrt(np.maximum(second - first**2, 0))

    def _extremes(self, k: int, x: np.ndarray) -> None:
        smallest, counts = np.unique(x, return_counts=True)
        if smallest[0] < self.low[k]:
            self.at_low[k] = 0
        known = sorted({self.low[k], self.next[k], *smallest[:2], np.inf})
        self.low[k], self.next[k] = known[0], known[1]
        self.high[k] = max(self.high[k], smallest[-1])
        self.at_low[k] += counts[0] if smallest[0] == known[0] else 0

    def texts(self, split: int) -> str:
        """The label in a split, in words: shares of its classes, means and deviations."""
        names = self.label.names or tuple(str(i) for i in range(self.label.size))
        counts = self.counts[split]
        if self.label.kind == "classes":
            return ", ".join(f"{name} {count:,}" for name, count in zip(names, counts))
        parts = []
        for k, name in enumerate(names):
            mean, deviation = self.means[split, k], self.deviations[split, k]
            if self.label.kind == "labels":
                parts.append(f"{name} {100 * mean:.1f} %" if counts[k] else f"{name} -")
            elif counts[k]:
                named = f"{name}: " if self.label.size > 1 else ""
                parts.append(f"{named}mean {mean:.3f}, std {deviation:.3f}")
        return ", ".join(parts)

    def questions(self) -> list[str]:
        """Values that look like a mark of missing ones, or like the scale of a questionnaire."""
        if self.label.kind != "values":
            return []
        asked = []
        for k in range(self.label.size):
            what = f"label {self.label.name!r}" + _column(self.label.names, self.label.size, k)
            low, high = self.low[k], self.high[k]
            if low <= -5 and low % 1 == 0 and self.next[k] > low + 1:
                asked.append(
                    f"{what}: {self.at_low[k]:,} are {low:g}, no other is below "
                    f"{self.next[k]:g}. Does {low:g} mark what is missing? Then give NaN or a mask."
                )
                low = self.next[k]
            if low >= 0 and 1 < high < np.inf:
                asked.append(
                    f"{what}: from {low:g} to {high:g}. Is that the scale you mean? Models expect "
                    "values around 0, about -1 to 1."
                )
        return asked


def _column(names: Sequence[str], size: int, k: int) -> str:
    return "" if size == 1 else f", {names[k] if names else f'column {k}'}"
