"""A sweep: a training for each setting of some keys of the config, and which one scores best.

    SWEEP/sweep.json               the config; data.json: hashes of the data
    SWEEP/trial1, trial2, ...      cross-validations (affect_jax/folds.py), or single runs
    SWEEP/failed.json              why some were given up; without the file they are tried again
    SWEEP/results.csv              a line a trial, written after each
    SWEEP/best.json                config of the best: --config=SWEEP/best.json trains it
    SWEEP/README.md, SWEEP/plots/  the same for people

By default a setting is scored by cross-validation inside the training split, so that the evaluation
split knows nothing of the choice. Finished trials are skipped and the one that was running goes on:
the same command ends what was killed at any moment.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.changes import require_same_sweep
from affect_jax.disk import refused, writing
from affect_jax.folds import Folds, cross_validate, fold_configs, uncut
from affect_jax.members import BEST_FILE, SWEEP_FILE
from affect_jax.run import Run
from affect_jax.scoring import labelled, scores_of
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import better_sign, scored, tasks_from_config
from affect_jax.train import Stopped
from affect_jax.train_run import train_run
from affect_jax.trained_data import require_same_data
from affect_jax.trials import Trial, Values, config_of, ranked, settings
from affect_jax.workdir import Workdir
from data_pipelines.errors import UserError, nearest, shown
from data_pipelines.files import read_json, readable, reason
from data_pipelines.replace_file import replace_json

_log = logging.getLogger(__name__)


class Sweep(Workdir):
    """The folder of a sweep: the config and the data of all its trials."""

    def __init__(self, folder: str | os.PathLike):
        super().__init__(folder, SWEEP_FILE)
        self.failed_file = self.folder / "failed.json"
        self.best_file = self.folder / BEST_FILE

    @property
    def started(self) -> bool:
        """True once any trial has a checkpoint."""
        trials = [path for path in self.folder.glob("trial*") if path.is_dir()]
        return any(Run(path).started or Folds(path).started for path in trials)

    def failed(self) -> dict[str, str]:
        """{trial: why it was given up}."""
        if not self.failed_file.is_file():
            return {}
        about = self.failed_file, "why trials were given up", "Delete it: they are tried again."
        with readable(*about):
            return {str(name): str(why) for name, why in dict(read_json(*about)).items()}


def sweep(config: ConfigDict, folder: Sweep) -> str:
    """Train and score every trial; returns what to print, the best trial as JSON last.

    Raises:
        Stopped: a signal asked for the end; the same call goes on from there.
        UserError: the space, the objective or the data are wrong, or no trial has a score.
    """
    from affect_jax.report import optional, sweep_card

    config = configs.absolute_paths(config)
    config = uncut(config) if config.sweep.folds else config
    plan = settings(config)
    own = {name: _of_trial(config, values) for name, values in plan.items()}
    objective = objective_of(config)
    if config.sweep.folds:
        fold_configs(_of_trial(config, {}))  # what is wrong with folds is so in every trial
    if folder.exists:
        require_same_sweep(folder, config)
    folder.create()
    with writing(folder.folder), folder.lock():
        failed = folder.failed()
        trials = {name: _trial(folder, config, name, plan[name], failed) for name in plan}
        waiting = [name for name, trial in trials.items() if not (trial.scores or trial.failed)]
        if waiting:
            system = systems.build(_of_trial(config, {}))
            _require_labels(config, system, objective)
            require_same_data(system, folder, started=folder.started)
        configs.save(config, folder.config_file)
        for name in waiting:
            said = ", ".join(f"{key} = {shown(value)}" for key, value in plan[name].items())
            _say(f"{name} of {len(plan)}: {said}")
            if why := _attempt(folder, own[name], name, config.sweep.folds):
                _say(f"{name}: given up: {why}")
                failed |= {name: why}
                replace_json(folder.failed_file, failed)
            trials[name] = _trial(folder, config, name, plan[name], failed)
            sweep_card.write_results(folder.folder, [*trials.values()], objective)
        best = ranked(trials.values(), objective, better_sign(objective))
        if not best:
            why = next(iter(failed.values()), f"{objective} was never a number")
            raise UserError(
                f"{folder.folder}: no trial has a score: {why} (With what is wrong mended, delete "
                f"{folder.failed_file.name} there: they are tried again.)"
            )
        configs.save(config_of(config, best[0].values), folder.best_file)
        done = folder.folder, config, [*trials.values()], objective
        with optional(folder.folder / "README.md"):
            sweep_card.write(*done)
        return sweep_card.summary(*done)


def objective_of(config: ConfigDict) -> str:
    """The score that decides: `sweep.objective`, or the first of `monitor` that is a score.

    Raises:
        UserError: it is none, or there is no split to compute it on.
    """
    tasks = scored(tasks_from_config(config))
    known = scores_of(tasks)
    terms = [name for name, _ in config.total.terms]
    known += [config.total.name] if terms and set(terms) <= set(known) else []
    wanted = config.sweep.objective
    if wanted and wanted not in known:
        hint = nearest(wanted, known)
        raise UserError(f"config.sweep.objective: no score that is one number: {wanted!r}. {hint}")
    if not known:
        raise UserError("config.sweep.objective: config.tasks is empty, so nothing is scored.")
    if not config.sweep.folds and not config.data.split:
        raise UserError(
            "config.sweep.folds is false and config.data.split is empty: name the split that "
            "settings are scored on, or score them on folds of the training split."
        )
    return wanted or next((name for name in config.monitor if name in known), known[0])


def _of_trial(config: ConfigDict, values: Values) -> ConfigDict:
    """The config of a trial as it is trained in the sweep."""
    own = config_of(config, values)
    if own.sweep.folds:
        own.folds.official = False
    return own


def _require_labels(config: ConfigDict, system: Supervised, objective: str) -> None:
    """UserError where the split that is scored has no label of the objective's tasks."""
    split = config.data.train_split if config.sweep.folds else config.data.split
    terms = [name for name, _ in config.total.terms] if objective == config.total.name else []
    names = {name.partition("/")[0] for name in terms or [objective]}
    for task in system.tasks:
        if task.name in names and not labelled(system.data.store, task, split):
            raise UserError(
                f"{system.data.store.path}: split {split!r} has no label of {task.name}, so that "
                f"{objective} cannot be scored. Give another --config.sweep.objective."
            )


def _attempt(folder: Sweep, own: ConfigDict, name: str, by_folds: bool) -> str:
    """Train a trial to its end; why it cannot be, or "".

    What concerns all trials, signals and the disk, goes through.
    """
    place = folder.folder / name
    try:
        cross_validate(own, Folds(place)) if by_folds else train_run(own, Run(place, label=name))
    except (Stopped, OSError):
        raise
    except UserError as error:
        if error.__context__ is not None and refused(error.__context__):
            raise
        return str(error)
    except Exception as error:
        _log.exception("%s", name)
        return f"{type(error).__name__}: {reason(error)}"
    return ""


def _trial(
    folder: Sweep, config: ConfigDict, name: str, values: Values, failed: Mapping[str, str]
) -> Trial:
    """A trial with its result, as far as there is one."""
    if name in failed:
        return Trial(name, values, failed=failed[name])
    if config.sweep.folds:
        result = Folds(folder.folder / name).scores() or {"pooled": {}, "std": {}}
        return Trial(name, values, _numbers(result["pooled"]), _numbers(result["std"]))
    finished = Run(folder.folder / name).finished or {"scores": {}}
    return Trial(name, values, _numbers(finished["scores"]))


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    """Those that are one number; of none that is finite JSON has kept null."""
    return {name: value for name, value in scores.items() if isinstance(value, float | int)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
