"""Gradients of single predictions of a run, by frame, feature and place of a picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import gradcam
from affect_jax.bins import expectation
from affect_jax.models import FRAME_WISE
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import Task, scored

PARTS = 100  # of a clip with rows of its own (sound, say): they stand in the place of frames


@dataclasses.dataclass(frozen=True)
class Explained:
    """One output at one target frame, along the row that it is predicted in.

    Attributes:
        track: its name.
        output: the task, or the task and the column or class of it.
        common: what outputs of other targets share: the output, without the class of it.
        frame: image number of the target; of a clip 1.
        at: its position in the row.
        frames: int [T], image numbers of the row; of a clip its parts, from 1.
        prediction: float [T], a probability of classes and labels; of a clip [1].
        label: float, as the prediction, NaN where there is none.
        importance: float [T], 1 of the most important frame.
        of_stream: {stream: float [T]}, 1 the largest of all.
        of_feature: {stream: float [D]}, mean size of the gradient of each feature of a frame.
        pictures: uint8 [T, H, W, 3], as they are fed, or None.
        maps: {name: float [T, h, w]}: "dynamic" by the output; of pictures in time "joint", that
            times importance, and "static", by what the model predicts of the target's picture
            alone, where it says so.
    """

    track: str
    output: str
    common: str
    frame: int
    at: int
    frames: np.ndarray
    prediction: np.ndarray
    label: np.ndarray
    importance: np.ndarray
    of_stream: dict[str, np.ndarray]
    of_feature: dict[str, np.ndarray]
    pictures: np.ndarray | None
    maps: dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Output:
    """One number that a task predicts.

    Attributes:
        column: of the task's vector; its class, or its value or label.
        weights: float32 [columns of all tasks], 1 at this one.
        prediction: float [T], a probability of classes and labels.
    """

    task: Task
    column: int
    weights: np.ndarray
    prediction: np.ndarray

    @property
    def name(self) -> str:
        """The task, and the column where it has several."""
        if self.task.size == 1:
            return self.task.name
        names = self.task.names or tuple(map(str, range(1, self.task.size + 1)))
        return f"{self.task.name} {names[self.column]}"

    @property
    def common(self) -> str:
        """The name, without the class or label, which is another one at another target."""
        return self.task.name if self.task.kind in ("classes", "labels") else self.name


def outputs(tasks: Sequence[Task], raw: dict[str, np.ndarray], at: int) -> Iterator[Output]:
    """Every value; of classes and of several labels the one that is likeliest at the target.

    Args:
        raw: {task: [T, columns]}.
        at: position of the target.
    """
    total, before = sum(raw[task.name].shape[1] for task in tasks), 0
    for task in tasks:
        y = raw[task.name].astype(np.float64)
        columns: Sequence[int] = range(y.shape[1])
        if task.kind in ("classes", "labels"):
            columns = [int(y[at].argmax())]
        if task.kind == "classes":
            y = np.exp(y - y.max(1, keepdims=True))
            y /= y.sum(1, keepdims=True)
        elif task.kind == "labels":
            y = 0.5 + 0.5 * np.tanh(y / 2)  # the logistic function, of any logit
        for column in columns:
            weights = np.zeros(total, np.float32)
            weights[before + column] = 1
            yield Output(task, column, weights, y[:, column])
        before += y.shape[1]


class Explainer:
    """Explains predictions of a split's tracks; compiled once.

    The model starts the row of a target anew, whatever it carries on in evaluation.
    """

    def __init__(self, system: Supervised, variables: Any, split: str):
        data = system.data
        self._system, self._variables = system, variables
        self._store, self._tasks = data.store, scored(system.tasks)
        self._rows, self._source = data.rows(split), data.source(labels=False)
        pictures = [name for name in data.features if data.store.features[name].is_picture]
        self._picture = pictures[0] if pictures else ""
        self._look, self._gradients = jax.jit(self._vectors), jax.jit(self._of_output)

    def explained(self, track: int, target: int) -> Iterator[Explained]:
        """Every output at one frame (from 0) of a track (an index into the store)."""
        row, at = self._row_of(track, target)
        batch = self._source.batch(self._rows, self._system.data.shape(), np.int32([row]))
        batch = self._system.prepare(batch, None, False)
        raw = jax.tree.map(np.asarray, self._look(self._variables, batch))
        span = self._store.tracks[track].span
        places = self._rows.frames(row)
        count, frames = len(places), self._store.frames[span][places]
        fed = None
        if self._picture:
            fed = _pictures(np.asarray(batch["inputs"][self._picture][0]))[:count]
        for output in outputs(self._tasks, raw, at):
            found = self._gradients(self._variables, batch, at, output.weights)
            of_stream, of_feature = self._streams(track, row, batch, found.get("inputs", {}))
            maps, importance = {}, None
            if found.get("map") is not None:
                maps, importance = _maps(found, count)
            if of_stream:
                # As if all streams were joined to one vector a frame, as the models join them.
                sizes = np.array([len(x) for x in of_feature.values()])
                joined = sum(x * n for x, n in zip(of_stream.values(), sizes / sizes.sum()))
                importance = np.asarray(gradcam.importance(joined))
            largest = max((x.max() for x in of_stream.values()), default=0) + gradcam.EPS
            parts = count if importance is None else len(importance)
            yield Explained(
                track=self._store.tracks[track].name,
                output=output.name,
                common=output.common,
                frame=1 if self._rows.clip else int(frames[at]),
                at=at,
                frames=np.arange(1, parts + 1) if self._rows.clip else np.asarray(frames),
                prediction=output.prediction[:count],
                label=self._label(output, span, places),
                importance=np.zeros(parts) if importance is None else importance,
                of_stream={name: x / largest for name, x in of_stream.items()},
                of_feature=of_feature,
                pictures=fed,
                maps=maps,
            )

    def _row_of(self, track: int, frame: int) -> tuple[int, int]:
        """(row, position in it): of the rows that feed the frame, the one in whose middle it is."""
        rows = self._rows
        own = np.flatnonzero(rows.track == track)
        start, stop = rows.start[own], rows.stop[own]
        fed = (start <= frame) & (frame < stop) & ((frame - start) % rows.stride == 0)
        best = own[fed][np.abs(start[fed] + stop[fed] - 1 - 2 * frame).argmin()]
        return int(best), int(frame - rows.start[best]) // rows.stride

    def _vectors(self, variables: Any, batch: Any, before: str = "") -> dict[str, jax.Array]:
        """{task: float [T, columns]} of one row; a clip has one frame.

        Args:
            before: the task in the name of an array; "" for the predictions.
        """
        output = self._system.model.apply(variables, batch, train=False)
        given = output.aux.get("arrays", {}) if before else output.predictions
        found = {}
        for task in self._tasks:
            if before + task.name in given:
                y = given[before + task.name]
                y = expectation(y, task.centres) if task.kind == "bins" else y
                found[task.name] = y[0].reshape(-1, y.shape[-1])
        return found

    def _of_output(self, variables: Any, batch: Any, at: jax.Array, weights: jax.Array) -> Any:
        """Gradients of one output: "inputs" {stream: [T, ...]}, of pictures "map" and "static"."""
        free = {name: x for name, x in batch["inputs"].items() if name != self._picture}

        def score(free: Any, before: str = "") -> jax.Array:
            inputs = batch["inputs"] | free
            found = self._vectors(variables, batch | {"inputs": inputs}, before)
            return (jnp.concatenate([y[at] for y in found.values()]) * weights).sum()

        result: dict[str, Any] = {}
        if free:
            result["inputs"] = jax.tree.map(lambda g: g[0], jax.grad(score)(free))
        if self._picture:
            result["map"] = gradcam.map_and_gradient(score, free)
            static = jax.eval_shape(lambda: self._vectors(variables, batch, FRAME_WISE))
            if len(static) == len(self._tasks):
                result["static"] = gradcam.map_and_gradient(lambda x: score(x, FRAME_WISE), free)
        return result

    def _streams(
        self, track: int, row: int, batch: Any, gradients: dict[str, Any]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """({stream: float [T]} by frame, {stream: [D]} by feature): mean size of the gradients.

        What rows of their own have is given to the frames that they lie on.
        """
        own, clip, frames = self._source.own, self._rows.clip, self._rows.frames(row)
        parts = PARTS if clip and own else len(frames)
        of_stream, of_feature = {}, {}
        for name, g in gradients.items():
            g = np.abs(np.asarray(g, np.float64))
            if name in own:
                count = int(np.asarray(batch["inputs_mask"][name][0]).sum())
            else:
                g, count = (g[None], 1) if clip else (g, len(frames))
            g = g.reshape(len(g), -1)[:count]
            of_feature[name] = g.sum(0) / max(count, 1)
            g = g.mean(1)
            if name in own:
                g = self._on_frames(g, name, track, row, parts)
            of_stream[name] = g if len(g) == parts else np.full(parts, g[0])
        return of_stream, of_feature

    def _on_frames(self, g: np.ndarray, name: str, track: int, row: int, parts: int) -> np.ndarray:
        """float [parts]: what the rows of a stream have, on the frames that each lies on."""
        if self._store.features[name].axis == "table" and not self._rows.clip:
            first = self._source.places(self._rows, np.int32([row]))[name][0][0]
            spans = self._store.spans(name)[first : first + len(g)]
            shown = self._store.frames[self._store.tracks[track].span]
            shown = shown[self._rows.frames(row)] - 1
            on = (spans[:, :1] <= shown) & (shown < spans[:, 1:])
            return (g / np.maximum(on.sum(1), 1)) @ on
        return np.bincount(np.arange(len(g)) * parts // max(len(g), 1), g, parts)

    def _label(self, output: Output, span: slice, places: np.ndarray) -> np.ndarray:
        """float [T]: the label of an output, NaN where there is none; of a class 1 where it is."""
        task = output.task
        if task.name not in self._store.labels:
            return np.full(len(places), np.nan)
        values, mask = (np.asarray(x[span])[places] for x in self._store.label(task.name))
        if task.kind == "classes":
            return np.where(mask, values == output.column, np.nan)
        return np.where(mask, values, np.nan)[:, output.column].astype(np.float64)


def _maps(found: dict[str, Any], count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """({name: [T, h, w]}, importance [T] at the map) of the `count` pictures of a row."""

    def of_pictures(x: jax.Array) -> jax.Array:
        return x.reshape(-1, *x.shape[-3:])[:count]

    places, gradient = map(of_pictures, found["map"])
    maps, importance = {"dynamic": gradcam.cam(places, gradient)}, gradcam.importance(gradient)
    if count > 1:
        maps["joint"] = gradcam.joint(importance, maps["dynamic"])
        if found.get("static") is not None:
            maps["static"] = gradcam.cam(*map(of_pictures, found["static"]))
    return {name: np.asarray(x) for name, x in maps.items()}, np.asarray(importance)


def _pictures(x: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] of what is fed of a row: [0, 1] as it is, else between its extremes."""
    x = x if x.shape[-1] in (1, 3) else x[..., None]
    x = x.reshape(-1, *x.shape[-3:])
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 1.0)
    x = np.rint((x - low) / (high - low) * 255).astype(np.uint8)
    return np.broadcast_to(x, (*x.shape[:-1], 3))
