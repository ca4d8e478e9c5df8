"""From a model and rows to raw predictions per frame and track.

Evaluation and prediction are one code: predict rows, put the frames of a track together. A few
tracks are held at once, however long the split is.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from affect_jax import sharding
from affect_jax.diagnose import explain_prediction
from affect_jax.prediction_files import ORIGIN, write_split
from affect_jax.run import replace, to_json
from affect_jax.scoring import Raw, Total, score
from affect_jax.state import zero_carry
from affect_jax.systems.supervised import Supervised
from data_pipelines.errors import UserError
from data_pipelines.rows import reconstruct


class Predictor:
    """Predicts the tracks of one split; compiled once, used at every evaluation."""

    def __init__(self, system: Supervised, split: str):
        data = system.data
        self._system = system
        self._rows = data.rows(split)
        self._plan = data.evaluation_plan(self._rows, carries=system.carries)
        self._feeder = data.feeder(self._rows, training=False)
        mesh, model, fetch = data.mesh, system.model, self._feeder.fetch
        same, batched = sharding.replicated(mesh), sharding.batched(mesh)

        def run(variables: Any, data: Any, x: Any, carry: Any):
            batch = fetch(data, jax.tree.map(lambda leaf: leaf[0], x))
            batch = system.prepare(batch, None, False)
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
        left = np.bincount(self._rows.track, minlength=len(self._system.data.store.tracks))
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
        frames = self._system.data.store.tracks[track].frames
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
    indices = system.data.store.split(split)
    predicted = Predictor(system, split).tracks(variables)
    tracks = write_split(folder, system.tasks, system.data.store, indices, predicted)
    scores = Total.of(system.config).added_to(score(system.tasks, system.data.store, tracks))
    if scores:
        replace(folder / "scores.json", to_json(scores, indent=1) + "\n")
    if origin:
        replace(folder / ORIGIN, to_json(origin, indent=1) + "\n")
    return scores
