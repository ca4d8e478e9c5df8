"""From a model and rows to raw predictions per frame and track.

Evaluation and prediction are one code: predict rows, put the frames of a track together. A few
tracks are held at once, however long the split is.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from affect_jax import sharding
from affect_jax.diagnose import explain_prediction
from affect_jax.models import TAUGHT, Output
from affect_jax.objective import AuxMeans, aux_sums
from affect_jax.prediction_files import ORIGIN, write_split
from affect_jax.scoring import Raw, Total, labelled, score
from affect_jax.state import zero_carry
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import Task, scored
from data_pipelines.errors import UserError, nearest
from data_pipelines.overlap import reconstruct
from data_pipelines.plan import FILLING
from data_pipelines.replace_file import replace_json
from data_pipelines.rows import Rows


class Predictor:
    """Predicts the tracks of one split; compiled once, used at every evaluation.

    Attributes:
        shapes: {name: shape of one item} of the tasks and of `arrays`.
        of_rows: those of `arrays` that have an item a row, and not a frame.
        losses: means of the model's own losses, of the last pass over tracks.
    """

    def __init__(
        self, system: Supervised, split: str, *, arrays: Sequence[str] = (), labels: bool = False
    ):
        """Place the data and compile nothing yet.

        Args:
            split: one, or several joined by "+".
            arrays: what to collect of `Output.aux["arrays"]` beside the predictions.
            labels: the model sees the labels, which some arrays are made of.

        Raises:
            UserError: the model gives no such array.
        """
        data = system.data
        self._system = system
        self._rows = rows = data.rows(split)
        self.shapes, self.of_rows = _shapes(system, rows, arrays, labels)
        self.losses = AuxMeans()
        frames = np.array([track.frames for track in data.store.tracks])
        self._sizes = rows.sizes
        self._whole = self._sizes == frames[rows.track]  # rows that are all of their track
        self._feeder = data.feeder(rows, training=False, labels=labels)
        mesh, model, fetch = data.mesh, system.model, self._feeder.fetch
        same, batched = sharding.replicated(mesh), sharding.batched(mesh)

        def run(variables: Any, data: Any, x: Any, carry: Any):
            batch = fetch(data, jax.tree.map(lambda leaf: leaf[0], x))
            batch = system.prepare(batch, None, False)
            carry = None if carry is None else zero_carry(carry, batch["start"])
            output = model.apply(variables, batch, carry=carry, train=False)
            given = output.aux.get("arrays", {})
            named = {task.name: output.predictions[task.name] for task in scored(system.tasks)}
            named |= {name: given[name] for name in arrays}
            return named, output.carry, aux_sums(output, batch)

        self._run = jax.jit(
            run,
            in_shardings=(same, same, sharding.batched(mesh, 1), batched),
            out_shardings=(batched, batched, same),
            compiler_options=system.compiler_options,
        )

    def tracks(self, variables: Any, only: np.ndarray | None = None) -> Iterator[tuple[int, Raw]]:
        """(index of the track, {name: float32 [frames, ...]}), each track once, when complete.

        Arrays of `of_rows` are [rows, ...], in the order of `spans`.

        Args:
            only: indices of the tracks to predict; None for all of the split.
        """
        rows = self._rows
        left = np.bincount(rows.track, minlength=len(self._system.data.store.tracks))
        waiting: dict[int, list[tuple[int, Raw, int]]] = {}
        for ids, outputs in self._batches(variables, only):
            whole = self._whole_tracks(ids, outputs)
            for b, row in enumerate(ids.tolist()):
                if row < 0:
                    continue
                track = int(rows.track[row])
                if b in whole:
                    yield track, whole[b]
                    continue
                waiting.setdefault(track, []).append((row, outputs, b))
                left[track] -= 1
                if not left[track]:
                    yield track, self._join(track, waiting.pop(track))

    def spans(self, track: int) -> np.ndarray:
        """int64 [rows, 2]: image numbers of the track's rows, from 0, start and stop, by start."""
        rows, store = self._rows, self._system.data.store
        own = slice(*np.searchsorted(rows.track, [track, track + 1]))  # tables go by track
        images = store.frames[store.tracks[track].span]
        # The number of an image, which counts from 1, is where the next one is from 0.
        spans = np.stack([images[rows.start[own]] - 1, images[rows.stop[own] - 1]], 1)
        return spans[np.argsort(rows.start[own], kind="stable")].astype(np.int64)

    def _batches(self, variables: Any, only: np.ndarray | None) -> Iterator[tuple[np.ndarray, Raw]]:
        """(row ids [B], outputs [B, T, ...] on the host); the device works one batch ahead."""
        means = AuxMeans()
        for ids, computed in one_behind(self._computed(variables, only)):
            outputs, losses = _to_host(computed)
            means.add(losses)
            if self._rows.clip:
                outputs = {name: x[:, None] for name, x in outputs.items()}
            yield ids, outputs
        self.losses = means

    def _computed(
        self, variables: Any, only: np.ndarray | None
    ) -> Iterator[tuple[np.ndarray, tuple[Any, Any]]]:
        """(row ids [B], (outputs, losses) on the device) of every batch."""
        chosen = np.arange(len(self._rows))
        if only is not None:
            chosen = np.flatnonzero(np.isin(self._rows.track, only))
        system = self._system
        plan = system.data.evaluation_plan(self._rows.chosen(chosen), carries=system.carries)
        table = plan.epoch(0)
        table = np.where(table < 0, FILLING, chosen[table]).astype(np.int32)
        carry = self._system.carry(table.shape[1]) if self._system.carries else None
        chunks = self._feeder.chunks(table, range(len(table) + 1))
        # Once: weights on the host would be sent to every device with each batch.
        variables = sharding.put(variables, sharding.replicated(system.data.mesh))
        for ids, xs in zip(table, chunks, strict=True):
            outputs, carry, losses = self._run(variables, self._feeder.data, xs, carry)
            yield ids, (outputs, losses)

    def _whole_tracks(self, ids: np.ndarray, outputs: Raw) -> dict[int, Raw]:
        """{place in the batch: its track's arrays} of rows that are all of a track.

        The arrays are views of one a batch, so that thousands of clips take no time each.
        """
        places = np.flatnonzero((ids >= 0) & self._whole[ids])
        sizes = self._sizes[ids[places]]
        ends = np.cumsum(sizes)
        filled = np.arange(self._rows.length) < sizes[:, None]
        tracks: dict[int, Raw] = {b: {} for b in places.tolist()}
        for name, x in outputs.items():
            x, stops = x[places], np.arange(1, 1 + len(places)) if name in self.of_rows else ends
            x = np.asarray(x if name in self.of_rows else x[filled], np.float32)
            for b, start, stop in zip(tracks, [0, *stops[:-1].tolist()], stops.tolist()):
                tracks[b][name] = x[start:stop]
            if not np.isfinite(x).all():
                for b, arrays in tracks.items():
                    self._require_finite(
                        name, int(self._rows.track[ids[b]]), arrays[name], ids[[b]]
                    )
        return tracks

    def _join(self, track: int, pieces: list[tuple[int, Raw, int]]) -> Raw:
        """Arrays of a track of these (row id, outputs of a batch, place in it)."""
        ids = np.array([row for row, _, _ in pieces])
        frames = self._system.data.store.tracks[track].frames
        by_start = np.argsort(self._rows.start[ids], kind="stable")
        joined = {}
        for name in self.shapes:
            x = np.stack([outputs[name][b] for _, outputs, b in pieces])
            if name in self.of_rows:
                joined[name] = np.asarray(x[by_start], np.float32)
            else:
                overlap = self._system.config.data.overlap
                joined[name] = reconstruct(self._rows, ids, x, frames, overlap)
            self._require_finite(name, track, joined[name], ids)
        return joined

    def _require_finite(self, name: str, track: int, x: np.ndarray, ids: np.ndarray) -> None:
        """UserError for the first frame of a track without a number."""
        bad = ~np.isfinite(x).reshape(len(x), -1).all(1)
        if bad.any():
            frame = int(np.argmax(bad))
            if name in self.of_rows:
                frame = int(np.sort(self._rows.start[ids])[frame])
            raise UserError(explain_prediction(self._system, self._rows, ids, name, track, frame))


def _shapes(
    system: Supervised, rows: Rows, arrays: Sequence[str], labels: bool
) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """({name: shape of one item}, those with an item a row) of the tasks and these arrays."""
    shapes = {task.name: task.raw_shape for task in scored(system.tasks)}
    if not arrays:
        return shapes, frozenset()

    def given(length: int) -> dict[str, jax.ShapeDtypeStruct]:
        shape = dataclasses.replace(system.data.shape(), length=length)
        batch = system.data.source(labels=labels).example(rows, shape, 1)

        def output(variables: Any) -> Output:
            return system.model.apply(variables, system.prepare(batch, None, False), train=False)

        return dict(jax.eval_shape(output, system.variable_shapes).aux.get("arrays", {}))

    known = given(rows.length)
    # Time is the axis that follows the length of the rows: a vector may be as long as they are.
    longer = {} if rows.clip else given(rows.length + 1)
    of_rows = set()
    for name in arrays:
        if name not in known or name in shapes:
            why = "the model gives no such array" if name not in known else "a task is called so"
            raise UserError(f"array {name!r}: {why}. {nearest(name, known) or 'It gives none.'}")
        shape = known[name].shape[1:]
        timed = name in longer and shape != longer[name].shape[1:]
        shapes[name] = shape[1:] if timed else shape
        if not timed and not rows.clip:
            of_rows.add(name)
    return shapes, frozenset(of_rows)


def one_behind(items: Iterable[Any]) -> Iterator[Any]:
    """The items, each when the next one has been asked for: the device computes meanwhile."""
    waiting: list[Any] = []
    for item in items:
        yield from waiting
        waiting = [item]
    yield from waiting


def _to_host(tree: Any) -> Any:
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.tree.map(np.asarray, tree)


def predict_split(
    system: Supervised,
    variables: Any,
    split: str,
    folder: pathlib.Path,
    origin: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict a split into `folder` and score it where it is labelled; returns the scores.

    "taught/task/metric" are those of tasks that a model predicts from the labels of others.

    Args:
        folder: of these predictions alone; `replace_folder` gives one where others are.
        origin: what origin.json says of them.
    """
    store, tasks = system.data.store, scored(system.tasks)
    taught = _taught(system, split)
    arrays = [task.name for task in taught]
    predictor = Predictor(system, split, arrays=arrays, labels=bool(arrays))
    tracks = write_split(folder, tasks, store, store.split(split), predictor.tracks(variables))
    scores = score([*tasks, *taught], store, tracks)
    if scores or not tasks:  # of a split without labels there are predictions alone
        scores = Total.of(system.config).added_to(scores | predictor.losses.scores())
    if scores:
        replace_json(folder / "scores.json", scores)
    if origin:
        replace_json(folder / ORIGIN, origin)
    return scores


def _taught(system: Supervised, split: str) -> list[Task]:
    """The model's `taught` tasks, called as their arrays, where the split can be scored."""
    names, store = getattr(system.model, "taught", ()), system.data.store
    held, tasks = [*(t.name for t in system.tasks), *system.more_labels], scored(system.tasks)
    whole = names and all(name in store.labels for name in held)
    if not whole or not any(labelled(store, task, split) for task in tasks):
        return []
    return [dataclasses.replace(t, name=f"{TAUGHT}{t.name}") for t in tasks if t.name in names]
