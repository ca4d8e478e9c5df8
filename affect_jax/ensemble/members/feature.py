"""Features of the store as a member: their columns have the names of labels."""

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
from data_pipelines.store_specs import Feature

PREFIX = "feature:"


@dataclasses.dataclass(frozen=True)
class FeatureMember(Member, kind="feature"):
    """A feature that is itself a prediction, or those of one run; `where` is its name."""

    @classmethod
    def named(cls, text: str, store: AnyStore | None) -> list[Self]:
        """The members that "feature:NAME" or "feature:*" names; UserError for none.

        NAME is a feature, or a run whose outputs were exported: "*" takes these by run.
        """
        if store is None:
            raise UserError(f"{text} needs the store that holds it: --config.data.root=STORE.")
        name = text.removeprefix(PREFIX)
        found = [f for f in store.features.values() if f.columns]
        known = list(dict.fromkeys(f.run or f.name for f in found))
        if name != "*" or not known:
            names = dict.fromkeys([*known, *(f.name for f in found)])
            if name not in names:
                hint = nearest(name, names) or "None here is."
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
        names = [feature.name for feature in self._features(store)]
        return bool(trained_on.seen(store, names, split, self._columns(store))), False

    def _features(self, store: AnyStore | None) -> list[Feature]:
        self.named(PREFIX + self.where, store)
        known = [feature for feature in store.features.values() if feature.columns]
        return [f for f in known if f.name == self.where] or [
            f for f in known if f.run == self.where
        ]

    def _columns(self, store: AnyStore | None) -> list[str]:
        return [column for feature in self._features(store) for column in feature.columns]

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
        spans = [store.tracks[i].span for i in store.split(split)]
        raw = []
        for feature in self._features(store):
            columns = [k for k, name in enumerate(feature.columns) if name == task.name]
            array, mask = store.feature(feature.name), store.feature_mask(feature.name)
            own = np.concatenate([array[rows][:, columns] for rows in spans]).astype(np.float32)
            if mask is not None:
                own[~np.concatenate([mask[rows] for rows in spans])] = np.nan
            raw.append(own)
        joined = np.concatenate(raw, 1)
        joined[np.isnan(joined).any(1)] = np.nan
        return dataclasses.replace(reference, raw=joined)
