"""The evaluations of a run (the lines of metrics.jsonl) as series and best scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.tasks import better_sign


@dataclasses.dataclass(frozen=True)
class Best:
    """The best value of one score, and the first evaluation that reached it."""

    value: float
    epoch: int
    step: int


def number(value: Any) -> float:
    """A plain number as float; NaN for what is missing (None), a list or a name."""
    is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return float(value) if is_number else math.nan


def series(records: Sequence[Mapping[str, Any]], keys: Sequence[str]) -> np.ndarray:
    """float64 [evaluations]: the number under `keys` in each record, NaN where there is none."""
    values = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        values.append(number(value))
    return np.array(values, np.float64)


def main_split(records: Sequence[Mapping[str, Any]]) -> str:
    """The split that choices are made on: "validation", or the first one that has scores."""
    splits = dict.fromkeys(split for record in records for split in record.get("scores", {}))
    return "validation" if "validation" in splits or not splits else next(iter(splits))


def headline_scores(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The totals ("P_MTL"), then the first plain number of each task, as the records order them."""
    names: dict[str, None] = {}
    for record in records:
        for scores in record.get("scores", {}).values():
            names.update(dict.fromkeys(k for k, v in scores.items() if math.isfinite(number(v))))
    totals = [name for name in names if "/" not in name]
    first = {name.split("/")[0]: name for name in reversed(names) if "/" in name}
    tasks = dict.fromkeys(name.split("/")[0] for name in names if "/" in name)
    return totals + [first[task] for task in tasks]


def best(records: Sequence[Mapping[str, Any]], name: str, split: str) -> Best | None:
    """Best value over the evaluations, None where it is never a finite number.

    Args:
        name: a score ("valence/ccc", "P_MTL"), or "loss/<task>" of the training losses.
    """
    parts = name.split("/", 1)
    keys = ("loss", parts[1]) if parts[0] == "loss" else ("scores", split, name)
    values = better_sign(name) * series(records, keys)
    if not np.isfinite(values).any():
        return None
    i = int(np.nanargmax(values))
    return Best(
        float(better_sign(name) * values[i]), int(records[i]["epoch"]), int(records[i]["step"])
    )
