"""Cross-validation: a run for each fold, trained on all others, and what they score together.

    RUNS/folds.json, tasks.json    the config, the task table; data.json: hashes of the data
    RUNS/fold1, fold2, ...         ordinary runs: --mode=evaluate and --mode=predict work on each
    RUNS/predictions/<split>/      of every track by the run that has not seen it, and scores.json
    RUNS/scores.json               each fold's, mean and deviation over folds, pooled over frames
    RUNS/README.md, RUNS/plots/    the same for people

The groups (videos) of the training split are dealt into `folds.count` folds (data_pipelines/
folds.py); the evaluation split is one more with `folds.official`, as in the 6-fold protocol of
ABAW4 (arXiv 2207.09373, section 4). Finished folds are skipped and the one that was running goes
on, so the same command ends what was killed at any moment.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.changes import require_same_folds
from affect_jax.check import check
from affect_jax.disk import writing
from affect_jax.members import FOLDS_FILE
from affect_jax.padding import settled
from affect_jax.predict import Predictor
from affect_jax.prediction_files import write_split
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.scoring import Total, score
from affect_jax.tasks import scored
from affect_jax.train_run import train_run
from affect_jax.trained_data import require_same_data
from affect_jax.workdir import Workdir
from data_pipelines import folds
from data_pipelines.errors import UserError, listed
from data_pipelines.files import read_json, readable
from data_pipelines.join import open_store
from data_pipelines.replace_file import replace_json
from data_pipelines.replace_folder import replace_folder
from data_pipelines.trained_on import seen

_log = logging.getLogger(__name__)


class Folds(Workdir):
    """The folder of a cross-validation: the config, task table and data of all its folds."""

    def __init__(self, folder: str | os.PathLike):
        super().__init__(folder, FOLDS_FILE)
        self.scores_file = self.folder / "scores.json"  # written last: all is done

    @property
    def started(self) -> bool:
        """True once any fold has a checkpoint."""
        return any(self.run(path.name).started for path in self.folder.glob("fold*"))

    def scores(self) -> dict[str, Any] | None:
        """The content of scores.json; None before the end, and where it is damaged."""
        if not self.scores_file.is_file():
            return None
        try:
            about = self.scores_file, "what finished folds write", "It is written again."
            with readable(*about):
                scores = read_json(*about)
                for key in ("folds", "mean", "std", "pooled"):
                    dict(scores[key])
                list(scores["marks"]), str(scores["checkpoint"])
                return scores
        except UserError as error:
            _log.warning("%s", error)
            return None

    def run(self, name: str) -> Run:
        """The run of one fold."""
        return Run(self.folder / name, label=name)


def cross_validate(config: ConfigDict, folder: Folds) -> str:
    """Train and score every fold; returns what to print, the pooled scores as JSON last.

    Raises:
        Stopped: a signal asked for the end; the same call goes on from there.
    """
    from affect_jax.report import folds_card, optional

    config = uncut(settled(configs.absolute_paths(config), folder))
    plan, store = fold_configs(config), open_store(config.data.root)
    folder.create()
    with writing(folder.folder), folder.lock():
        changes = require_same_folds(folder, config) if folder.exists else []
        whole = folder.scores() and all(folder.run(name).finished for name in plan)
        if changes or not whole:
            first = systems.build(next(iter(plan.values())))
            if not folder.exists:
                _require_rows(plan)
                check(first)
            # Here too: folds that are finished are not looked at again.
            require_same_data(first, folder, started=folder.started)
            folder.scores_file.unlink(missing_ok=True)
            configs.save(config, folder.config_file)
            marks = _marks(config)
            for i, (name, own) in enumerate(plan.items()):
                _say(f"{name}, {i + 1} of {len(plan)}: trained on {own.data.train_split}")
                train_run(own, folder.run(name))
            scores = score_folds(config, folder, plan) | {"marks": marks}
            with optional(folder.folder / "README.md"):
                folds_card.write(folder, config, store, scores)
            replace_json(folder.scores_file, scores)
        return folds_card.summary(folder, store, folder.scores())


def uncut(config: ConfigDict) -> ConfigDict:
    """The config that is trained on all of the split that it has cut, if any, and scores none.

    Raises:
        UserError: it asks for an official split beside the folds, where `data.split` is one.
    """
    c = config.folds
    if not c.cut:
        return config
    if c.official:
        raise UserError(
            f"config.folds.cut = {c.cut!r}: this is the config of one fold. Give --mode=folds the "
            "config that the folds are made from; or, for folds of that split alone, "
            "--config.folds.official=false."
        )
    own = config.copy_and_resolve_references()
    own.data.train_split, own.data.split, own.folds.cut = c.cut, "", ""
    return own


def fold_configs(config: ConfigDict) -> dict[str, ConfigDict]:
    """{fold: the config of its run}: `data.split` is the fold, `data.train_split` all others.

    Raises:
        UserError: too few groups, or an official split that is none.
    """
    config = uncut(config)
    c, data = config.folds, config.data
    if c.count < 2:
        raise UserError(f"config.folds.count = {c.count}: expected at least 2.")
    store = open_store(data.root)
    groups = {store.tracks[i].group for i in store.split(data.train_split)}
    if len(groups) < c.count:
        raise UserError(
            f"{store.path}: split {data.train_split!r} has {len(groups)} groups (videos), too few "
            f"for config.folds.count = {c.count}."
        )
    held_out = {name: name for name in folds.names(c.count)}
    if c.official:
        if not data.split:
            raise UserError(
                "config.folds.official: config.data.split is empty. Name the split that is the "
                "last fold, or give --config.folds.official=false."
            )
        both = sorted(groups & {store.tracks[i].group for i in store.split(data.split)})
        if both:
            raise UserError(
                f"{store.path}: group {both[0]!r} is in {data.train_split!r} and in "
                f"{data.split!r}, so folds of both would share it. Give "
                "--config.folds.official=false."
            )
        held_out[f"fold{c.count + 1}"] = data.split
    plan = {}
    for name, split in held_out.items():
        own = config.copy_and_resolve_references()
        own.data.train_split = "+".join(other for other in held_out.values() if other != split)
        own.data.split, own.folds.cut = split, data.train_split
        plan[name] = own
    return plan


def score_folds(
    config: ConfigDict, folder: Folds, plan: Mapping[str, ConfigDict]
) -> dict[str, Any]:
    """Predict every fold by its own run with `folds.checkpoint`, write and score the predictions.

    Returns:
        checkpoint; folds {name: {split, step, scores, chosen}}, where `chosen` holds the scores at
        `config.checkpoint`; mean and std {score: over the folds that have it, two at least};
        pooled {score: over all frames of the split that was cut}, a concordance of all frames
        joined being no mean over folds.
    """
    by_fold: dict[str, Any] = {}
    store = open_store(config.data.root)
    tasks = folder.run(next(iter(plan))).read_tasks()
    folder.write_tasks(tasks)
    tasks = scored(tasks)
    total = Total.of(config)

    def held_out(split: str) -> Iterator[tuple[int, Any]]:
        for name, own in plan.items():
            if _whole(config, own) != split:
                continue
            _say(f"{name}: predicting {own.data.split}")
            run = folder.run(name)
            system = system_of(run, own)
            step, variables = weights(system, run, config.folds.checkpoint)
            tracks = list(Predictor(system, own.data.split).tracks(variables))
            by_fold[name] = {
                "split": own.data.split,
                "step": step,
                "scores": total.added_to(score(tasks, store, tracks)),
                "chosen": run.finished,
            }
            yield from tracks

    pooled = {}
    for split in dict.fromkeys(_whole(config, own) for own in plan.values()):
        place = folder.predictions / split
        with replace_folder(place) as new:
            tracks = write_split(new, tasks, store, store.split(split), held_out(split))
            pooled[split] = total.added_to(score(tasks, store, tracks))
            replace_json(new / "scores.json", pooled[split])
    table = over_folds([fold["scores"] for fold in by_fold.values()])
    return {
        "checkpoint": config.folds.checkpoint,
        "folds": by_fold,
        "mean": {n: float(np.mean(values)) for n, values in table.items()},
        "std": {n: float(np.std(values, ddof=1)) for n, values in table.items()},
        "pooled": pooled[config.data.train_split],
    }


def over_folds(every: Iterable[Mapping[str, Any]]) -> dict[str, list[float]]:
    """{score: of the folds that have it}, numbers alone, of two folds at least: a split may lack
    labels."""
    table: dict[str, list[float]] = {}
    for scores in every:
        for name, value in scores.items():
            if isinstance(value, float):
                table.setdefault(name, []).append(value)
    return {name: values for name, values in table.items() if len(values) > 1}


def _whole(config: ConfigDict, own: ConfigDict) -> str:
    """The split that a fold is of: the one that was cut, or the official one."""
    return own.data.split if own.data.split == config.data.split else config.data.train_split


def _require_rows(plan: Mapping[str, ConfigDict]) -> None:
    """UserError where `data.keep` leaves a fold nothing to train on."""
    for name, own in plan.items():
        if own.data.keep:
            try:
                _ = systems.build(own).data.training_rows
            except UserError as error:
                raise UserError(f"{name}: {error}") from None


def _marks(config: ConfigDict) -> list[str]:
    """A line for the features that have seen the same labels of a fold that they are scored on."""
    store, features = open_store(config.data.root), config.model.features
    lines = []
    for split in (config.data.train_split, config.data.split)[: 1 + config.folds.official]:
        alike: dict[tuple[str, str], list[str]] = {}
        for name, tasks in seen(store, features, split, config.tasks).items():
            both = ", ".join(store.features[name].trained_on), ", ".join(tasks)
            alike.setdefault(both, []).append(repr(name))
        for (trained_on, tasks), names in alike.items():
            what, were, them = f"extractor of feature {names[0]}", "was", "it"
            if len(names) > 1:
                what, were, them = f"extractors of features {listed(names)}", "were", "them"
            lines.append(
                f"the {what} {were} trained on {trained_on}: scores of {tasks} on {split} are too "
                f"good. Leave {them} out with --config.model.features."
            )
    for line in lines:
        _log.warning(line)
    return lines


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
