"""A-VB: metrics, and the rate that falls on a plateau."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import metrics
from affect_jax.optim import Optimiser
from affect_jax.schedules import is_better
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


# What torch's scheduler does unless it is told.
TORCH = dict(mode="min", patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0)
TORCH |= dict(min_lr=0.0, eps=1e-8)


@adapter("avb__plateau")
def plateau(fixture: Fixture) -> Answer:
    """The rates of all groups, epoch by epoch. They are all of the first row: nothing is cut after
    the first epoch."""
    arrays = {}
    for name, wanted in fixture.outputs.items():
        digits = re.search(r"factor(\d+)", name)[1]
        rates = map(float, wanted[0])
        least = np.broadcast_to(fixture.meta["settings"].get("min_lr", 0.0), wanted[0].shape)
        columns = [
            _rates(fixture, rate, float(f"{digits[0]}.{digits[1:]}"), float(bound))
            for rate, bound in zip(rates, least, strict=True)
        ]
        arrays[name] = np.stack(columns, 1)
    return Answer(arrays)


def _rates(fixture: Fixture, lr: float, factor: float, least: float) -> np.ndarray:
    """[epochs]: the rate after each of the scores.

    Three ways of the original's are put in here: an absolute threshold, epochs after a cut that
    count for nothing, and a rate that stays where the cut would be no larger than `eps`.
    """
    settings = TORCH | fixture.meta["settings"]
    sign = 1 if settings["mode"] == "max" else -1
    share, margin = (
        float(settings["threshold"]) if settings["threshold_mode"] == mode else 0.0
        for mode in ("rel", "abs")
    )
    config = base_config().optim
    config.update(schedule="plateau", lr=lr, factor=factor, least_rate=least)
    config.update(patience=settings["patience"], threshold=share)
    optimiser = Optimiser(config, {"w": jnp.zeros(())}, epochs=1)

    found, best, cooling, state = [], -np.inf, 0, optimiser.fresh_plateau()
    exact = lr  # in float64, as eps is compared: the cut may be just as large
    for score in sign * fixture.arrays["in_scores"].astype(np.float64):
        scale, bar = state["scale"], best + margin
        state = optimiser.evaluated(state, float(score), bar, sign)
        better = is_better(score, bar, sign, share)
        best = score if better else best
        if cooling:
            cooling, state = cooling - 1, state | {"scale": scale, "waited": 0}
        elif not better and not state["waited"]:
            cooling, cut = settings["cooldown"], max(exact * factor, least)
            if exact - cut <= settings["eps"]:
                state = state | {"scale": scale}
            else:
                exact = cut
        found.append(float(optimiser.rates(0.0, state["scale"])["default"]))
    return np.array(found, np.float64)
