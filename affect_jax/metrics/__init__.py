"""Metrics of affect recognition: functions on arrays, and states that merge.

Functions, jitted and masked (the first four also differentiable): `ccc`, `pearson`, `mse`, `rmse`;
`accuracy`, `f1`, `f1_fixed`, `f1_of_averages`, `f1_per_class`, `uar`, `recall_fixed`,
`recall_per_class`, `precision`, `precision_fixed`, `precision_per_class`, `confusion` on class
numbers; `f1_binary`, `f1_per_label` on binary labels.

For data that comes in pieces: `METRICS`, by name, with init, update, merge and compute on the
host; or `moments` and `label_counts` on the device, whose results `Moments.merge` and
`LabelCounts.merge` join exactly.

Needs only JAX and NumPy.
"""

from affect_jax.metrics.classification import (
    accuracy,
    confusion,
    f1,
    f1_binary,
    f1_fixed,
    f1_of_averages,
    f1_per_class,
    f1_per_label,
    label_counts,
    precision,
    precision_fixed,
    precision_per_class,
    recall_fixed,
    recall_per_class,
    uar,
)
from affect_jax.metrics.counts import Confusion, LabelCounts
from affect_jax.metrics.moments import Moments, moments
from affect_jax.metrics.regression import Errors, ccc, mse, pearson, rmse
from affect_jax.metrics.table import METRICS, Metric

__all__ = [
    "METRICS",
    "Confusion",
    "Errors",
    "LabelCounts",
    "Metric",
    "Moments",
    "accuracy",
    "ccc",
    "confusion",
    "f1",
    "f1_binary",
    "f1_fixed",
    "f1_of_averages",
    "f1_per_class",
    "f1_per_label",
    "label_counts",
    "moments",
    "mse",
    "pearson",
    "precision",
    "precision_fixed",
    "precision_per_class",
    "recall_fixed",
    "recall_per_class",
    "rmse",
    "uar",
]
