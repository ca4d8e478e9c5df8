"""Training by losses on labelled rows, epoch after epoch."""

from __future__ import annotations

import functools
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from affect_jax import models, optim
from affect_jax.compilation import compiler_options
from affect_jax.config import epochs_in
from affect_jax.data import Data
from affect_jax.feed import Batch
from affect_jax.monitor import monitored
from affect_jax.objective import Objective
from affect_jax.phases import Phase, Program
from affect_jax.run import Run
from affect_jax.state import State
from affect_jax.step import supervised
from affect_jax.tasks import Task, tasks_from_config
from data_pipelines.statistics import Statistics


def build(config: ConfigDict, **given: Any) -> Supervised:
    """The system of a config, as systems.build."""
    return Supervised(config, **given)


class Supervised:
    """Data, tasks and a model, trained by the tasks' losses.

    Attributes:
        config: as resolved.
        tasks: what is predicted.
        data: what is fed.
        model: the Linen module.
        objective: the number that is made smaller.
        more_labels: those that training batches hold beside the tasks'.
        times: batches hold the times of their frames, "times" (data_pipelines/gather.py).
    """

    more_labels: tuple[str, ...] = ()
    times: bool = False

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
        self.config = config
        self.tasks = tasks or tasks_from_config(config)
        self.data = Data(config, self.tasks, statistics, self.more_labels, self.times)
        self.model = self.make_model()
        self.objective = Objective(self.tasks, config.weighting, dict(config.aux))

    def make_model(self) -> nn.Module:
        """The module of `config.model`."""
        model = models.build(self.model_config, self.tasks, tuple(self.config.task))
        if getattr(model, "of_frames", False):
            own = getattr(model, "own_rows", ())
            self.data.require_frames(self.config.model.name, own)
        return model

    @property
    def model_config(self) -> ConfigDict:
        """`config.model`, with nothing left open."""
        return self.config.model

    def prepare(self, batch: Batch, keys: jax.Array | None, train: bool) -> Batch:
        """Examples as the model takes them: floats, normalised.

        Args:
            batch: as it is fetched; integers are still integers.
            keys: random keys [B] of the rows in this epoch; None where nothing is random.
            train: with what changes examples at random.
        """
        del keys, train
        return self.data.floats(batch)

    @functools.cached_property
    def monitored(self) -> tuple[str, ...]:
        """Scores and losses whose best steps are kept; the first decides."""
        return monitored(self.config, self.tasks, self.aux_losses)

    @functools.cached_property
    def aux_losses(self) -> tuple[str, ...]:
        """Names of the losses that the model itself gives in training; `config.aux` is checked."""

        def forward(variables: Any, key: jax.Array) -> models.Output:
            example = self.data.example(1, training=True)
            batch = self.prepare(example, jax.random.split(key, 1), True)
            rngs, mutable = {"dropout": key}, ["batch_stats"]
            return self.model.apply(variables, batch, train=True, rngs=rngs, mutable=mutable)[0]

        output = jax.eval_shape(forward, self.variable_shapes, jax.random.key(0))
        names = tuple(output.aux.get("losses", {}))
        self.objective.require_aux(names)
        return names

    @functools.cached_property
    def _shapes(self) -> tuple[models.Output, Any]:
        """Shapes of (output, variables) for a batch of one row. Traced once: that is slow."""
        return jax.eval_shape(lambda: self._init(jax.random.key(0), 1))

    @property
    def variable_shapes(self) -> Any:
        """Shapes and types of the model's variables: {"params": ...}."""
        return self._shapes[1]

    @property
    def carries(self) -> bool:
        """Does the model hand state from a segment to the next?"""
        return self._shapes[0].carry is not None

    @property
    def compiler_options(self) -> dict[str, str]:
        """For jax.jit of what runs the model."""
        platform = self.data.mesh.devices.flat[0].platform
        return compiler_options(platform, recurrent=self.carries)

    def _init(self, key: jax.Array, width: int) -> tuple[models.Output, Any]:
        batch = self.prepare(self.data.example(width), None, False)
        return self.model.init_with_output({"params": key, "dropout": key}, batch, train=False)

    def carry(self, width: int) -> Any:
        """Zero carry for `width` rows: no past. None for a model without one."""
        return jax.tree.map(
            lambda x: jnp.zeros((width, *x.shape[1:]), x.dtype), self._shapes[0].carry
        )

    def phase(self, state: State) -> Phase | None:
        """The next epoch, and whether an evaluation follows it."""
        config, epoch = self.config, int(state.position) + 1
        if epoch > config.epochs:
            return None
        evaluate = (
            epoch == config.epochs
            or epoch % config.eval_every_epochs == 0
            or epoch in epochs_in(config.keep_epochs)
        )
        return Phase("train", epoch - 1, evaluate)

    def programs(self) -> dict[str, Program]:
        """The update of each kind of phase."""
        step = supervised(
            self.model, self.objective, self.optimiser, ema_decay=self.config.ema_decay
        )
        return {"train": Program(step)}

    def after(self, state: State, phase: Phase) -> State:
        """The state after what is done between two phases: nothing, here."""
        del phase
        return state

    @functools.cached_property
    def optimiser(self) -> optim.Optimiser:
        """The update of `config.optim`, its groups matched in the parameters."""
        config, params = self.config, dict(self.variable_shapes["params"])
        weights = jax.eval_shape(lambda: self.objective.init()[0])
        params |= {"weighting": weights} if weights else {}
        return optim.Optimiser(config.optim, params, tuple(config.freeze), epochs=config.epochs)

    def init(self) -> State:
        """The state before the first step, from the config's seed."""
        config = self.config
        rng = jax.random.key(config.seed)
        init_key = jax.random.fold_in(rng, zlib.crc32(b"init"))
        variables = jax.jit(lambda key: self._init(key, 1)[1])(init_key)
        params = dict(variables["params"])
        weighting_params, weighting_state = self.objective.init()
        if weighting_params:
            params["weighting"] = weighting_params
        trained, _ = self.optimiser.split(params)
        batch_stats = variables.get("batch_stats", {})
        devices = jax.device_count()
        width = -(-config.data.batch_size // devices) * devices
        losses = [*(task.name for task in self.tasks), *self.aux_losses, "total"]
        zero = lambda: jnp.zeros((), jnp.float32)  # noqa: E731 - leaves must not share a buffer
        count = lambda: jnp.zeros((), jnp.int32)  # noqa: E731
        return State(
            step=count(),
            position=count(),
            batch=count(),
            params=params,
            batch_stats=batch_stats,
            opt_state=self.optimiser.init(params),
            ema=jax.tree.map(jnp.copy, trained) if config.ema_decay else {},
            ema_batch_stats=jax.tree.map(jnp.copy, batch_stats) if config.ema_decay else {},
            weighting=weighting_state,
            carry=self.carry(width),
            log={name: {"sum": zero(), "count": zero()} for name in losses},
            best={name: jnp.full((), -jnp.inf, jnp.float32) for name in self.monitored},
            best_step={name: count() for name in self.monitored},
            stale=count(),
            plateau=self.optimiser.fresh_plateau(),
            rng=rng,
            extra=self.extra(),
        )

    def extra(self) -> Any:
        """State of the system's own (`State.extra`): none, here."""
        return {}

    def write_run(self, run: Run) -> None:
        """Files of the system's own in the folder of a finished run: none, here."""

    def write_split(self, folder: pathlib.Path, split: str, raw: Mapping[str, Any]) -> None:
        """Files of the system's own beside the predictions of a split: none, here.

        Args:
            folder: of the predictions.
            raw: the state that predicts, as nested dicts of numpy arrays.
        """
