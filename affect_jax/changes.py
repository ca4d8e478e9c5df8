"""Changes of the config of a run that has begun: which may be made, and which are refused."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from affect_jax.config import differences, read
from data_pipelines.errors import UserError

# Keys that a config file may change where the run's own config would be taken without one.
OF_ITS_OWN = ("name", "epochs")
# Another value of these makes other folds.
OF_FOLDS = (
    "data.root",
    "data.train_split",
    "data.split",
    "folds.count",
    "folds.seed",
    "folds.official",
)


def require_same_file(run: Any, config: ConfigDict) -> None:
    """UserError where the config of a file is not what the run was started with."""
    changes = [c for c in differences(read(run.config_file), config) if c[0] not in OF_ITS_OWN]
    if not changes:
        return
    key, old, new = changes[0]
    more = f" (and {len(changes) - 1} more keys)" if len(changes) > 1 else ""
    raise UserError(
        f"{run.folder}: was started with {key} = {old!r}, now it is {new!r}{more}. Give "
        "another --workdir, or leave --config out to go on with the run's own config."
    )


def require_same_past(run: Any, config: ConfigDict) -> None:
    """UserError where a run that has begun gets other epochs, and its past would be another."""
    from affect_jax.optim import same_rates  # --help needs no jax

    old = read(run.config_file).epochs
    if run.started and not same_rates(config.optim, old, config.epochs):
        groups = ", or that of a group," if config.optim.groups else ""
        raise UserError(
            f"{run.folder}: was started with epochs = {old}, now it is {config.epochs}: with "
            f"config.optim.schedule = {config.optim.schedule!r}{groups} the rate so far would "
            f"be another. Give another --workdir; --config.init.run={run.folder} starts from these "
            "weights."
        )


def require_same_folds(folder: Any, config: ConfigDict) -> list[tuple[str, Any, Any]]:
    """All (key, old, new) that differ; UserError for one that makes other folds."""
    changes = differences(read(folder.config_file), config)
    for key, old, new in changes:
        if key in OF_FOLDS:
            raise UserError(
                f"{folder.folder}: was started with {key} = {old!r}, now it is {new!r}: other "
                "folds. Give another --workdir."
            )
    return changes


def require_same_sweep(folder: Any, config: ConfigDict) -> None:
    """UserError where another config would make other trials than those that there are."""
    for key, old, new in differences(read(folder.config_file), config):
        if key not in ("name", "sweep.trials"):  # of more trials, these are the first ones
            raise UserError(
                f"{folder.folder}: was started with {key} = {old!r}, now it is {new!r}: other "
                "trials. Give another --workdir."
            )


def require_same_tasks(run: Any, own: ConfigDict, config: ConfigDict) -> None:
    """UserError where a run is to predict other tasks than it was trained on, by its config."""
    for key, _, new in differences(own, config):
        if key == "tasks" or key.startswith("task."):
            raise UserError(
                f"--config.{key}={new}: what {run.folder} predicts is fixed since its training. "
                "Leave it out."
            )
