"""A-VB: metrics, and the rate that falls on a plateau."""

from __future__ import annotations

import re
from typing import Any

import jax
import numpy as np

from affect_jax import metrics
from affect_jax.tasks import Task
from tests.golden.adapters.avb_losses import REGRESSIONS
from tests.golden.adapters.torch_plateau import rates_after
from tests.golden.fixture import Answer, Fixture, adapter


@adapter("avb__metrics")
def scores(fixture: Fixture) -> Answer:
    given = fixture.arrays
    classes = given["in_logits_0"].shape[-1]
    arrays: dict[str, Any] = {}
    for case in range(sum(name.startswith("in_logits_") for name in given)):
        chosen = given[f"in_logits_{case}"].argmax(-1)
        arrays[f"out_uar_{case}"] = metrics.uar(chosen, given["in_labels"], classes=classes)
        for name in fixture.outputs if case == 0 else ():
            if named := re.fullmatch(r"out_pred_has_(\d+)", name):
                arrays[name] = (chosen == int(named[1])).any()
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
    """The rates of all groups, epoch by epoch. They are all of the first row: nothing is cut after
    the first epoch."""
    settings, scores, arrays = fixture.meta["settings"], fixture.arrays["in_scores"], {}
    for name, wanted in fixture.outputs.items():
        options = dict(settings)
        if found := re.search(r"factor(\d)(\d*)", name):
            options["factor"] = float(".".join(found.groups()))
        least = np.broadcast_to(settings.get("min_lr", 0.0), wanted[0].shape)
        columns = [
            rates_after(scores, float(rate), options | {"min_lr": float(bound)})["default"]
            for rate, bound in zip(wanted[0], least, strict=True)
        ]
        arrays[name] = np.stack(columns, 1)
    return Answer(arrays)
