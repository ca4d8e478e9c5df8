"""Objective of a training: from the predictions and labels of a batch to one number."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.config import require_kind
from affect_jax.tasks import Task, loss
from affect_jax.weighting import rule
from data_pipelines.errors import UserError, nearest

Arrays = dict[str, jax.Array]
_KEY = "config.weighting"
_INSIDE = "inside"  # beside the parameters and the state of the rule across tasks


def task_losses(
    tasks: Sequence[Task], predictions: Mapping[str, jax.Array], batch: Mapping[str, Any]
) -> tuple[Arrays, Arrays]:
    """({task: loss before its weight}, {task: number of labels}) over the global batch."""
    losses, counts = {}, {}
    for task in tasks:
        target, mask = batch["labels"][task.name], batch["label_mask"][task.name]
        losses[task.name] = loss(task, predictions[task.name], target, mask)
        counts[task.name] = mask.sum(dtype=jnp.int32).astype(jnp.float32)
    return losses, counts


@dataclasses.dataclass(frozen=True)
class Objective:
    """The tasks' losses, times their weights, combined by a weighting; plus what the model adds.

    A task with a weighting of its own has as its loss what that rule makes of the losses of its
    dimensions. Pure: parameters and states come in and go out.

    Attributes:
        tasks: what is predicted.
        weighting: rule across the tasks, with its options (weighting.rule).
        aux: {name in Output.aux["losses"]: weight}; 1 where it is not named.
    """

    tasks: tuple[Task, ...]
    weighting: str = "fixed"
    aux: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        rule(_KEY, self.weighting)
        for name, weight in self.aux.items():
            require_kind(f"config.aux.{name}", weight, float)
            if weight < 0:
                raise UserError(f"config.aux.{name} = {weight}: expected a number from 0 on.")

    def require_aux(self, given: Iterable[str]) -> None:
        """UserError for a weight of a loss that the model does not give.

        Raises:
            ValueError: a loss of the model is called as a task or the total is.
        """
        given = list(given)
        taken = {"total", *(task.name for task in self.tasks)}.intersection(given)
        if taken:
            raise ValueError(f"Output.aux['losses'] has {sorted(taken)}, names of other losses")
        for name in self.aux:
            if name not in given:
                hint = nearest(name, given) or "It gives none."
                raise UserError(f"config.aux.{name}: the model gives no loss of that name. {hint}")

    def init(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(params, state) of the weightings before the first step, {} where they have none.

        params is {name: {task: scalar}, "inside": {task: {name: [size]}}}; the state has the rule's
        own form, and "inside" as well.
        """
        params, state = rule(_KEY, self.weighting).init(len(self.tasks))
        params = {
            key: {task.name: x[i] for i, task in enumerate(self.tasks)} for key, x in params.items()
        }
        inside = {t.name: rule(t.name, t.weighting).init(t.size) for t in self.tasks if t.weighting}
        of_params, of_state = ({name: x[i] for name, x in inside.items()} for i in (0, 1))
        return _joined(params, of_params), _joined(state, of_state)

    def __call__(
        self,
        params: Mapping[str, Any],
        state: Mapping[str, Any],
        output: Any,
        batch: Any,
        epoch: Any,
    ) -> tuple[jax.Array, dict[str, Any], tuple[Arrays, Arrays]]:
        """(total, next state, logs) of one batch.

        Args:
            params, state: of the weightings, as `init` makes them.
            output: models.Output.
            batch: with labels and label_mask.
            epoch: 0-based, with the fraction done.

        Returns:
            logs: ({name: loss before any weighting}, {name: labels that it is a mean of, or 1}) of
            the tasks, the model's own losses and "total".
        """
        losses, counts = task_losses(self.tasks, output.predictions, batch)
        weighted, inside = [], {}
        for task in self.tasks:
            value = losses[task.name]
            if task.weighting:
                value, inside[task.name] = self._inside(task, params, state, output, batch, epoch)
            weighted.append(task.weight * value)
        labelled = [task.weight * counts[task.name] > 0 for task in self.tasks]
        names = [task.name for task in self.tasks]
        own = {key: jnp.array([x[name] for name in names]) for key, x in _own(params).items()}
        total, following = rule(_KEY, self.weighting).combine(
            own, _own(state), jnp.array(weighted), jnp.array(labelled), epoch
        )
        for name, value in output.aux.get("losses", {}).items():
            losses[name], counts[name] = value, jnp.float32(1)
            weight = self.aux.get(name, 1.0)
            total = total + weight * value if weight else total
        losses["total"], counts["total"] = total, jnp.float32(1)
        return total, _joined(following, inside), (losses, counts)

    def _inside(
        self, task: Task, params: Any, state: Any, output: Any, batch: Any, epoch: Any
    ) -> tuple[jax.Array, Mapping[str, Any]]:
        """(loss of a task by its own rule, next state of that rule)."""
        target, mask = batch["labels"][task.name], batch["label_mask"][task.name]
        values = loss(task, output.predictions[task.name], target, mask, dimensions=True)
        labelled = mask.any(tuple(range(mask.ndim - 1)))
        own = (tree.get(_INSIDE, {}).get(task.name, {}) for tree in (params, state))
        return rule(task.name, task.weighting).combine(*own, values, labelled, epoch)


def _own(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters or state of the rule across tasks."""
    return {key: x for key, x in tree.items() if key != _INSIDE}


def _joined(own: Mapping[str, Any], inside: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the rule across tasks and of the rules inside them, where these have any."""
    inside = {name: x for name, x in inside.items() if x}
    return {**own, **({_INSIDE: inside} if inside else {})}


def aux_sums(output: Any, batch: Mapping[str, Any]) -> dict[str, Arrays]:
    """{score: {"sum", "count"}} of the model's own losses and means in one batch of an evaluation.

    A loss is a mean over the batch. It counts by the frames of the rows: filling and padding count
    nothing. Its score is "aux/NAME", that of a mean is called as the mean.
    """
    count = batch["mask"].sum(dtype=jnp.int32).astype(jnp.float32)
    losses = output.aux.get("losses", {})
    # A mean over no frame at all may be NaN.
    sums = {name: jnp.where(count > 0, count * value, 0) for name, value in losses.items()}
    own = {f"aux/{name}": {"sum": x, "count": count} for name, x in sums.items()}
    return own | output.aux.get("means", {})


class AuxMeans:
    """Losses and means of the model's own over a split, from the `aux_sums` of its batches."""

    def __init__(self) -> None:
        self._sums: dict[str, np.ndarray] = {}

    def add(self, sums: Mapping[str, Mapping[str, Any]]) -> None:
        """One batch more."""
        for name, x in sums.items():
            now = np.array([x["sum"], x["count"]], np.float64)
            self._sums[name] = self._sums.get(name, 0) + now

    def scores(self) -> dict[str, float]:
        """{score: mean}."""
        return {name: float(x / max(n, 1)) for name, (x, n) in self._sums.items()}
