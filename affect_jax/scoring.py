"""Scores of predictions: every metric of every task, and the total over the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from affect_jax.metrics import METRICS
from affect_jax.tasks import Task, decode
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.store import Store

Raw = dict[str, np.ndarray]  # {task, or array of the model: [frames, ...]} of one track


def score(tasks: Sequence[Task], store: Store, tracks: Iterable[tuple[int, Raw]]) -> dict[str, Any]:
    """{"task/metric": float or list} over all labelled frames of the tracks joined.

    A metric is left out where the tracks have no label of the task.
    """
    states = {(t.name, m): METRICS[m].init(t) for t in tasks for m in t.metrics}
    labels = {t.name: store.label(t.name) for t in tasks if t.name in store.labels}
    seen = dict.fromkeys(labels, 0)
    for index, raw in tracks:
        track = store.tracks[index]
        rows = slice(track.offset, track.offset + track.frames)
        for task in tasks:
            if task.name not in labels:
                continue
            target, mask = (np.asarray(a[rows]) for a in labels[task.name])
            predicted = decode(task, raw[task.name])
            seen[task.name] += int(mask.sum())
            for name in task.metrics:
                key = task.name, name
                states[key] = METRICS[name].update(states[key], predicted, target, mask)
    return {
        f"{task}/{metric}": _json(METRICS[metric].compute(state))
        for (task, metric), state in states.items()
        if seen.get(task)
    }


def _json(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else float(value)


class Total(NamedTuple):
    """The score over all tasks: a weighted sum of their scores.

    With configs.abaw_tasks.P_MTL it is that of the multi-task challenge,

        P_MTL = (CCC_valence + CCC_arousal) / 2 + F1_expression + F1_au,

    F1_expression the macro F1, F1_au the mean F1 of the positive class over the action units.
    Source: Kollias, "ABAW: learning from synthetic data & multi-task learning challenges", 2022.

    Attributes:
        name: of this score.
        terms: (score, weight) of each term, (("valence/ccc", .5), ...); () where there is no total.
    """

    name: str = ""
    terms: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, config: Any) -> Total:
        """The total that a config names."""
        terms = ((name, float(weight)) for name, weight in config.total.terms)
        return cls(config.total.name, tuple(terms))

    def value(self, scores: Mapping[str, Any]) -> float:
        """The sum of weight * score; UserError where a term is missing or is an array."""
        result = 0.0
        for name, weight in self.terms:
            if name not in scores:
                hint = nearest(name, scores)
                raise UserError(f"config.total has no score {name!r} to add. {hint}")
            if np.ndim(scores[name]):
                raise UserError(f"config.total: {name!r} is an array, not a single number")
            result += weight * float(scores[name])
        return result

    def added_to(self, scores: Mapping[str, Any]) -> dict[str, Any]:
        """The scores and, where all its terms are there, the total."""
        if self.terms and all(name in scores for name, _ in self.terms):
            return {**scores, self.name: self.value(scores)}
        return dict(scores)


NO_TOTAL = Total()


def require_terms(tasks: Sequence[Task], config: Any) -> None:
    """UserError for a term of `config.total` that is no score, if its task is not left out."""
    known = scores_of(tasks)
    names = [task.name for task in tasks]
    for name, _ in config.total.terms:
        task = name.partition("/")[0]
        if name not in known and (task in names or task not in config.task):
            hint = nearest(name, known)
            raise UserError(f"config.total.terms: no score that is one number: {name!r}. {hint}")


def scores_of(tasks: Sequence[Task]) -> list[str]:
    """Names of all scores of the tasks that are one number each."""
    return [f"{t.name}/{m}" for t in tasks for m in t.metrics if METRICS[m].sign]


def require_labels(tasks: Sequence[Task], store: Store, split: str) -> None:
    """UserError where a split has no label of any task."""
    if not any(labelled(store, task, split) for task in tasks):
        names = listed(task.name for task in tasks)
        raise UserError(
            f"{store.path}: split {split!r} has no label of {names}; use --mode=predict."
        )


def labelled(store: Store, task: Task, split: str) -> bool:
    """Does a split have a label of the task?"""
    if task.name not in store.labels:
        return False
    _, mask = store.label(task.name)
    tracks = [store.tracks[i] for i in store.split(split)]
    return any(mask[track.offset : track.offset + track.frames].any() for track in tracks)
