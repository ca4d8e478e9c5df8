"""A cross-validation as one member."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection
from typing import Self

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.ensemble.choose import MEANS, unfitted
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.member import FolderMember, Opened
from affect_jax.ensemble.members.run import RunMember
from affect_jax.ensemble.recipe import require_strings
from affect_jax.members import FOLDS_FILE, all_folds
from affect_jax.prediction_files import Predictions, find_tasks
from affect_jax.scoring import Total
from data_pipelines.errors import UserError
from data_pipelines.files import read_json, readable
from data_pipelines.paths import user_path
from data_pipelines.store import AnyStore

PREFIX = "folds:"


@dataclasses.dataclass(frozen=True)
class FoldsMember(FolderMember, kind="folds", marker=FOLDS_FILE):
    """A cross-validation, at `folds.checkpoint` of its config.

    On the split that was cut each track is predicted by the run that has not seen it, elsewhere it
    is the runs' mean.
    """

    @classmethod
    def named(cls, text: str) -> Self:
        """The member that "folds:FOLDS" names; UserError where there is none, or a fold lacks."""
        folder = user_path(text.removeprefix(PREFIX))
        if not (folder / FOLDS_FILE).is_file():
            raise UserError(f"{text}: no cross-validation here (no {FOLDS_FILE}).")
        all_folds(folder)
        return cls(str(folder))

    @property
    def inner(self) -> tuple[RunMember, ...]:
        """Its runs, at the checkpoint that its held-out predictions are of."""
        checkpoint = self._config.folds.checkpoint
        return tuple(RunMember(str(run), checkpoint) for run in all_folds(self.folder))

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        self.require_there()
        all_folds(self.folder)
        # Whatever store is named, of their own data no other predictions are held out.
        tracks = store and {store.tracks[i].name for i in store.split(split)}
        if self.held_out(split, tracks):
            made = self.folder / "predictions" / split
            return Opened.stored(self.name, made, find_tasks(self.folder))
        runs, tasks = self.inner, self.tasks(store)
        recipes = {task.name: unfitted(task, len(runs), MEANS).recipes for task in tasks}
        Fitted(scratch, runs, tasks, recipes).apply(root, split, scratch)
        return Opened.stored(self.name, scratch, tasks)

    def held_out(self, split: str, tracks: Collection[str] | None) -> bool:
        """Is there a prediction of this split by runs that have not seen it?

        Args:
            tracks: of the split of the data that are named, which may be others; None for its own.
        """
        file = next((self.folder / "predictions" / split).glob("*.npz"), None)
        if file is None or tracks is None:
            return file is not None
        return not set(Predictions.read(file).tracks.tolist()).isdisjoint(tracks)

    @property
    def default_split(self) -> str:
        """The split that was cut."""
        return self._config.data.train_split

    @property
    def total(self) -> Total:
        return Total.of(self._config)

    def knows(
        self, split: str, tracks: frozenset[str], store: AnyStore | None
    ) -> tuple[bool, bool]:
        trained, chosen = super().knows(split, tracks, store)
        return trained and not self.held_out(split, tracks), chosen

    def marks(self) -> list[str]:
        file = self.folder / "scores.json"
        if not file.is_file():
            return []
        with readable(file, "the scores of a cross-validation"):
            marks = read_json(file).get("marks", [])
            require_strings("marks", marks)
            return marks

    @property
    def _config(self) -> ConfigDict:
        return configs.read(self.folder / FOLDS_FILE)
