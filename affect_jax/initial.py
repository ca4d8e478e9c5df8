"""Weights that a training starts from: those of another run, or of an original's file."""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from affect_jax.interop import files, rules
from affect_jax.interop.families import family_of
from affect_jax.optim import paths, patterns_of
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from affect_jax.state import State
from affect_jax.tasks import Task
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.paths import user_path

_log = logging.getLogger(__name__)

Leaves = dict[str, dict[str, Any]]  # {collection: {path: leaf}}


@dataclasses.dataclass(frozen=True)
class Source:
    """Another run, or a file of an original's weights, that a training starts from.

    Attributes:
        name: as config.init has it.
        match: patterns of the parameters that are taken, those of config.init.match.
        find: what there is of some wanted leaves -> (where they are from, leaves).
    """

    name: str
    match: tuple[re.Pattern[str], ...]
    find: Callable[[Leaves], tuple[str, Leaves]]

    def leaves(self, like: Mapping[str, Any]) -> tuple[str, Leaves]:
        """(where they are from, {collection: {path: leaf}}) of the parameters that match.

        Args:
            like: {"params": ..., "batch_stats": ...}, trees with shapes and types.

        Raises:
            UserError: nothing in it matches, or what matches has another shape.
        """
        wanted = {
            name: {
                path: leaf
                for path, leaf in paths(tree).items()
                if any(p.fullmatch(path) for p in self.match)
            }
            for name, tree in like.items()
        }
        where, taken = self.find(wanted)
        if not any(taken.values()):
            given = tuple(p.pattern for p in self.match)
            raise UserError(
                f"config.init.match = {given}: no parameter of {self.name} matches. "
                f"{nearest(given[0] if given else '', paths(like['params']))}"
            )
        return where, taken


def source_of(config: ConfigDict, tasks: Sequence[Task]) -> Source | None:
    """The source that `config.init` names, None where it names none.

    All that is known of it without the model's shapes is known here, so that a mistake costs no
    compilation.

    Args:
        tasks: of the model.

    Raises:
        UserError: there is no such run or file, it is damaged, or of another model.
    """
    init = config.init
    if init.run and init.weights:
        raise UserError(
            f"config.init.run = {init.run} and config.init.weights = {init.weights}: a training "
            "starts from one of them; leave the other empty."
        )
    if init.run:
        run = Run(init.run)
        run.require()
        find = functools.partial(_of_run, run)
    elif init.weights:
        path, family = user_path(init.weights), family_of(config.model.name)
        state_dict = family.load(path, config.model)
        try:
            table = family.table(config.model, [task.name for task in tasks], state_dict)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
        find = functools.partial(_of_file, path, table, state_dict)
    else:
        return None
    match = patterns_of("config.init.match", tuple(init.match))
    return Source(init.run or init.weights, tuple(match), find)


def start_from_others(state: State, source: Source | None) -> State:
    """The state with the variables of the source in the place of its own.

    Raises:
        UserError: as `Source.leaves`.
    """
    if source is None:
        return state
    own = {"params": state.params, "batch_stats": state.batch_stats}
    where, taken = source.leaves(own)
    left = [path for name, tree in own.items() for path in paths(tree) if path not in taken[name]]
    _log.info(
        "%d of %d parameters taken from %s%s",
        sum(map(len, taken.values())),
        sum(len(paths(tree)) for tree in own.values()),
        where,
        f"; as they were: {listed(left, 5)}" if left else "",
    )
    new = {
        name: jax.tree.unflatten(
            jax.tree.structure(tree),
            [taken[name].get(path, leaf) for path, leaf in paths(tree).items()],
        )
        for name, tree in own.items()
    }
    ema = _copied(new["params"], state.ema)
    averages = _copied(new["batch_stats"], state.ema_batch_stats)
    return state.replace(**new, ema=ema, ema_batch_stats=averages)


def _copied(tree: Any, like: Any) -> Any:
    """Copies of those leaves of the tree that `like` has, in its structure."""
    leaves = paths(tree)
    return jax.tree.unflatten(
        jax.tree.structure(like), [np.copy(leaves[path]) for path in paths(like)]
    )


def _of_run(run: Run, wanted: Leaves) -> tuple[str, Leaves]:
    """The best checkpoint of a run."""
    step, raw = choose_step(run, "best")
    theirs = {name: paths(tree) for name, tree in variables_of(raw).items()}
    taken: Leaves = {name: {} for name in wanted}
    for name, leaves in wanted.items():
        for path, leaf in leaves.items():
            if path not in theirs.get(name, {}):
                continue
            array = taken[name][path] = np.asarray(theirs[name][path])
            if array.shape != leaf.shape:
                raise UserError(
                    f"{run.folder}: parameter {path} has shape {array.shape}, this model's has "
                    f"{leaf.shape}. Leave it out with --config.init.match."
                )
    return f"{run.folder}, step {step}", taken


def _of_file(
    path: pathlib.Path, table: rules.Table, state_dict: files.StateDict, wanted: Leaves
) -> tuple[str, Leaves]:
    """Weights of the original, by its names."""
    template = {
        name: traverse_util.unflatten_dict(leaves, sep="/") for name, leaves in wanted.items()
    }
    variables, report = rules.to_variables(table, state_dict, template)
    if report.mismatched:
        raise UserError(
            f"{path}: {report.mismatched[0]}. Leave it out with --config.init.match, or change "
            "config.model."
        )
    where = str(path)
    if report.unknown:
        where += f" ({len(report.unknown)} of its tensors left out: {listed(report.unknown, 3)})"
    return where, {name: paths(tree) for name, tree in variables.items()}
