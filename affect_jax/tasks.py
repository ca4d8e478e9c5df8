"""Tasks: what is predicted, trained with which loss and scored with which metrics.

A config lists its tasks by name, in order, and defines each as plain values:

    config.tasks = ("valence", "expression")
    config.task.valence = dict(kind="values", size=1, loss="ccc", metrics=("ccc", "rmse"))
    config.task.expression = dict(kind="classes", size=8, names=("Neutral", ...), loss="ce",
                                  metrics=("f1", "confusion"), weight=0.35)

Kinds, with the shapes of raw predictions and of labels (a clip task has no T):

    values   [B, T, K] float          [B, T, K] float
    classes  [B, T, C] logits         [B, T] int32, numbers into `names`
    labels   [B, T, K] logits         [B, T, K], 0 or 1: several binary ones
    bins     [B, T, K, C] logits      [B, T, K] float, as of values: affect_jax.bins

The task table goes into the run folder (tasks.json), so that the order of classes never depends
on a data file.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.bins import Table, assign, expectation
from affect_jax.config import names_in, require_kind
from affect_jax.losses import LOSSES, by_dimension, terms_of
from affect_jax.metrics import METRICS
from affect_jax.weighting import rule
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.files import readable

# name -> function of raw predictions and the task, and the kinds it decodes. The first of a kind is
# its default.
DECODERS = {
    "identity": (lambda raw, task: raw, ("values",)),
    "argmax": (lambda raw, task: raw.argmax(-1).astype(np.int32), ("classes",)),
    # Logit >= 0 is probability >= 1/2.
    "threshold": (lambda raw, task: (raw >= 0).astype(np.int8), ("labels",)),
    "expectation": (lambda raw, task: expectation(raw, task.centres), ("bins",)),
}
KINDS = ("values", "classes", "labels", "bins")
# Names that a task may not have: keys of the parameters beside the heads, and of scores.
RESERVED = ("aux", "encoder", "feature_norm", "joint", "taught", "weighting")


@dataclasses.dataclass(frozen=True)
class Task:
    """One task. Plain values only: it is compared, hashed and written as JSON.

    Attributes:
        name: key of its predictions, labels, head and scores.
        kind: "values", "classes", "labels" or "bins".
        size: number of values, classes or labels; for bins the number K of values.
        names: of the classes, labels or values, in order; () for none.
        loss: name in `losses.LOSSES`, or a sum of several with coefficients ("ccc+0.1*mse").
        metrics: names in `metrics.METRICS`.
        decode: name in DECODERS.
        weight: multiplied into the loss before the weighting combines the tasks.
        weighting: rule with its options (weighting.rule) by which the losses of the single
            dimensions become the task's; "": the loss of all together.
        label_smoothing: share of the label that is spread over all classes, or both answers.
        train_only: the task helps to train the others: it is not scored and not written, and only
            the training split needs its labels.
        centres, edges: of bins, for each of the K values: what each of C bins stands for, and the
            C - 1 borders between them, rising (bins.uniform_bins).
    """

    name: str
    kind: str
    size: int
    names: tuple[str, ...] = ()
    loss: str = ""
    metrics: tuple[str, ...] = ()
    decode: str = ""
    weight: float = 1.0
    weighting: str = ""
    label_smoothing: float = 0.0
    train_only: bool = False
    centres: Table = ()
    edges: Table = ()

    @property
    def raw_shape(self) -> tuple[int, ...]:
        """Shape of the raw predictions of one frame: (size,), or (size, C) for bins."""
        return (self.size, len(self.centres[0])) if self.kind == "bins" else (self.size,)

    @property
    def label_kind(self) -> str:
        """How a store calls labels of this kind: those of bins are values."""
        return "values" if self.kind == "bins" else self.kind


def tasks_from_config(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """The tasks of a config, checked, in the order of `config.tasks`.

    Args:
        config: with `tasks`, a tuple of names (() for none), and `task`, {name: {field: value}}.

    Raises:
        UserError: names the key that is wrong, and the nearest right value.
    """
    names = names_in("config.tasks", config["tasks"], "config.task", config["task"])
    return tuple(_task(name, config["task"][name], f"config.task.{name}") for name in names)


def to_json(tasks: Sequence[Task]) -> str:
    """The text of tasks.json, a field a line; `from_json` gives equal tasks back."""
    tables = []
    for task in tasks:
        fields = dataclasses.asdict(task).items()
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fields)
        tables.append(f" {{\n{lines}\n }}")
    return "[\n" + ",\n".join(tables) + "\n]\n"


def from_json(text: str, where: str = "tasks.json") -> tuple[Task, ...]:
    """The tasks that `to_json` wrote. UserError, beginning with `where`, for any other text."""
    with readable(where, "a task table as a run writes it"):
        return tuple(
            _task(e["name"], {k: e[k] for k in e if k != "name"}, f"{where}: {e['name']}")
            for e in json.loads(text)
        )


def decode(task: Task, raw: np.ndarray) -> np.ndarray:
    """Predictions as they are scored and submitted, from raw ones [..., *task.raw_shape].

    Returns:
        values: as they are; classes: int32 [...], the first of equal logits; labels: int8
        [..., K], 1 where the probability is at least 1/2; bins: [..., K], the expectation.
    """
    raw, shape = np.asarray(raw), task.raw_shape
    if raw.shape[-len(shape) :] != shape:
        expected = ", ".join(map(str, shape))
        raise ValueError(f"task {task.name}: raw predictions [..., {expected}], got {raw.shape}")
    return DECODERS[task.decode or _default_decoder(task.kind)][0](raw, task)


def scored(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks that are scored and written: all but those of training alone."""
    return tuple(task for task in tasks if not task.train_only)


def loss(
    task: Task, raw: jax.Array, target: jax.Array, mask: jax.Array, *, dimensions: bool = False
) -> jax.Array:
    """The loss of a task before its weight: a scalar over the whole global batch.

    With `dimensions` that of each dimension alone, [size].

    Of bins, losses of values (mse, ccc) see the expectation and the label, losses of classes (ce)
    the logits and the label's bin.

    Args:
        raw: predictions [..., *task.raw_shape].
        target, mask: labels [...] or [..., K] and where they exist.
    """
    given = {task.kind: (raw, target)}
    if task.kind == "bins":
        # Before the softmax: masked predictions may be NaN, and so would their gradient.
        raw = jnp.where(mask[..., None], raw.astype(jnp.float32), 0)
        given["values"] = expectation(raw, task.centres), target
        given["classes"] = raw, assign(target, task.edges)
    options = {"smoothing": task.label_smoothing} if task.label_smoothing else {}
    total = 0
    for coefficient, name in terms_of(task.loss):
        arrays = *given[LOSSES[name].kinds[0]], mask
        one = functools.partial(LOSSES[name], **options)
        value = by_dimension(one, *arrays) if dimensions else one(*arrays)
        total = total + coefficient * value
    return total


def better_sign(name: str) -> int:
    """+1 if a higher value of the score `name` is better, -1 if a lower one is.

    A score is named after its metric, alone ("rmse") or with its task ("valence/ccc"); a loss has a
    part "loss" ("loss/valence"), begins with "aux" or is named as in LOSSES. Any other name is that
    of a total, where higher is better: terms of it that should be low have negative weights.
    """
    parts = name.split("/")
    if "loss" in parts or parts[0] == "aux":
        return -1
    if parts[-1] in METRICS:
        if not METRICS[parts[-1]].sign:
            raise UserError(f"{name!r} is an array and has no best value: take another score")
        return METRICS[parts[-1]].sign
    return -1 if name in LOSSES else 1


def _task(name: str, entry: Mapping[str, Any], where: str) -> Task:
    """One checked task. `where` is how the user finds the entry."""
    fields = [field.name for field in dataclasses.fields(Task) if field.name != "name"]
    for key in entry:
        if key not in fields:
            raise UserError(f"{where}.{key}: no such field. " + nearest(key, fields))
    for key in ("kind", "size"):
        if key not in entry:
            raise UserError(f"{where}.{key} is missing")
    # Its predictions are a file of that name.
    long = isinstance(name, str) and len(name.encode(errors="replace")) > 200
    if not isinstance(name, str) or not name.isidentifier() or name in RESERVED or long:
        raise UserError(
            f"{where[:120]}: a task cannot be called {shown(name)}; take letters, digits and _"
        )
    kinds = typing.get_type_hints(Task)
    for key, value in entry.items():
        words = key in ("names", "metrics") and isinstance(value, str)
        require_kind(f"{where}.{key}", (value,) if words else value, kinds[key])
    kind = entry["kind"]
    if kind not in KINDS:
        raise UserError(f"{where}.kind = {kind!r}: no such kind. " + nearest(kind, KINDS))
    task = Task(
        name=name,
        kind=kind,
        size=entry["size"],
        names=_words(entry.get("names", ())),
        loss=entry.get("loss", ""),
        metrics=_words(entry.get("metrics", ())),
        decode=entry.get("decode", "") or _default_decoder(kind),
        weight=entry.get("weight", 1.0),
        weighting=entry.get("weighting", ""),
        label_smoothing=entry.get("label_smoothing", 0.0),
        train_only=entry.get("train_only", False),
        centres=_rows(entry.get("centres", ())),
        edges=_rows(entry.get("edges", ())),
    )
    _check_numbers(task, where)
    _check_bins(task, where)
    _check_loss(task, where)
    for metric in task.metrics:
        _check_choice(f"{where}.metrics", metric, {k: v.states for k, v in METRICS.items()}, kind)
    _check_choice(f"{where}.decode", task.decode, {k: v[1] for k, v in DECODERS.items()}, kind)
    return task


def _check_numbers(task: Task, where: str) -> None:
    least = 2 if task.kind == "classes" else 1
    if not isinstance(task.size, int) or task.size < least:
        raise UserError(f"{where}.size = {task.size!r}: {task.kind} need a number >= {least}")
    if task.names and len(task.names) != task.size:
        raise UserError(
            f"{where}.size = {task.size}, but {where}.names lists {len(task.names)} of them"
        )
    if len(set(task.names)) < len(task.names):
        raise UserError(f"{where}.names lists a name twice: {listed(task.names)}")
    weight = task.weight
    if not (isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0):
        raise UserError(f"{where}.weight = {weight!r}: a number >= 0 expected")


def _check_loss(task: Task, where: str) -> None:
    try:
        terms = terms_of(task.loss)
    except ValueError as error:
        raise UserError(
            f"{where}.loss = {shown(task.loss)}: {error}. Expected names of losses joined by +, "
            "each after a number and * where it has another weight than 1: ccc+0.1*mse."
        ) from None
    for _, name in terms:
        _check_choice(f"{where}.loss", name, {k: v.kinds for k, v in LOSSES.items()}, task.kind)
    smoothing = task.label_smoothing
    if not 0 <= smoothing < 1:
        raise UserError(f"{where}.label_smoothing = {smoothing}: a number from 0 to below 1.")
    if smoothing and task.kind not in ("classes", "labels"):
        raise UserError(
            f"{where}.label_smoothing: only classes and labels have it, not {task.kind}"
        )
    if task.weighting:
        rule(f"{where}.weighting", task.weighting)
        if task.kind == "classes":
            raise UserError(f"{where}.weighting: classes have one loss, not one a dimension.")


def _check_bins(task: Task, where: str) -> None:
    for key, table in (("centres", task.centres), ("edges", task.edges)):
        if table and task.kind != "bins":
            raise UserError(f"{where}.{key}: only a task of kind 'bins' has them, not {task.kind}")
        if task.kind == "bins" and len(table) != task.size:
            raise UserError(
                f"{where}.{key}: a row for each of {task.size} values, got {len(table)}"
            )
        if len({len(row) for row in table}) > 1:
            raise UserError(f"{where}.{key}: the rows differ in length")
        if any(a >= b for row in table for a, b in itertools.pairwise(row)):
            raise UserError(f"{where}.{key}: the numbers of a row must rise")
    if task.kind == "bins":
        bins, borders = len(task.centres[0]), len(task.edges[0])
        if bins < 2 or borders != bins - 1:
            raise UserError(f"{where}.edges: {bins} centres need {bins - 1} edges, got {borders}")


def _check_choice(where: str, name: str, known: Mapping[str, Iterable[str]], kind: str) -> None:
    """`name` is known, and one for tasks of this kind."""
    fitting = [choice for choice, kinds in known.items() if kind in kinds]
    if name not in fitting:
        problem = f"not for {kind}" if name in known else "no such name"
        raise UserError(f"{where} = {name!r}: {problem}. " + nearest(name, fitting))


def _words(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _rows(value: Iterable[Iterable[float]]) -> Table:
    return tuple(tuple(float(x) for x in row) for row in value)


def _default_decoder(kind: str) -> str:
    return next(name for name, (_, kinds) in DECODERS.items() if kind in kinds)
