"""Weights out of a run folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from affect_jax import systems
from affect_jax.checkpoint import last_whole, read_meta, read_raw, steps_in
from affect_jax.config import read
from affect_jax.optim import paths
from affect_jax.run import Run, record_of
from affect_jax.state import merged, of_the_model
from affect_jax.systems.supervised import Supervised
from data_pipelines.errors import UserError, nearest

_log = logging.getLogger(__name__)


def system_of(run: Run, config: ConfigDict) -> Supervised:
    """The system of an existing run: its tasks, and its statistics where the config asks for any.

    Args:
        config: the run's own, or one that differs in what does not change the model.
    """
    statistics = run.read_statistics(config)
    return systems.build(config, tasks=run.read_tasks(), statistics=statistics)


def weights(system: Supervised, run: Run, which: str) -> tuple[int, dict[str, Any]]:
    """(step, model variables) of a checkpoint of the run. Arguments and errors: `fitting_state`."""
    step, raw = fitting_state(system, run, which)
    return step, variables_of(raw)


def fitting_state(system: Supervised, run: Run, which: str) -> tuple[int, dict[str, Any]]:
    """(step, raw state) of a checkpoint of the run, `which` as in `choose_step`.

    Raises:
        UserError: there is none, or the system's model has other parameters.
    """
    step, raw = choose_step(run, which)
    theirs, ours = paths(variables_of(raw)), paths(system.variable_shapes)
    for name in sorted(theirs.keys() | ours.keys()):
        saved, wanted = (getattr(tree.get(name), "shape", "none") for tree in (theirs, ours))
        if saved != wanted:
            raise UserError(
                f"{run.folder}: the shape of {name} is {saved} in its checkpoints, {wanted} in "
                "the model of this config on this store. Keep config.model, and give features of "
                "the widths that it was trained on."
            )
    return step, raw


def choose_step(run: Run, which: str) -> tuple[int, dict[str, Any]]:
    """(step, raw state) of a checkpoint of the run.

    Args:
        which: "best" (of the first monitored score), "last", the name of a monitored score, or
            "epoch:17" (counted from 1) where `config.keep_epochs` has kept it.
    """
    if which.startswith("epoch:"):
        return _of_epoch(run, which)
    seen = -1
    while True:
        newest = last_whole(run.checkpoints)
        if newest is None:
            raise UserError(f"{run.folder}: no usable checkpoint. Train the run first.")
        last, raw = newest
        if which == "last":
            return last, raw
        monitored = read(run.config_file).monitor
        known = [name for name in monitored if name in raw["best_step"]] or list(raw["best_step"])
        name = known[0] if which == "best" else which
        if name not in raw["best_step"]:
            raise UserError(f"checkpoint {which!r}: {nearest(which, ['best', 'last', *known])}")
        best = int(raw["best_step"][name])
        if best == 0:
            _log.warning("%s: %s was never a number: the last step is taken", run.folder, name)
        if best in (0, last):
            return last, raw
        try:
            return best, read_raw(run.checkpoints, best)
        except Exception as error:  # Orbax raises many kinds for broken files
            if last == seen:
                _log.warning("checkpoint %d is broken (%s): taking %d", best, error, last)
                return last, raw
            seen = last  # a training beside us may have found a better one: look again


def _of_epoch(run: Run, which: str) -> tuple[int, dict[str, Any]]:
    """(step, raw state) at the end of an epoch. No other epoch stands in for it."""
    on_disk = steps_in(run.checkpoints)
    step_of = {str(r["epoch"]): r["step"] for r in _records(run, on_disk) if r["step"] in on_disk}
    epoch = which.removeprefix("epoch:")
    if epoch not in step_of:
        raise UserError(
            f"{run.folder}: no checkpoint of epoch {epoch}; it has those of "
            f"{', '.join(step_of) or 'none'}. Train with config.keep_epochs to keep others."
        )
    try:
        return step_of[epoch], read_raw(run.checkpoints, step_of[epoch])
    except Exception as error:  # Orbax raises many kinds for broken files
        text = " ".join(str(error).split())[:200]
        raise UserError(
            f"{run.checkpoints / str(step_of[epoch])}: epoch {epoch} is broken ({text}). Train "
            "again in another --workdir, or leave it out."
        ) from None


def _records(run: Run, steps: Sequence[int]) -> list[dict[str, Any]]:
    """The records of the run, of its newest checkpoint that has them: its log may be damaged."""
    for step in reversed(steps):
        with contextlib.suppress(UserError, TypeError):
            if (log := read_meta(run.checkpoints, step).get("log")) is not None:
                return [record for record in map(record_of, log) if record]
    return run.records()


def variables_of(raw: dict[str, Any]) -> dict[str, Any]:
    """Model variables of a raw state: its moving average where it has one."""
    params = merged(raw["params"], raw.get("ema") or {})
    return of_the_model(params, raw.get("ema_batch_stats") or raw.get("batch_stats"))
