"""A-VB: the criterion, a rule across the tasks and the same one inside each regression task."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import losses
from affect_jax.weighting import WEIGHTINGS, dynamic_weights
from tests.golden.adapters.avb_optimiser import optimiser_of, unrounded
from tests.golden.compare import NUMBER
from tests.golden.fixture import Answer, Fixture, adapter

TYPE = "voc_type"
REGRESSIONS = ("low", "high", "culture_emotion")
ACROSS = "tasks"  # the level above the regressions


class Criterion:
    """The original's loss, from our rules.

    Its odd ways come from here: the mixed estimators of its concordance, a weighting inside each
    task by the rule that is chosen across them, and means where ours has a sum.

    Attributes:
        levels: {level: number of its losses}.
    """

    def __init__(self, strategy: str, sizes: Mapping[str, int], **options: float):
        """A criterion.

        Args:
            strategy: mean, dwa, rruw or druw.
            sizes: {regression task: its dimensions}.
            options: phi and temperature, those of them that the rule has.
        """
        self.levels = {ACROSS: 1 + len(sizes), **sizes}
        self._mean = strategy == "mean"
        self._rule = WEIGHTINGS["fixed" if self._mean else strategy]
        self._options = {k: x for k, x in options.items() if k in self._rule.options}
        self.dynamic = "temperature" in self._options

    def init(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(params by their original names, {level: state}) before the first step."""
        params, states = {}, {}
        for level, n in self.levels.items():
            own, states[level] = self._rule.init(n)
            params |= {parameter(level): x for x in own.values()}
        return params, states

    def __call__(
        self,
        params: Mapping[str, jax.Array],
        states: Mapping[str, Any],
        predictions: Mapping[str, jax.Array],
        targets: Mapping[str, jax.Array],
    ) -> tuple[jax.Array, tuple[dict[str, Any], jax.Array, dict[str, jax.Array]]]:
        """(total, (next states, losses [4] of the tasks, {regression task: CCC [K]}))."""
        labelled = jnp.ones(targets[TYPE].shape, bool)
        values = [losses.ce(predictions[TYPE], targets[TYPE], labelled)]
        states, ccc = dict(states), {}
        for name in REGRESSIONS:
            ccc[name] = ccc_mixed(predictions[name], targets[name])
            value, states[name] = self._combined(name, params, states, 1 - ccc[name])
            values.append(value)
        values = jnp.array(values)
        total, states[ACROSS] = self._combined(ACROSS, params, states, values)
        return total, (states, values, ccc)

    def weights(self, states: Mapping[str, Any]) -> dict[str, jax.Array]:
        """{level: the dynamic weights of the step that these states come from}."""
        if not self.dynamic:
            return {}
        every = {level: jnp.ones(n, bool) for level, n in self.levels.items()}
        temperature = self._options["temperature"]
        return {level: dynamic_weights(states[level], every[level], temperature) for level in every}

    def _combined(self, level: str, params: Any, states: Any, values: jax.Array) -> Any:
        own = {name: params[parameter(level)] for name in self._rule.init(1)[0]}
        values = values / len(values) if self._mean else values
        every = jnp.ones(len(values), bool)
        total, state = self._rule.combine(own, states[level], values, every, 0.0, **self._options)
        if "phi" in self._options:
            total += _restraint_of_torch(own["alpha"], self._options["phi"])
        return total, state


def _restraint_of_torch(a: jax.Array, phi: float) -> jax.Array:
    """The restraint as torch adds it up, less ours.

    At the start it is the rounding error of a sum, and its gradient the sign of that.
    """
    size = jnp.sign(a) * a
    gaps = (phi - sum_of_torch(size), phi - _added(size))
    of_torch, ours = (jnp.sign(gap) * gap for gap in gaps)
    return of_torch - ours


def sum_of_torch(x: jax.Array, lanes: int = 8, rows: int = 4) -> jax.Array:
    """Sum of x [n] in the order of torch on a CPU: what fills no row of lanes, then the lanes.

    A lane is the sum of every fourth row, four such sums side by side.
    """
    rest = len(x) // lanes * lanes
    row = x[:rest].reshape(-1, lanes)
    end = len(row) // rows * rows
    sums = [_added(row[k:end:rows]) for k in range(rows)]
    sums[0] = _added([sums[0], *row[end:]])
    return _added([*x[rest:], *jnp.broadcast_to(_added(sums), lanes)])


def _added(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, terms, jnp.float32(0))


def parameter(level: str) -> str:
    """The original's name of the learned weights of a level."""
    return "log_vars" if level == ACROSS else f"losses.{level}.log_vars"


def ccc_mixed(pred: jax.Array, target: jax.Array) -> jax.Array:
    """The original's CCC [K] of arrays [..., K]: covariance by n, variances by n - 1."""
    p, t = (x.reshape(-1, x.shape[-1]) for x in (pred, target))
    covariance = ((p - p.mean(0)) * (t - t.mean(0))).mean(0)
    return 2 * covariance / (p.var(0, ddof=1) + t.var(0, ddof=1) + (p.mean(0) - t.mean(0)) ** 2)


@adapter(
    "avb__loss_druw",
    "avb__loss_druw_perturbed",
    "avb__loss_dwa",
    "avb__loss_mean",
    "avb__loss_rruw",
    "avb__loss_rruw_perturbed",
)
def trajectory(fixture: Fixture) -> Answer:
    """Steps of the optimiser on the learned weights, with given predictions."""
    given, options = fixture.arrays, fixture.meta["constructor"]
    sizes = {name: given[f"in_pred_{name}_step0"].shape[-1] for name in REGRESSIONS}
    criterion = Criterion(
        options["loss_strategy"], sizes, phi=options["phi"], temperature=options["temperature"]
    )
    params, states = criterion.init()
    params |= {name: given[f"in_init_{name}"] for name in params if f"in_init_{name}" in given}
    of_optimiser = optimiser_options(fixture)
    optimiser = optimiser_of(of_optimiser, params or {"none": jnp.zeros(())})
    opt_state = optimiser.init(params)

    @jax.jit
    def step(params: Any, states: Any, predictions: Any, targets: Any) -> Any:
        of = jax.value_and_grad(criterion, argnums=(0, 2), has_aux=True)
        return of(params, states, predictions, targets)

    arrays = {}
    for k in range(sum(name.startswith(f"in_pred_{TYPE}_step") for name in given)):
        predictions, targets = (
            {name: given[f"in_{kind}_{name}_step{k}"] for name in (TYPE, *REGRESSIONS)}
            for kind in ("pred", "target")
        )
        now = params
        (total, (states, values, ccc)), (by_param, by_pred) = step(
            params, states, predictions, targets
        )
        scale = {"default": unrounded(of_optimiser, k + 1)}
        params, opt_state = optimiser.update(by_param, opt_state, params, 0.0, scale)
        found = {"out_loss": total, "out_task_losses": values}
        found |= {f"out_ccc_{name}": x for name, x in ccc.items()}
        found |= {f"out_dynweight_{name}": x for name, x in criterion.weights(states).items()}
        found |= {f"grad_pred_{name}": x for name, x in by_pred.items()}
        found |= {f"grad_param_{name}": x for name, x in by_param.items()}
        for name, a in now.items():
            found[f"out_param_{name}"] = a
            found[f"out_constraint_{name}"] = options["phi"] - jnp.abs(a).sum()
        arrays |= {f"{name}_step{k}": np.asarray(x) for name, x in found.items()}
    return Answer(arrays | {f"out_param_{name}_final": a for name, a in params.items()})


def optimiser_options(fixture: Fixture) -> dict[str, Any]:
    """Options of `optimiser_of`: those of the training, else those that the notes name."""
    text, number = " ".join(fixture.meta["notes"]), f"({NUMBER.pattern})"
    said = {
        "optimizer": re.search(r"(\w+): lr ", text),
        "lr": re.search(rf"\blr {number}", text),
        "weight_decay": re.search(rf"\bweight decay {number}", text),
        "eps": re.search(rf"\beps {number}", text),
        "betas": re.search(rf"\bbetas {number}/{number}", text),
    }
    options = {"optimizer": "adamw"} | {key: found[1] for key, found in said.items() if found}
    if said["betas"]:
        options["betas"] = said["betas"].groups()
    return fixture.meta.get("train", options)
