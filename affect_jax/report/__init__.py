"""Reports for people: pictures, a card of the model and its data, intervals of scores."""

from affect_jax.report.best_effort import optional
from affect_jax.report.card import write as write_card
from affect_jax.report.interval import bootstrap_by_group, pooled, score_intervals
from affect_jax.report.plots import write_all

__all__ = ["bootstrap_by_group", "optional", "pooled", "score_intervals", "write_all", "write_card"]
