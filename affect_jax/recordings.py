"""Predictions of sound that is in no store, by a run whose model hears clips."""

from __future__ import annotations

import contextlib
import itertools
import math
import pathlib
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import memory, sharding
from affect_jax.predict import one_behind
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.systems.audio import Audio
from affect_jax.tasks import Task, scored
from data_pipelines.audio import FEATURES, RATE
from data_pipelines.errors import UserError, shown
from data_pipelines.store_writer import StoreWriter

(STREAM,) = FEATURES  # "audio"


class Recordings:
    """A run that predicts windows of sound.

    Attributes:
        tasks: what is predicted.
        size: samples of a window.
        step: of the run's checkpoint.
    """

    def __init__(self, system: Audio, step: int, variables: Any):
        """`system`: on data of clips whose longest is a window."""
        # Placed once: weights on the host would be sent to every device with each batch.
        self._variables = sharding.put(variables, sharding.replicated(system.data.mesh))
        self._system = system
        self.tasks: tuple[Task, ...] = scored(system.tasks)
        self.size: int = system.data.shape().rates[STREAM]
        self.step = step

    def predict(
        self, windows: Iterable[tuple[Any, np.ndarray]]
    ) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        """(its key, {task: raw prediction, float32}) of each window, in order.

        Batches are of one size, whatever recordings their windows are of: compiled once.

        Args:
            windows: (key, int16 [n]), n at most `size`; what is missing is masked.
        """
        with memory.said(self._system.config):
            for keys, computed in one_behind(self._computed(windows)):
                arrays = {name: np.asarray(x, np.float32) for name, x in computed.items()}
                for i, key in enumerate(keys):
                    yield key, {name: x[i] for name, x in arrays.items()}

    def _computed(
        self, windows: Iterable[tuple[Any, np.ndarray]]
    ) -> Iterator[tuple[list[Any], dict[str, jax.Array]]]:
        """(keys, raw predictions on the device) of each batch."""
        system, iterator = self._system, iter(windows)
        width = system.config.data.eval_batch_size
        width = -(-width // jax.device_count()) * jax.device_count()

        def run(variables: Any, batch: Any) -> dict[str, jax.Array]:
            output = system.model.apply(variables, system.prepare(batch, None, False), train=False)
            return {task.name: output.predictions[task.name] for task in self.tasks}

        same, batched = sharding.replicated(system.data.mesh), sharding.batched(system.data.mesh)
        run = jax.jit(
            run,
            in_shardings=(same, batched),
            out_shardings=batched,
            compiler_options=system.compiler_options,
        )
        while some := list(itertools.islice(iterator, width)):
            batch = system.data.example(width)
            for i, (_, sound) in enumerate(some):
                batch["inputs"][STREAM][i, : len(sound)] = sound
                batch["inputs_mask"][STREAM][i, : len(sound)] = True
                batch["mask"][i], batch["row"][i], batch["start"][i] = True, i, True
            yield [key for key, _ in some], run(self._variables, batch)


@contextlib.contextmanager
def open_run(run: Run, checkpoint: str = "") -> Iterator[Recordings]:
    """The run, ready to predict sound; its own data are not needed.

    Args:
        checkpoint: as `config.checkpoint`; "" for that of the config.

    Raises:
        UserError: it hears no clips of sound alone, or has no such checkpoint.
    """
    run.require()
    config = configs.read(run.config_file)
    _require_clips(run, config)
    config.folds.cut = ""
    size = math.ceil(Fraction(str(config.data.seconds)) * RATE)
    with tempfile.TemporaryDirectory() as folder:
        config.data.root = str(_store(pathlib.Path(folder) / "window", size))
        system = system_of(run, config)
        if not isinstance(system, Audio):
            raise UserError(
                f"{run.folder}: config.system = {config.system!r} does not say at which rate its "
                "sound is. Recordings are predicted by runs of the system 'audio'."
            )
        step, variables = weights(system, run, checkpoint or config.checkpoint)
        yield Recordings(system, step, variables)


def _require_clips(run: Run, config: ConfigDict) -> None:
    """UserError for a run that reads other things than clips of sound of a fixed length."""
    features, data = tuple(config.model.features), config.data
    why = ""
    if features != (STREAM,):
        why = f"reads {shown(features)}, and a recording is {(STREAM,)} alone"
    elif not data.clips:
        why = "reads frames of tracks (config.data.clips is false), and a recording is cut to clips"
    elif not data.seconds:
        why = "was fed whole clips (config.data.seconds is 0), so that no window has its length"
    if why:
        raise UserError(f"{run.folder}: its model {why}. Name another run.")


def _store(path: pathlib.Path, size: int) -> pathlib.Path:
    """The store of one silent clip of a window's length: it stands for data of any kind."""
    with StoreWriter(path, name="window", features=FEATURES, labels={}) as writer:
        writer.add(
            track="window", split="test", frames=[1], features={STREAM: np.zeros(size, np.int16)}
        )
    return path
