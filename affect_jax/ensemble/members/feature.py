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
from data_pipelines import trained_on
from data_pipelines.errors import UserError, nearest
from data_pipelines.store import AnyStore

PREFIX = "feature:"


@dataclasses.dataclass(frozen=True)
class FeatureMember(Member, kind="feature"):
    """A feature that is itself a prediction; `where` is its name."""

    @classmethod
    def named(cls, text: str, store: AnyStore | None) -> list[Self]:
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

    def tasks(self, store: AnyStore | None) -> tuple[Task, ...]:
        columns = self._columns(store)
        return tuple(self._task(n, columns.count(n), store) for n in dict.fromkeys(columns))

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        tasks = self.tasks(store)
        return Opened(self.name, tasks, lambda task: self._read(task, split, store), gaps=True)

    def knows(
        self, split: str, tracks: frozenset[str], store: AnyStore | None
    ) -> tuple[bool, bool]:
        columns = self._columns(store)
        return bool(trained_on.seen(store, [self.where], split, columns)), False

    def _columns(self, store: AnyStore | None) -> tuple[str, ...]:
        self.named(PREFIX + self.where, store)
        return store.features[self.where].columns

    def _task(self, column: str, size: int, store: AnyStore) -> Task:
        label = store.labels.get(column)
        if label is not None and (label.kind, label.size) != ("values", size):
            raise UserError(
                f"feature {self.where!r}: its columns {column!r} are values of size {size}, the "
                f"label is {label.kind} of size {label.size}. Only values can be predicted by "
                "columns, one each."
            )
        names = label.names if label else ()
        metrics = ("ccc", "pearson", "rmse")
        return Task(column, "values", size, names, loss="mse", metrics=metrics, decode="identity")

    def _read(self, task: Task, split: str, store: AnyStore) -> Predictions:
        """The columns that predict the task, NaN in the gaps of the feature."""
        reference = reference_of(task, split, store)
        columns = [k for k, name in enumerate(self._columns(store)) if name == task.name]
        mask, array = store.feature_mask(self.where), store.feature(self.where)
        raw = []
        for i in store.split(split):
            rows = store.tracks[i].span
            own = np.asarray(array[rows][:, columns], np.float32)
            raw.append(own if mask is None else np.where(mask[rows][:, None], own, np.nan))
        return dataclasses.replace(reference, raw=np.concatenate(raw))
