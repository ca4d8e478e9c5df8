"""Scores of predictions: every metric of every task, and the total over the tasks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from affect_jax.metrics import METRICS
from affect_jax.metrics.arrays import Groups
from affect_jax.metrics.table import State
from affect_jax.models import TAUGHT
from affect_jax.prediction_files import TOGETHER, Predictions, pieces
from affect_jax.tasks import Task, decode
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.store import AnyStore

Raw = dict[str, np.ndarray]  # {task, or array of the model: [frames, ...]} of one track


class Tally:
    """Counts and moments of one task, from which all of its scores are computed.

    Attributes:
        metrics: names in METRICS.
        states: {kind of state: that of all frames so far}, one for all metrics that it serves.
    """

    def __init__(
        self,
        task: Task,
        metrics: Sequence[str] | None = None,
        states: Mapping[type, State] | None = None,
    ):
        """`metrics`: the task's own where None; `states`: nothing seen yet where None."""
        self.task, self.metrics = task, tuple(task.metrics if metrics is None else metrics)
        none = (METRICS[name].init(task) for name in self.metrics)
        self.states = {type(state): state for state in none} if states is None else dict(states)

    def add(
        self, raw: np.ndarray, label: np.ndarray, mask: np.ndarray, groups: Groups | None = None
    ) -> None:
        """Add frames.

        Args:
            raw: predictions [N, *task.raw_shape].
            label, mask: [N] or [N, K].
            groups: of these frames; all states are [groups, ...] then.
        """
        decoded = decode(self.task, raw)
        for kind, state in self.states.items():
            self.states[kind] = state.merge(kind.of(decoded, label, mask, self.task.size, groups))

    def scores(self) -> dict[str, Any]:
        """{"task/metric": float or list}; 0 where no frame is labelled."""
        scores = {}
        for name in self.metrics:
            metric = METRICS[name]
            value = metric.compute(self.states[metric.states[self.task.kind]])
            scores[f"{self.task.name}/{name}"] = value if metric.sign else value.tolist()
        return scores


def score(
    tasks: Sequence[Task], store: AnyStore, tracks: Iterable[tuple[int, Raw]]
) -> dict[str, Any]:
    """{"task/metric": float or list} over all labelled frames of the tracks joined.

    A metric is left out where the tracks have no label of the task. One that is called
    "taught/<task>" has the labels of <task>.
    """
    label_of = {task.name: task.name.removeprefix(TAUGHT) for task in tasks}
    tallies = [Tally(task) for task in tasks if label_of[task.name] in store.labels]
    # Views of the maps: a slice of a map costs as much as many frames.
    labels = {
        t.task.name: [np.asarray(a) for a in store.label(label_of[t.task.name])] for t in tallies
    }
    labelled = dict.fromkeys(labels, False)
    for spans, raws in _together(store, tracks):
        for tally in tallies:
            name = tally.task.name
            label, mask = (np.concatenate([a[span] for span in spans]) for a in labels[name])
            labelled[name] |= bool(mask.any())
            tally.add(np.concatenate([raw[name] for raw in raws]), label, mask)
    return {k: v for t in tallies if labelled[t.task.name] for k, v in t.scores().items()}


def _together(
    store: AnyStore, tracks: Iterable[tuple[int, Raw]]
) -> Iterator[tuple[list[slice], list[Raw]]]:
    """(rows in the store, predictions) of a long track, or of several short ones."""
    spans, raws, frames = [], [], 0
    for index, raw in tracks:
        track = store.tracks[index]
        spans.append(track.span)
        raws.append(raw)
        frames += track.frames
        if frames >= TOGETHER:
            yield spans, raws
            spans, raws, frames = [], [], 0
    if spans:
        yield spans, raws


def tally_of(
    task: Task,
    predictions: Predictions,
    metrics: Sequence[str] | None = None,
    groups: Groups | None = None,
) -> Tally:
    """The tally of labelled predictions, read in pieces.

    Args:
        metrics: names in METRICS; None: the task's own.
        groups: of the frames; all states are [groups, ...] then.
    """
    tally, p = Tally(task, metrics), predictions
    for rows in pieces(len(p.track)):
        here = None if groups is None else Groups(groups.of_row[rows], groups.count)
        tally.add(p.raw[rows], p.label[rows], p.label_mask[rows], here)
        p.forget()
    return tally


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


def require_labels(tasks: Sequence[Task], store: AnyStore, split: str) -> None:
    """UserError where a split has no label of any task."""
    if not any(labelled(store, task, split) for task in tasks):
        names = listed(task.name for task in tasks)
        raise UserError(
            f"{store.path}: split {split!r} has no label of {names}; use --mode=predict."
        )


def labelled(store: AnyStore, task: Task, split: str) -> bool:
    """True if a split has a label of the task."""
    if task.name not in store.labels:
        return False
    _, mask = store.label(task.name)
    return any(mask[store.tracks[i].span].any() for i in store.split(split))
