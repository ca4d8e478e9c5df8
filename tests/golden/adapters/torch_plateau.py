"""torch's ReduceLROnPlateau: our rule of the plateau, and what only the originals' has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax.optim import Optimiser
from affect_jax.schedules import is_better
from configs.base import base_config

DEFAULTS = dict(mode="min", patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0)
DEFAULTS |= dict(factor=0.1, min_lr=0.0, eps=1e-8)


def rates_after(
    scores: np.ndarray, lr: float, options: Mapping[str, Any], **constant: float
) -> dict[str, np.ndarray]:
    """{group: its rate after each of the scores [epochs]}, "default" the one that is cut.

    Put in here: an absolute threshold, epochs after a cut that count for nothing, and a rate that
    stays where the cut would be no larger than `eps`.

    Args:
        lr: of the default group.
        options: of torch's names; others are left aside.
        constant: {group: rate that the rule leaves alone}.
    """
    given = DEFAULTS | {name: x for name, x in options.items() if name in DEFAULTS}
    sign = 1 if given["mode"] == "max" else -1
    share, margin = (
        float(given["threshold"]) if given["threshold_mode"] == mode else 0.0
        for mode in ("rel", "abs")
    )
    config = base_config().optim
    config.update(schedule="plateau", lr=lr, factor=given["factor"], least_rate=given["min_lr"])
    config.update(patience=given["patience"], threshold=share, groups=tuple(constant))
    groups = {
        name: dict(match=name, rate=rate / lr, schedule="constant")
        for name, rate in constant.items()
    }
    config.group = ConfigDict(groups)
    params = dict.fromkeys((*constant, "rest"), jnp.zeros(()))
    optimiser = Optimiser(config, params, epochs=len(scores))
    state, best, cooling, found = optimiser.fresh_plateau(), -np.inf, 0, []
    exact = lr  # in float64, as eps is compared: the cut may be just as large
    for score in sign * scores.astype(np.float64):
        scale, bar = state["scale"], best + margin
        state = optimiser.evaluated(state, float(score), bar, sign)
        better = is_better(score, bar, sign, share)
        best = score if better else best
        if cooling:
            cooling, state = cooling - 1, state | {"scale": scale, "waited": 0}
        elif not better and not state["waited"]:
            cooling, cut = given["cooldown"], max(exact * given["factor"], given["min_lr"])
            if exact - cut <= given["eps"]:
                state = state | {"scale": scale}
            else:
                exact = cut
        found.append(state["scale"])
    first = {"default": lr, **constant}
    return {name: rate * np.array([float(x[name]) for x in found]) for name, rate in first.items()}
