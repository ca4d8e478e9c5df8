"""From a model and rows to raw predictions per frame and track, and to scores.

Evaluation and prediction are one code: predict rows, put the frames of a track together, then
one metric update a track. A few tracks are held at once, however long the split is.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from affect_jax import sharding
from affect_jax.diagnose import explain_prediction
from affect_jax.feed import feeder
from affect_jax.metrics import METRICS
from affect_jax.prediction_files import ORIGIN, write_split
from affect_jax.run import replace, to_json
from affect_jax.state import zero_carry
from affect_jax.system import Supervised
from affect_jax.tasks import Task, decode, total
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.plan import reconstruct
from data_pipelines.store import Store

Raw = dict[str, np.ndarray]  # {task: [frames, ...]} of one track


class Predictor:
    """Predicts the tracks of one split; compiled once, used at every evaluation."""

    def __init__(self, system: Supervised, split: str):
        data = system.config.data
        self._system = system
        self._rows = system.rows(split)
        self._plan = system.evaluation_plan(self._rows)
        self._feeder = feeder(
            system.source(labels=False),
            self._rows,
            system.mesh,
            how=data.feeder,
            resident_gib=data.resident_gib,
            workers=data.workers,
        )
        mesh, model, fetch = system.mesh, system.model, self._feeder.fetch
        same, batched = sharding.replicated(mesh), sharding.batched(mesh)

        def run(variables: Any, data: Any, x: Any, carry: Any):
            batch = fetch(data, jax.tree.map(lambda leaf: leaf[0], x))
            carry = None if carry is None else zero_carry(carry, batch["start"])
            output = model.apply(variables, batch, carry=carry, train=False)
            return output.predictions, output.carry

        self._run = jax.jit(
            run,
            in_shardings=(same, same, sharding.batched(mesh, 1), batched),
            out_shardings=batched,
            compiler_options=system.compiler_options,
        )

    def tracks(self, variables: Any) -> Iterator[tuple[int, Raw]]:
        """(index of the track, {task: float32 [frames, ...]}), each track once, when complete."""
        left = np.bincount(self._rows.track, minlength=len(self._system.store.tracks))
        waiting: dict[int, list[tuple[int, Raw]]] = {}
        for ids, predictions in self._batches(variables):
            for b, row in enumerate(ids):
                if row < 0:
                    continue
                track = int(self._rows.track[row])
                waiting.setdefault(track, []).append(
                    (row, {k: v[b] for k, v in predictions.items()})
                )
                left[track] -= 1
                if not left[track]:
                    yield track, self._join(track, waiting.pop(track))

    def _batches(self, variables: Any) -> Iterator[tuple[np.ndarray, Raw]]:
        """(row ids [B], predictions [B, T, ...] on the host); the device works one batch ahead."""
        table = self._plan.epoch(0)
        carry = self._system.carry(table.shape[1]) if self._system.carries else None
        chunks = self._feeder.chunks(table, range(len(table) + 1))
        last = None
        for ids, xs in zip(table, chunks, strict=True):
            predictions, carry = self._run(variables, self._feeder.data, xs, carry)
            if last is not None:
                yield last[0], _to_host(last[1])
            last = ids, predictions
        if last is not None:
            yield last[0], _to_host(last[1])

    def _join(self, track: int, pieces: list[tuple[int, Raw]]) -> Raw:
        ids = np.array([row for row, _ in pieces])
        frames = self._system.store.tracks[track].frames
        joined = {
            name: reconstruct(self._rows, ids, np.stack([raw[name] for _, raw in pieces]), frames)
            for name in pieces[0][1]
        }
        for name, raw in joined.items():
            bad = ~np.isfinite(raw).reshape(frames, -1).all(1)
            if bad.any():
                where = track, int(np.argmax(bad))
                raise UserError(explain_prediction(self._system, self._rows, ids, name, *where))
        return joined


def _to_host(tree: Any) -> Any:
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)


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


def with_total(scores: dict[str, Any], config: Any) -> dict[str, Any]:
    """The scores and, where all its terms are there, the weighted sum of `config.total`."""
    terms = tuple((name, float(weight)) for name, weight in config.total.terms)
    if terms and all(name in scores for name, _ in terms):
        return scores | {config.total.name: total(scores, terms)}
    return scores


def predict_split(
    system: Supervised,
    variables: Any,
    split: str,
    folder: pathlib.Path,
    origin: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict a split into `folder` and score it where it is labelled; returns the scores.

    Args:
        folder: of these predictions alone; `replace_folder` gives one where others are.
        origin: what origin.json says of them.
    """
    indices = system.store.split(split)
    predicted = Predictor(system, split).tracks(variables)
    tracks = write_split(folder, system.tasks, system.store, indices, predicted)
    scores = with_total(score(system.tasks, system.store, tracks), system.config)
    if scores:
        replace(folder / "scores.json", to_json(scores, indent=1) + "\n")
    if origin:
        replace(folder / ORIGIN, to_json(origin, indent=1) + "\n")
    return scores


def require_terms(system: Supervised) -> None:
    """UserError for a term of `config.total` that is no score, if its task is not left out."""
    known = scores_of(system.tasks)
    tasks = [task.name for task in system.tasks]
    for name, _ in system.config.total.terms:
        task = name.partition("/")[0]
        if name not in known and (task in tasks or task not in system.config.task):
            hint = nearest(name, known)
            raise UserError(f"config.total.terms: no score that is one number: {name!r}. {hint}")


def scores_of(tasks: Sequence[Task]) -> list[str]:
    """Names of all scores of the tasks that are one number each."""
    return [f"{t.name}/{m}" for t in tasks for m in t.metrics if METRICS[m].sign]


def require_labels(system: Supervised, split: str) -> None:
    """UserError where a split has no label of any task."""
    if not any(labelled(system, task, split) for task in system.tasks):
        names = listed(task.name for task in system.tasks)
        raise UserError(
            f"{system.store.path}: split {split!r} has no label of {names}; use --mode=predict."
        )


def labelled(system: Supervised, task: Task, split: str) -> bool:
    """Does a split have a label of the task?"""
    if task.name not in system.store.labels:
        return False
    _, mask = system.store.label(task.name)
    tracks = [system.store.tracks[i] for i in system.store.split(split)]
    return any(mask[track.offset : track.offset + track.frames].any() for track in tracks)
