"""Everything that decides the future of a run, in one pytree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class State:
    """The content of a checkpoint.

    Attributes:
        step: int32, batches so far, of all programs.
        position: int32, phases of the schedule that are done (epochs, by default).
        batch: int32, batches done in the present phase: where the data goes on.
        params, batch_stats, opt_state: of the model; `params["weighting"]` of the weighting.
        ema, ema_batch_stats: moving averages of the trained params and of batch_stats, or {}.
        weighting: state of the weighting.
        carry: what a recurrent model hands to the next segment, or None.
        log: sums of the losses of this phase, for its mean.
        best, best_step: {monitored score: best value (negated where lower is better), its step}.
        stale: evaluations in a row without a better first monitored score.
        plateau: {"scale": {group: factor on its learning rate}, "waited": evaluations in a row
            without progress, "best": the score that was the last progress} (optim.Optimiser).
        rng: key of the run; every random number folds names and the step into it.
        extra: belongs to the system.
    """

    step: jax.Array
    position: jax.Array
    batch: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema: Any
    ema_batch_stats: Any
    weighting: Any
    carry: Any
    log: dict[str, dict[str, jax.Array]]
    best: dict[str, jax.Array]
    best_step: dict[str, jax.Array]
    stale: jax.Array
    plateau: dict[str, Any]
    rng: jax.Array
    extra: Any

    def variables(self) -> dict[str, Any]:
        """Variables that the model is evaluated with: moving averages where there are any."""
        params = merged(self.params, self.ema)
        return of_the_model(params, self.ema_batch_stats or self.batch_stats)


def of_the_model(params: Mapping[str, Any], batch_stats: Any) -> dict[str, Any]:
    """Variables that the model is applied with: no parameters of the weighting."""
    variables = {"params": {k: v for k, v in params.items() if k != "weighting"}}
    return variables | ({"batch_stats": batch_stats} if batch_stats else {})


def merged(tree: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dicts of leaves, those of `over` in the place of the tree's and beside them."""
    both = {
        key: merged(tree[key], x) if isinstance(x, Mapping) and key in tree else x
        for key, x in over.items()
    }
    return {**tree, **both}


def zero_carry(carry: Any, start: jax.Array) -> Any:
    """The carry with the rows zeroed whose track starts here. Carry leaves are [B, ...]."""

    def leaf(x: jax.Array) -> jax.Array:
        fresh = start.reshape(start.shape + (1,) * (x.ndim - 1))
        return jnp.where(fresh, jnp.zeros((), x.dtype), x)

    return jax.tree.map(leaf, carry)
