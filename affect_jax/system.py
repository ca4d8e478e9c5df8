"""From a config to the pieces of a training: data, tasks, model, step, schedule of phases.

`Supervised` is the system of every model that is trained by losses on labelled rows. A system of
another kind (a policy and a classifier in turns, say) is a class with the same methods; the loop
asks it for phases and step functions and knows nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import memory, models, optim, sharding
from affect_jax.compilation import compiler_options
from affect_jax.config import epochs_in, require_kind
from affect_jax.feed import FEEDERS, frame_bytes
from affect_jax.state import State
from affect_jax.step import Step, supervised
from affect_jax.tasks import Task, tasks_from_config
from affect_jax.weighting import weighting
from data_pipelines import folds
from data_pipelines.batch import NORMALISATIONS, Source, Statistics, assemble
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.join import open_store
from data_pipelines.plan import Plan, Rows, segments, windows


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of training over one pass of a plan.

    Attributes:
        step: key into `System.steps`: which update is made.
        epoch: number of the pass, for the plan's order.
        evaluate: score the evaluation split when the phase ends.
    """

    step: str
    epoch: int
    evaluate: bool


class Supervised:
    """Rows of labelled frames, one kind of update, epoch after epoch."""

    def __init__(
        self,
        config: ConfigDict,
        *,
        tasks: tuple[Task, ...] | None = None,
        statistics: Statistics | None = None,
    ):
        """Open the data and build the model.

        Args:
            tasks, statistics: those of an existing run; default from the config and the training
                split.
        """
        self.config, data = config, config.data
        self.mesh = sharding.mesh()
        self.tasks = tasks or tasks_from_config(config)
        if not self.tasks:
            raise UserError(
                f"config.tasks is empty: name what is predicted. Known: {listed(config.task)}."
            )
        cut = config.folds
        self.store = folds.cut(open_store(data.root), cut.cut, cut.count, cut.seed)
        require_kind("config.model.features", config.model.features, tuple[str, ...])
        self.features = tuple(config.model.features)
        self.store.require_features(self.features)
        for key, known in (("normalise", NORMALISATIONS), ("feeder", FEEDERS)):
            if data[key] not in known:
                raise UserError(f"config.data.{key} = {data[key]!r}: {nearest(data[key], known)}")
        if statistics is None and data.normalise == "train":
            statistics = Statistics.of(
                self.store, self.features, self.store.split(data.train_split)
            )
        self.statistics = statistics
        self.model = models.build(config.model, self.tasks)
        self._check_labels()

    def _check_labels(self) -> None:
        for task in self.tasks:
            label = self.store.labels.get(task.name)
            if label is None:
                continue  # prediction on an unlabelled store
            if (label.kind, label.size) != (task.label_kind, task.size):
                raise UserError(
                    f"{self.store.path}: label {task.name!r} is {label.kind} of size {label.size}, "
                    f"config.task.{task.name} says {task.label_kind} of size {task.size}."
                )
            if label.names and task.names and label.names != tuple(task.names):
                raise UserError(
                    f"{self.store.path}: label {task.name!r} has the classes {shown(label.names)}, "
                    f"config.task.{task.name}.names says {shown(tuple(task.names))}."
                )
            self.store.label(task.name)  # refuses damaged files, before anything is predicted

    def source(self, *, labels: bool = True) -> Source:
        """Features (and labels) as the batches hold them."""
        names = tuple(task.name for task in self.tasks) if labels else ()
        data = self.config.data
        statistics = self.statistics if data.normalise == "train" else None
        return Source(
            self.store, self.features, names, data.normalise, statistics, data.label_delay
        )

    @functools.cached_property
    def length(self) -> int:
        """Frames of a row: `data.length`, at most those of the longest track of the store.

        Of all splits, so that what is computed for a track does not depend on the others beside it.
        """
        longest = max((track.frames for track in self.store.tracks), default=1)
        return min(self.config.data.length, -(-longest // self.config.data.stride))

    def rows(self, split: str) -> Rows:
        """Segments of the split's tracks, or overlapping windows where `data.hop` is set."""
        data, tracks = self.config.data, self.store.split(split)
        frames = [track.frames for track in self.store.tracks]
        if data.hop:
            if data.stride != 1:
                raise UserError("config.data.stride and config.data.hop exclude each other.")
            if self.carries:
                raise UserError(
                    f"config.data.hop = {data.hop}: an encoder that hands its state on reads a "
                    "track once; set 0, segments end to end."
                )
            if data.hop > data.length:
                raise UserError(
                    f"config.data.hop = {data.hop}: is longer than config.data.length = "
                    f"{data.length}, so that frames get lost."
                )
            hop = min(data.hop, self.length)
            return windows(frames, self.length, hop, tail="shift", tracks=tracks)
        return segments(frames, self.length, tracks=tracks, stride=data.stride)

    @property
    def carries(self) -> bool:
        """Does the model hand state from a segment to the next?"""
        return self._shapes[0].carry is not None

    @property
    def compiler_options(self) -> dict[str, str]:
        """For jax.jit of what runs the model."""
        return compiler_options(self.mesh.devices.flat[0].platform, recurrent=self.carries)

    def training_plan(self, rows: Rows) -> Plan:
        """The plan of one pass over the training rows."""
        data = self.config.data
        self._require_room("batch_size", labels=True)
        return Plan(
            rows,
            data.batch_size,
            seed=self.config.seed,
            shuffle=True,
            lanes=self.carries or data.lanes,
            multiple_of=jax.device_count(),
        )

    def evaluation_plan(self, rows: Rows) -> Plan:
        """All rows once, in order."""
        self._require_room("eval_batch_size", labels=False)
        return Plan(
            rows,
            self.config.data.eval_batch_size,
            lanes=self.carries,
            multiple_of=jax.device_count(),
        )

    def _require_room(self, key: str, *, labels: bool) -> None:
        """UserError where a batch of config.data[key] rows alone is more than there is memory."""
        rows = self.config.data[key]
        memory.require(
            frame_bytes(self.source(labels=labels)) * self.length * rows / jax.device_count(),
            f"config.data.{key} = {rows}",
            f"a batch of rows of {self.length} frames takes",
            f"Make it smaller, or config.data.length = {self.config.data.length}.",
        )

    def phase(self, position: int) -> Phase | None:
        """What is done at this position of the schedule; None where training ends."""
        config = self.config
        if position >= config.epochs:
            return None
        epoch = position + 1
        evaluate = (
            epoch == config.epochs
            or epoch % config.eval_every_epochs == 0
            or epoch in epochs_in(config.keep_epochs)
        )
        return Phase("train", position, evaluate)

    def steps(self, params: Any) -> dict[str, Step]:
        """The update of each kind of phase."""
        config = self.config
        return {
            "train": supervised(
                self.model,
                self.tasks,
                weighting(config.weighting),
                self.optimiser(params),
                optim.learning_rate(config.optim, config.epochs),
                ema_decay=config.ema_decay,
            )
        }

    def optimiser(self, params: Any) -> Any:
        """The optax chain of `config.optim`, frozen parts left out."""
        return optim.optimiser(self.config.optim, params, tuple(self.config.freeze))

    def example(self, width: int) -> dict[str, Any]:
        """A batch of zeros of `width` rows, with the shapes of the real ones."""
        rows = Rows(*(np.zeros(0, np.int32),) * 3, self.length, 1)
        return assemble(self.source(labels=False), rows, np.full(width, -1, np.int32))

    @functools.cached_property
    def _shapes(self) -> tuple[models.Output, Any]:
        """Shapes of (output, variables) for a batch of one row. Traced once: that is slow."""
        return jax.eval_shape(lambda: self._init(jax.random.key(0), 1))

    @property
    def variable_shapes(self) -> Any:
        """Shapes and types of the model's variables: {"params": ...}."""
        return self._shapes[1]

    def _init(self, key: jax.Array, width: int) -> tuple[models.Output, Any]:
        return self.model.init_with_output(
            {"params": key, "dropout": key}, self.example(width), train=False
        )

    def carry(self, width: int) -> Any:
        """Zero carry for `width` rows: no past. None for a model without one."""
        return jax.tree.map(
            lambda x: jnp.zeros((width, *x.shape[1:]), x.dtype), self._shapes[0].carry
        )

    def init(self, monitored: tuple[str, ...]) -> State:
        """The state before the first step, from the config's seed."""
        config = self.config
        rng = jax.random.key(config.seed)
        init_key = jax.random.fold_in(rng, zlib.crc32(b"init"))
        variables = jax.jit(lambda key: self._init(key, 1)[1])(init_key)
        params = dict(variables["params"])
        rule = weighting(config.weighting)
        weighting_params, weighting_state = rule.init(self.tasks)
        if weighting_params:
            params["weighting"] = weighting_params
        devices = jax.device_count()
        width = -(-config.data.batch_size // devices) * devices
        losses = [task.name for task in self.tasks] + list(self._shapes[0].aux.get("losses", {}))
        zero = lambda: jnp.zeros((), jnp.float32)  # noqa: E731 - leaves must not share a buffer
        count = lambda: jnp.zeros((), jnp.int32)  # noqa: E731
        return State(
            step=count(),
            position=count(),
            batch=count(),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            opt_state=self.optimiser(params).init(params),
            ema=jax.tree.map(jnp.copy, params) if config.ema_decay else {},
            weighting=weighting_state,
            carry=self.carry(width),
            log={name: {"sum": zero(), "count": zero()} for name in [*losses, "total"]},
            best={name: jnp.full((), -jnp.inf, jnp.float32) for name in monitored},
            best_step={name: count() for name in monitored},
            stale=count(),
            plateau={"scale": jnp.ones(()), "stale": count()},
            rng=rng,
            extra={},
        )
