"""Weights that a training starts from: those of another run, or of an original's file."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from affect_jax.interop import rules
from affect_jax.interop.families import family_of
from affect_jax.optim import paths, patterns_of
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from affect_jax.state import State
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.paths import user_path

_log = logging.getLogger(__name__)

Leaves = dict[str, dict[str, Any]]  # {collection: {path: leaf}}


def start_from_others(state: State, config: ConfigDict, tasks: Sequence[str]) -> State:
    """The state with the variables that `config.init` names in the place of its own.

    Raises:
        UserError: as `initial`.
    """
    if not (config.init.run or config.init.weights):
        return state
    own = {"params": state.params, "batch_stats": state.batch_stats}
    where, taken = initial(config, tasks, own)
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


def initial(
    config: ConfigDict, tasks: Sequence[str], like: Mapping[str, Any]
) -> tuple[str, Leaves]:
    """(where they are from, {collection: {path: leaf}}) by `config.init`, which names something.

    Args:
        tasks: of the model, by name.
        like: {"params": ..., "batch_stats": ...}, trees with shapes and types.

    Raises:
        UserError: there is no such run or file, nothing in it matches, or what matches has another
            shape.
    """
    init = config.init
    if init.run and init.weights:
        raise UserError(
            f"config.init.run = {init.run} and config.init.weights = {init.weights}: a training "
            "starts from one of them; leave the other empty."
        )
    chosen = patterns_of("config.init.match", tuple(init.match))
    wanted = {
        name: {
            path: leaf
            for path, leaf in paths(tree).items()
            if any(p.fullmatch(path) for p in chosen)
        }
        for name, tree in like.items()
    }
    source = init.run or init.weights
    where, taken = _of_run(init.run, wanted) if init.run else _of_file(config, tasks, wanted)
    if not any(taken.values()):
        raise UserError(
            f"config.init.match = {tuple(init.match)}: no parameter of {source} matches. "
            f"{nearest(init.match[0] if init.match else '', paths(like['params']))}"
        )
    return where, taken


def _of_run(folder: str, wanted: Leaves) -> tuple[str, Leaves]:
    """The best checkpoint of a run."""
    run = Run(folder)
    run.require()
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
                    f"{folder}: parameter {path} has shape {array.shape}, this model's has "
                    f"{leaf.shape}. Leave it out with --config.init.match."
                )
    return f"{folder}, step {step}", taken


def _of_file(config: ConfigDict, tasks: Sequence[str], wanted: Leaves) -> tuple[str, Leaves]:
    """Weights of the original, by its names."""
    path, family = user_path(config.init.weights), family_of(config.model.name)
    state_dict = family.load(path, config.model)
    template = {
        name: traverse_util.unflatten_dict(leaves, sep="/") for name, leaves in wanted.items()
    }
    try:
        table = family.table(config.model, tasks, state_dict)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
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
