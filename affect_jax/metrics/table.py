"""The metrics that a task can name, as states that are updated track by track and merged.

    metric = METRICS["ccc"]
    state = metric.init(task)
    for pred, target, mask in tracks:          # decoded predictions, NumPy
        state = metric.update(state, pred, target, mask)
    score = metric.compute(state)

All labelled frames of all tracks are pooled: the score is that of the joined tracks, whatever the
pieces and their order (to 1e-12), and not a mean of scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from affect_jax.metrics import counts, regression
from affect_jax.metrics.counts import Confusion, LabelCounts
from affect_jax.metrics.moments import Moments
from affect_jax.metrics.regression import Errors

State = Moments | Errors | Confusion | LabelCounts


@dataclasses.dataclass(frozen=True)
class Metric:
    """One entry of METRICS.

    Attributes:
        formula: state -> score.
        states: task kind -> the state that a task of this kind keeps.
        sign: +1 if higher is better, -1 if lower is; 0 if the score is an array and has no order.
    """

    formula: Callable[[Any], Any]
    states: Mapping[str, type[State]]
    sign: int = 1

    def init(self, task: Any) -> State:
        """The state of nothing seen, for a task (anything with `kind` and `size`)."""
        if task.kind not in self.states:
            raise ValueError(f"a metric of {', '.join(self.states)} cannot score {task.kind}")
        return self.states[task.kind].zero(task.size)

    def update(self, state: State, pred: np.ndarray, target: np.ndarray, mask: np.ndarray) -> State:
        """`state` with one track added.

        Args:
            state: from `init`, `update` or `merge`.
            pred: decoded predictions of the track: values or bins [T, K], classes [T], labels
                [T, K] (0/1). A clip has no T.
            target: labels, same shape; anything where masked.
            mask: bool, same shape, True where the label exists.
        """
        return state.merge(type(state).of(pred, target, mask, state[0].shape[-1]))

    def merge(self, a: State, b: State) -> State:
        """The state of both."""
        return a.merge(b)

    def compute(self, state: State) -> float | np.ndarray:
        """The score: a float, or an array for metrics with `sign` 0. Nothing labelled: 0."""
        score = self.formula(state)
        return float(score) if self.sign else np.asarray(score)


def _metric(formula: Callable[[Any], Any], sign: int = 1, **states: type[State]) -> Metric:
    return Metric(formula, MappingProxyType(states), sign)


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ccc": _metric(regression.ccc_of, values=Moments, bins=Moments),
        "ccc_mixed": _metric(regression.ccc_mixed_of, values=Moments, bins=Moments),
        "pearson": _metric(regression.pearson_of, values=Moments, bins=Moments),
        "rmse": _metric(regression.rmse_of, sign=-1, values=Errors, bins=Errors),
        "mse": _metric(regression.mse_of, sign=-1, values=Errors, bins=Errors),
        "f1": _metric(counts.f1_of, classes=Confusion),
        "f1_fixed": _metric(counts.f1_fixed_of, classes=Confusion),
        "f1_of_averages": _metric(counts.f1_of_averages_of, classes=Confusion),
        "f1_per_class": _metric(counts.f1_per_class_of, sign=0, classes=Confusion),
        "uar": _metric(counts.uar_of, classes=Confusion),
        "recall_fixed": _metric(counts.recall_fixed_of, classes=Confusion),
        "recall_per_class": _metric(counts.recall_per_class_of, sign=0, classes=Confusion),
        "accuracy": _metric(counts.accuracy_of, classes=Confusion, labels=LabelCounts),
        "precision": _metric(counts.precision_of, classes=Confusion),
        "precision_fixed": _metric(counts.precision_fixed_of, classes=Confusion),
        "precision_per_class": _metric(counts.precision_per_class_of, sign=0, classes=Confusion),
        "confusion": _metric(lambda state: state.counts, sign=0, classes=Confusion),
        "f1_binary": _metric(counts.f1_binary_of, labels=LabelCounts),
        "f1_per_label": _metric(counts.f1_per_label_of, sign=0, labels=LabelCounts),
    }
)
