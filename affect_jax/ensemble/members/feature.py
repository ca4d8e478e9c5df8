"""A feature of the store as a member: its columns have the names of labels."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Self

import numpy as np

from affect_jax.ensemble.agree import reference_of
from affect_jax.ensemble.member import Member, Opened
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import Task
from data_pipelines.errors import UserError, nearest
from data_pipelines.store import Store

PREFIX = "feature:"


@dataclasses.dataclass(frozen=True)
class FeatureMember(Member, kind="feature"):
    """A feature that is itself a prediction; `where` is its name."""

    @classmethod
    def named(cls, text: str, store: Store | None) -> list[Self]:
        """The members that "feature:NAME" or "feature:*" names; UserError for none."""
        if store is None:
            raise UserError(f"{text} needs the store that holds it: --config.data.root=STORE.")
        name = text.removeprefix(PREFIX)
        known = [f.name for f in store.features.values() if f.columns]
        if name != "*" or not known:
            if name not in known:
                hint = nearest(name, known) or "None here is."
                raise UserError(
                    f"{text}: {store.path} has no such feature whose columns name labels. {hint}"
                )
            known = [name]
        return [cls(name) for name in known]

    def tasks(self, store: Store | None) -> tuple[Task, ...]:
        return tuple(self._task(column, store) for column in self._columns(store))

    def open(
        self, root: str | None, split: str, store: Store | None, scratch: pathlib.Path
    ) -> Opened:
        return Opened(self.name, self.tasks(store), lambda task: self._read(task, split, store))

    def _columns(self, store: Store | None) -> tuple[str, ...]:
        self.named(PREFIX + self.where, store)
        return store.features[self.where].columns

    def _task(self, column: str, store: Store) -> Task:
        label = store.labels.get(column)
        if label is not None and (label.kind, label.size) != ("values", 1):
            raise UserError(
                f"feature {self.where!r}: its column {column!r} is one value, the label is "
                f"{label.kind} of size {label.size}. Only values can be predicted by a column."
            )
        metrics = ("ccc", "pearson", "rmse")
        return Task(column, "values", 1, loss="mse", metrics=metrics, decode="identity")

    def _read(self, task: Task, split: str, store: Store) -> Predictions:
        """The column that predicts the task."""
        reference = reference_of(task, split, store)
        column = self._columns(store).index(task.name)
        mask, array = store.feature_mask(self.where), store.feature(self.where)
        raw = []
        for i in store.split(split):
            track = store.tracks[i]
            rows = slice(track.offset, track.offset + track.frames)
            if mask is not None and not mask[rows].all():
                raise UserError(f"feature {self.where!r} has gaps in track {track.name!r}.")
            raw.append(array[rows][:, [column]])
        return dataclasses.replace(reference, raw=np.concatenate(raw))
