"""A-VB: metrics, and the rate that falls on a plateau."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import metrics
from affect_jax.optim import Optimiser
from affect_jax.tasks import Task
from configs.base import base_config
from tests.golden.adapters.avb_losses import REGRESSIONS
from tests.golden.fixture import Answer, Fixture, adapter


@adapter("avb__metrics")
def scores(fixture: Fixture) -> Answer:
    given = fixture.arrays
    classes = given["in_logits_0"].shape[-1]
    arrays: dict[str, Any] = {}
    for case in range(sum(name.startswith("in_logits_") for name in given)):
        chosen = given[f"in_logits_{case}"].argmax(-1)
        arrays[f"out_uar_{case}"] = metrics.uar(chosen, given["in_labels"], classes=classes)
        arrays.setdefault("out_pred_has_3", (chosen == 3).any())
    total = [arrays["out_uar_0"]]
    for name in REGRESSIONS:
        arrays |= _of_values(name, given[f"in_pred_{name}"], given[f"in_target_{name}"])
        total.append(arrays[f"out_ccc_metric_{name}"].mean())
    arrays["out_score"] = np.mean(total)
    perfect, both = given["in_perfect"], given["in_constant_both"]
    arrays |= _of_values("perfect", perfect, perfect)
    arrays |= _of_values("constant", given["in_constant_pred"], perfect)
    arrays |= _of_values("constant_both", both, both)
    return Answer(arrays)


def _of_values(name: str, pred: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Every score of the columns of [N, K]."""
    mixed, one = metrics.METRICS["ccc_mixed"], Task(name, "values", 1)
    columns = zip(pred.T[..., None], target.T[..., None])
    states = [mixed.update(mixed.init(one), p, t, np.ones_like(p, bool)) for p, t in columns]
    return {
        f"out_ccc_metric_{name}": jax.vmap(metrics.ccc, in_axes=-1)(pred, target),
        f"out_pearson_{name}": jax.vmap(metrics.pearson, in_axes=-1)(pred, target),
        f"out_ccc_loss_{name}": np.array([mixed.compute(state) for state in states]),
    }


@adapter("avb__plateau")
def plateau(fixture: Fixture) -> Answer:
    """The rates of both groups, epoch by epoch.

    The original leaves a rate as it is where the cut would be no larger than `eps`.
    """
    settings, stored = fixture.meta["settings"], fixture.outputs
    arrays = {}
    for name, wanted in stored.items():
        digits = re.search(r"factor(\d+)", name)[1]
        slow, rate = wanted[0]  # nothing is cut after the first epoch
        config = base_config().optim
        config.update(schedule="plateau", lr=float(rate), factor=float(f"{digits[0]}.{digits[1:]}"))
        config.update(patience=settings["patience"], threshold=settings["threshold"])
        config.update(groups=("slow",), least_rate=float(settings["min_lr"]))
        config.group = ConfigDict(dict(slow=dict(match="slow", rate=float(slow / rate))))
        params = {"slow": jnp.zeros(()), "fast": jnp.zeros(())}
        arrays[name] = _rates(Optimiser(config, params, epochs=1), fixture, settings["eps"])
    return Answer(arrays)


def _rates(optimiser: Optimiser, fixture: Fixture, eps: float) -> np.ndarray:
    """[epochs, 2]: rates of slow and default after each of the scores."""
    rows, best, state = [], -np.inf, optimiser.fresh_plateau()
    for score in fixture.arrays["in_scores"]:
        before, scale = optimiser.rates(0.0, state["scale"]), dict(state["scale"])
        state = optimiser.evaluated(state, float(score), best, 1)
        best = max(best, float(score))
        after = optimiser.rates(0.0, state["scale"])
        kept = {name: scale[name] for name in scale if before[name] - after[name] <= eps}
        state = {**state, "scale": state["scale"] | kept}
        now = optimiser.rates(0.0, state["scale"])
        rows.append([now["slow"], now["default"]])
    return np.array(rows, np.float64)
