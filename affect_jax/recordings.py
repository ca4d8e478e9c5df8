"""Predictions of sound that is in no store, by runs whose models hear clips."""

from __future__ import annotations

import contextlib
import itertools
import math
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import memory, sharding
from affect_jax.ensemble import parse
from affect_jax.ensemble.agree import common_tasks
from affect_jax.ensemble.choose import MEANS, unfitted
from affect_jax.ensemble.recipe import combine
from affect_jax.members import expand
from affect_jax.predict import one_behind
from affect_jax.restore import system_of, weights
from affect_jax.run import Run
from affect_jax.systems.audio import Audio
from affect_jax.tasks import Task, decode, scored
from data_pipelines.audio import FEATURES, RATE
from data_pipelines.errors import UserError, shown
from data_pipelines.store_writer import StoreWriter

(STREAM,) = FEATURES  # "audio"


class Recordings:
    """A run that predicts windows of sound.

    Attributes:
        tasks: what is predicted.
        size: samples of a window.
        origin: {"run": its name, "step": of its checkpoint}.
    """

    def __init__(self, system: Audio, origin: dict[str, Any], variables: Any):
        """`system`: on data of clips whose longest is a window."""
        # Placed once: weights on the host would be sent to every device with each batch.
        self._variables = sharding.put(variables, sharding.replicated(system.data.mesh))
        self._system = system
        self.tasks: tuple[Task, ...] = scored(system.tasks)
        self.size: int = system.data.shape().rates[STREAM]
        self.origin = origin

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


class Together:
    """Runs that predict the same windows: the means of their values and of their probabilities.

    Attributes:
        tasks: what is predicted, bins as values.
        size: samples of a window.
        origin: {"runs": those of the runs}.
    """

    def __init__(self, runs: Sequence[Recordings], tasks: Sequence[Task]):
        """`tasks`: as all runs have them, but for bins."""
        self._runs, self.tasks, self.size = runs, tuple(tasks), runs[0].size
        self._recipes = {task.name: unfitted(task, len(runs), MEANS).recipes for task in tasks}
        self.origin = {"runs": [run.origin for run in runs]}

    def predict(
        self, windows: Iterable[tuple[Any, np.ndarray]]
    ) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        """As `Recordings.predict`; where a run has no finite number, NaN."""
        copies = itertools.tee(windows, len(self._runs))  # read in step, so that few are held
        given = [run.predict(copy) for run, copy in zip(self._runs, copies)]
        for predicted in zip(*given, strict=True):
            raws = [raw for _, raw in predicted]
            yield predicted[0][0], {task.name: self._mean(task, raws) for task in self.tasks}

    def _mean(self, task: Task, raws: Sequence[dict[str, np.ndarray]]) -> np.ndarray:
        """float32 [size]: the mean of a task over the runs' raw predictions of a window."""
        given = []
        for run, raw in zip(self._runs, raws):
            own, x = next(t for t in run.tasks if t.name == task.name), raw[task.name]
            given.append((decode(own, x) if own.kind == "bins" else x)[None])
        if not np.isfinite(given).all():  # `combine` would take it for a gap
            return np.full(task.size, np.nan, np.float32)
        return combine(task, self._recipes[task.name], given, (0, 1))[0]


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
        yield Recordings(system, {"run": run.folder.name, "step": step}, variables)


@contextlib.contextmanager
def open_runs(
    names: Sequence[str], checkpoint: str = "", tasks: str | None = None
) -> Iterator[Recordings | Together]:
    """The runs of these names, ready to predict sound, several of them together.

    Args:
        names: as `members.expand` takes them: runs, RUN@10-19, folders of folds.
        checkpoint: as `open_run`, of those that name no epoch.
        tasks: "A,B", those that are predicted; None for all, which the runs must agree in.

    Raises:
        UserError: as `open_run`; one is named twice, or they differ in tasks or windows.
    """
    for folder, _ in (one for name in names for one in expand(name)):
        Run(folder).require()
    members = parse(names, None)
    alone = len(members) == 1 and tasks is None
    agreed = () if alone else common_tasks(members, tasks, None)
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(open_run(Run(one.folder), one.checkpoint or checkpoint))
            for one in members
        ]
        for member, run in zip(members, runs):
            if run.size != runs[0].size:
                raise UserError(
                    f"{member.folder}: hears windows of {run.size / RATE:g} s, "
                    f"{members[0].folder} of {runs[0].size / RATE:g} s. Name runs of one length."
                )
        yield runs[0] if alone else Together(runs, agreed)


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
