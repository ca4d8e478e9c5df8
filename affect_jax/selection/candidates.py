"""Training rows of a run, with their labels and what is predicted for them."""

from __future__ import annotations

import functools
import pathlib

import numpy as np
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.data import Data
from affect_jax.members import FOLDS_FILE, all_folds
from affect_jax.predict import Predictor
from affect_jax.prediction_files import Predictions
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.selection.quality import right_rows
from affect_jax.selection_files import frames_of, labels_of
from affect_jax.tasks import Task, scored
from affect_jax.workdir import Workdir
from data_pipelines.errors import UserError, listed
from data_pipelines.keep import kept_rows
from data_pipelines.noise import CLEAN, KIND
from data_pipelines.paths import user_path
from data_pipelines.rows import Rows
from data_pipelines.store import AnyStore

PREFIX = "folds:"


class Candidates:
    """Rows that a run is trained on and that have a label of its one task of classes.

    Attributes:
        store: of the run, its folds cut.
        task: the task of classes.
        rows: all of the training split, those left out by config.data.keep too.
        labelled: int [N], those of `rows` that are trained on and have a label; all arrays below
            are of these.
        held_out: predictions are those of runs that have not seen the row.
    """

    def __init__(self, name: str):
        """Open the data of a run, or of "folds:RUNS", a cross-validation.

        Raises:
            UserError: it is neither, its tasks are others, or its rows hold several labels.
        """
        self.held_out = name.startswith(PREFIX)
        self._folder = user_path(name.removeprefix(PREFIX))
        workdir, self._config = _opened(name, self._folder, self.held_out)
        self.task = _only_task(workdir)
        plain = self._config.copy_and_resolve_references()
        plain.data.normalise = "none"  # rows are the same, and statistics take time
        data = Data(plain, (self.task,))
        self.store: AnyStore = data.store
        split, keep = self._config.data.train_split, self._config.data.keep
        self.rows: Rows = data.rows(split)
        if self.rows.length != 1:
            raise UserError(
                f"{self._folder}: a row holds up to {self.rows.length} labels, expected one. Rows "
                "are selected of runs on clips, or with config.data.length = 1."
            )
        if self.task.name not in self.store.labels:
            raise UserError(f"{self.store.path} has no label {self.task.name!r}.")
        labels, mask = labels_of(self.store, self.rows, self.task.name)
        if keep:
            mask &= np.isin(np.arange(len(mask)), kept_rows(keep, self.store, self.rows))
        self.labelled = np.flatnonzero(mask)
        if not len(self.labelled):
            raise UserError(f"{self.store.path}: no training row has a label {self.task.name!r}.")
        self.labels = labels[self.labelled]

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """float32 [N, C]: of the run's checkpoint, or held out by a cross-validation."""
        every = np.full((self.store.frames_total, self.task.size), np.nan, np.float32)
        if self.held_out:
            self._held_out_into(every)
        else:
            run = Run(self._folder)
            system = system_of(run, self._config)
            _, variables = weights(system, run, self._config.checkpoint)
            tracks = np.unique(self.rows.track[self.labelled])
            predictor = Predictor(system, self._config.data.train_split)
            for track, raw in predictor.tracks(variables, tracks):
                every[self.store.tracks[track].span] = raw[self.task.name]
        place = frames_of(self.store, self.rows)[self.labelled]
        logits = every[place]
        if np.isnan(logits).any():
            row = int(place[np.isnan(logits).any(-1)][0])
            raise UserError(f"{self._folder}: no prediction of {self.store.place(row)}.")
        return logits

    def _held_out_into(self, every: np.ndarray) -> None:
        split = self._config.data.train_split
        file = self._folder / "predictions" / split / f"{self.task.name}.npz"
        stored = Predictions.read(file)
        index = {track.name: track for track in self.store.tracks}
        bounds = stored.bounds
        for name, start, stop in zip(stored.tracks.tolist(), bounds[:-1], bounds[1:]):
            track = index.get(name)
            if track is None or track.frames != stop - start:
                raise UserError(
                    f"{file}: track {name!r} is not that of {self.store.path}. Train the folds "
                    "again."
                )
            every[track.span] = stored.raw[start:stop]

    @functools.cached_property
    def right(self) -> np.ndarray | None:
        """bool [N]: rows without noise; None where the store does not say which those are."""
        return right_rows(self.labels, self._label(CLEAN), self.kind)

    @functools.cached_property
    def kind(self) -> np.ndarray | None:
        """[N] names of the kind of noise; None where the store has no such label."""
        numbers = self._label(KIND)
        return None if numbers is None else np.array(self.store.labels[KIND].names)[numbers]

    def _label(self, name: str) -> np.ndarray | None:
        """int [N] of a label of classes that all rows have, else None."""
        label = self.store.labels.get(name)
        if label is None or label.kind != "classes" or (name == KIND and not label.names):
            return None
        values, mask = labels_of(self.store, self.rows, name)
        return values[self.labelled] if mask[self.labelled].all() else None

    def kept_by(self, file: str) -> np.ndarray:
        """bool [N]: rows that a keep file keeps; UserError where it keeps none of them."""
        kept = np.isin(self.labelled, kept_rows(file, self.store, self.rows))
        if not kept.any():
            raise UserError(f"{user_path(file)}: keeps no row that {self._folder} is trained on.")
        return kept


def _opened(name: str, folder: pathlib.Path, held_out: bool) -> tuple[Workdir, ConfigDict]:
    """(folder of the task table, config) of a run or a finished cross-validation."""
    if held_out:
        if not (folder / FOLDS_FILE).is_file():
            raise UserError(f"{name}: no cross-validation here (no {FOLDS_FILE}).")
        all_folds(folder)
        workdir = Workdir(folder, FOLDS_FILE)
    else:
        if (folder / FOLDS_FILE).is_file():
            raise UserError(f"{folder}: holds folds. Say --run={PREFIX}{folder}, or one of them.")
        workdir = Run(folder)
        workdir.require()
    return workdir, configs.read(workdir.config_file)


def _only_task(workdir: Workdir) -> Task:
    tasks = scored(workdir.read_tasks())
    of_classes = [task for task in tasks if task.kind == "classes"]
    if len(of_classes) != 1:
        raise UserError(
            f"{workdir.folder}: its tasks are {listed(f'{t.name} ({t.kind})' for t in tasks)}, "
            "expected one of classes."
        )
    return of_classes[0]
