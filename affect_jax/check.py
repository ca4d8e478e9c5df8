"""Checks before a training: of its config, and of the labels that its splits have."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import jax

from affect_jax import memory
from affect_jax.checkpoint import Checkpoints
from affect_jax.config import epochs_in
from affect_jax.initial import source_of
from affect_jax.optim import paths
from affect_jax.run import Run
from affect_jax.scoring import labelled
from affect_jax.systems.supervised import Supervised
from data_pipelines.errors import UserError, listed, nearest

_log = logging.getLogger(__name__)


def check(system: Supervised, run: Run | None = None) -> None:
    """UserError for what is wrong in a training's config, before anything is written.

    Args:
        run: one that has started, whose newest checkpoint is gone on with.
    """
    config, data = system.config, system.config.data
    # First: what follows traces the model, which takes long.
    source = source_of(config, system.tasks) if run is None else None
    late = [e for e in epochs_in(config.keep_epochs).ends if not 1 <= e <= config.epochs]
    if late:
        raise UserError(
            f"config.keep_epochs: names epoch {max(late)}, the training has {config.epochs}."
        )
    if not system.tasks and not system.aux_losses:
        raise UserError(
            f"config.tasks is empty: name what is predicted. Known: {listed(config.task)}."
        )
    system.data.training_plan(carries=system.carries)
    if data.split:
        system.data.evaluation_plan(system.data.rows(data.split), carries=system.carries)
    names = system.monitored
    for line in doubts(system, names):
        _log.warning("%s", line)
    for key, which in (
        ("checkpoint", config.checkpoint),
        ("folds.checkpoint", config.folds.checkpoint),
    ):
        _require_checkpoint(f"config.{key} = {which!r}", which, names, config.epochs)
    state = jax.eval_shape(system.init)
    trained, _ = system.optimiser.split(state.params)
    if not paths(trained):  # as a run is made of an original's weights
        _log.warning("all parameters are frozen: nothing is trained")
    largest = max(paths(state.params).items(), key=lambda item: item[1].size)
    memory.require(
        memory.size_of(state) + memory.size_of(trained),  # with the gradients
        "config.model",
        f"the parameters ({largest[0]} {largest[1].shape} the largest) and what is kept of each in "
        "training take",
        "Make it smaller.",
    )
    system.programs()
    if run is not None:
        with Checkpoints(run.checkpoints) as checkpoints:
            if found := checkpoints.restore_last(state):
                system.phase(found[1])  # its error, where the state does not fit the schedule
    elif source is not None:
        source.leaves({"params": state.params, "batch_stats": state.batch_stats})


def _require_checkpoint(where: str, which: str, names: tuple[str, ...], epochs: int) -> None:
    """UserError for one that no training leaves: after days of it, that would be late."""
    if which.startswith("epoch:"):
        number = which.removeprefix("epoch:")
        if not (number.isdecimal() and 1 <= int(number) <= epochs):
            raise UserError(f"{where}: the training has epoch:1 to epoch:{epochs}.")
    elif which not in (known := ("best", "last", *names)):
        raise UserError(f"{where}: {nearest(which, known)}")


def doubts(system: Supervised, monitored: Sequence[str]) -> Iterator[str]:
    """Lines on tasks that are not trained, and on monitored scores that mean nothing.

    Args:
        monitored: names of scores and losses, the first of which decides what is best.

    Raises:
        UserError: no task is trained.
    """
    data = system.config.data
    untrained = dict(_untrained(system))
    if system.tasks and len(untrained) == len(system.tasks):
        raise UserError(
            f"{system.data.store.path}: nothing to learn: {'; '.join(untrained.values())}. Name "
            "another --config.data.train_split, or prepare the store with its labels."
        )
    yield from (f"{name} is not trained: {why}" for name, why in untrained.items())
    store = system.data.store
    trained = {*store.split(data.train_split).tolist()}
    scored = sorted({*filter(None, data.split.split("+"))})
    if both := [part for part in scored if trained & {*store.split(part).tolist()}]:
        split = ", ".join(both)
        yield f"split {split!r} is trained on and evaluated: its scores are too good"
    asked = system.config.monitor
    if data.split and asked and not set(asked) & set(monitored):
        yield f"config.monitor: {asked[0]} is no score of this training; {monitored[0]} is taken"
    unlabelled = {
        task.name: f"split {data.split!r} has no label of {task.name}"
        for task in system.tasks
        if data.split and not labelled(system.data.store, task, data.split)
    }
    for i, name in enumerate(monitored):
        loss = name.startswith("loss/")
        without = untrained if loss else unlabelled | untrained
        missing = [task for task in _tasks_of(system, name) if task in without]
        if not missing:
            continue
        # A score that is never there is never the best one; one of a task left alone is chance.
        if not loss and any(task in unlabelled for task in missing):
            means = "is never scored, its best checkpoint is the last"
        else:
            means = "is of a task that is not trained, at least in part"
        chosen = "" if i else "; 'best' is chosen by it"
        yield f"config.monitor: {name} {means} ({without[missing[0]]}){chosen}"


def _untrained(system: Supervised) -> Iterator[tuple[str, str]]:
    """(task, why) of the tasks that no step learns."""
    split = system.config.data.train_split
    for task in system.tasks:
        if not task.weight:
            yield task.name, f"config.task.{task.name}.weight is 0"
        elif not labelled(system.data.store, task, split):
            yield task.name, f"split {split!r} has no label of {task.name}"


def _tasks_of(system: Supervised, score: str) -> list[str]:
    """The tasks that a score or a loss is of."""
    names = [task.name for task in system.tasks]
    if score == "loss/total":
        return []
    if score == system.config.total.name:
        return [term.partition("/")[0] for term, _ in system.config.total.terms]
    first, _, second = score.partition("/")
    return [name for name in (second if first == "loss" else first,) if name in names]
