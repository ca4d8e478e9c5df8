"""The training loop: phases of a schedule, chunks of steps, evaluation, checkpoints, resume."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import signal
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import sharding
from affect_jax.checkpoint import Checkpoints, place
from affect_jax.config import epochs_in
from affect_jax.diagnose import explain_non_finite
from affect_jax.feed import feeder
from affect_jax.optim import learning_rate, matching, plateau
from affect_jax.predict import Predictor, require_terms, score, scores_of, with_total
from affect_jax.progress import Progress
from affect_jax.restore import parameters_of, take_parameters
from affect_jax.run import Run
from affect_jax.state import State
from affect_jax.step import chunk
from affect_jax.system import Phase, Supervised
from affect_jax.tasks import better_sign
from data_pipelines.errors import UserError, nearest


class Stopped(Exception):
    """A signal asked for the end; the state is saved."""


def train(system: Supervised, run: Run) -> State:
    """Train from the last checkpoint, or from the start, to the end of the schedule.

    Returns the final state.

    Raises:
        Stopped: SIGTERM or SIGINT came; the checkpoint of that moment is written.
        UserError: a loss is not finite, or there is no room for a checkpoint.
    """
    with Checkpoints(run.checkpoints) as checkpoints, _signals() as stop, Progress(run) as progress:
        return _Loop(system, run, checkpoints, stop, progress).go()


class _Loop:
    """One training. All that matters for the future is in `self.state`."""

    def __init__(
        self,
        system: Supervised,
        run: Run,
        checkpoints: Checkpoints,
        stop: list[int],
        progress: Progress,
    ):
        self.system, self.config, self.run = system, system.config, run
        self.checkpoints, self.stop, self.progress = checkpoints, stop, progress
        self.monitor = monitored(system)
        self.state = self._start()
        rows = system.rows(self.config.data.train_split)
        self.plan = system.training_plan(rows)
        data = self.config.data
        self.feeder = feeder(
            system.source(),
            rows,
            system.mesh,
            how=data.feeder,
            resident_gib=data.resident_gib,
            workers=data.workers,
        )
        self.programs = {
            name: chunk(step, self.feeder.fetch, system.mesh, system.compiler_options)
            for name, step in system.steps(self.state.params).items()
        }
        self.predictor = Predictor(system, data.split) if data.split else None
        self.rate = learning_rate(self.config.optim, self.config.epochs)
        if self.config.freeze:
            hits = jax.tree.leaves(matching(self.state.params, tuple(self.config.freeze)))
            progress.say(f"{sum(hits)} of {len(hits)} parameters are frozen")
        progress.say(
            f"{len(rows)} rows of {rows.length} frames, batches of {self.plan.batch_size} on "
            f"{jax.device_count()} {jax.devices()[0].platform} device(s), {self.feeder.name} data"
        )

    def _put(self, tree: Any) -> Any:
        # Every leaf must lie where the compiled step left it, or the step is compiled again.
        return sharding.put(tree, sharding.replicated(self.system.mesh))

    # --- start and end ---------------------------------------------------------------------

    def _start(self) -> State:
        fresh = self.system.init(self.monitor)
        put = self._put
        found = self.checkpoints.restore_last(jax.eval_shape(lambda: fresh))
        if found is None:
            self.run.cut_back(-1)
            return put(warm_start(fresh, self.config))
        step, state, meta = found
        self.progress.say(f"resuming from the checkpoint of step {step}")
        for name, (then, now) in _changes(meta["environment"], environment()).items():
            self.progress.say(
                f"  {name} was {then}, is {now}: results may differ in the last digits"
            )
        # Within a phase its evaluation has not happened, whatever the log says.
        self.run.cut_back(step if int(state.batch) == 0 else step - 1)
        return place(state, fresh, put)

    def go(self) -> State:
        """Phases until the schedule or early stopping ends them."""
        while True:
            position = int(self.state.position)
            phase = self.system.phase(position)
            patience = self.config.early_stop
            if phase is None or (patience and int(self.state.stale) >= patience):
                break
            self._phase(position, phase)
        self.checkpoints.wait()
        self._keep()
        return self.state

    # --- one phase -------------------------------------------------------------------------

    def _phase(self, position: int, phase: Phase) -> None:
        table = self.plan.epoch(phase.epoch)
        done = int(self.state.batch)
        bounds = chunk_bounds(len(table), done, self.config.chunk_steps)
        started, frames = time.perf_counter(), 0
        chunks = self.feeder.chunks(table, bounds)
        self.progress.begin(len(table), done)
        for (a, b), xs in zip(itertools.pairwise(bounds), chunks, strict=True):
            if self.state.step == 0:
                self.progress.say("compiling the training step")
            epochs = phase.epoch + np.arange(a, b, dtype=np.float32) / len(table)
            shares = (epochs / max(self.config.epochs, 1)).astype(np.float32)
            self.state, logs = self.programs[phase.step](
                self.state, self.feeder.data, xs, jnp.asarray(epochs), jnp.asarray(shares)
            )
            self._check(logs, table[a:b])
            ids = table[a:b]
            frames += int(self.plan.rows.sizes[ids[ids >= 0]].sum())
            self.progress.advance(b - a)
            every = self.config.checkpoint_every_steps
            step = int(self.state.step)
            if self.stop or (
                every and b < len(table) and step // every > (step - (b - a)) // every
            ):
                self._save(step)
            if self.stop:
                self.checkpoints.wait()
                raise Stopped(step)
        self.progress.end(frames / max(time.perf_counter() - started, 1e-9))
        self._end_phase(position, phase)

    def _end_phase(self, position: int, phase: Phase) -> None:
        log = jax.device_get(self.state.log)
        losses = {k: float(v["sum"] / max(v["count"], 1)) for k, v in log.items()}
        self.state = self.state.replace(
            position=self._put(np.int32(position + 1)),
            batch=self._put(np.int32(0)),
            log=self._put(jax.tree.map(np.zeros_like, log)),
        )
        if not phase.evaluate:
            return
        step = int(self.state.step)
        lr = float(self.rate(jnp.float32(phase.epoch)) * self.state.plateau["scale"])
        record = {"step": step, "epoch": phase.epoch + 1, "lr": lr, "loss": losses}
        scores = {}
        if self.predictor is not None:
            self.progress.say(f"evaluating step {step}", quiet=True)
            split = self.config.data.split
            tracks = self.predictor.tracks(self.state.variables())
            scores = with_total(score(self.system.tasks, self.system.store, tracks), self.config)
            record["scores"] = {split: {k: v for k, v in scores.items() if not isinstance(v, list)}}
        self._remember(scores | {f"loss/{k}": v for k, v in losses.items()}, step)
        self.run.append(record)
        self.progress.evaluated(record, self.config.epochs, self.monitor)
        self._save(step)

    def _remember(self, scores: dict[str, Any], step: int) -> None:
        """Best scores, early stopping and the plateau rule."""
        best, best_step = dict(self.state.best), dict(self.state.best_step)
        improved = False
        for i, name in enumerate(self.monitor):
            # A score that is not finite never counts as the best one.
            value = np.float32(better_sign(name) * scores.get(name, np.nan))
            if np.isfinite(value) and value > np.float32(best[name]):
                best[name], best_step[name] = self._put((value, np.int32(step)))
                improved |= i == 0
        c, p = self.config.optim, self.state.plateau
        scale, waited = float(p["scale"]), int(p["stale"])
        if c.schedule == "plateau":
            scale, waited = plateau(scale, waited, improved, factor=c.factor, patience=c.patience)
        self.state = self.state.replace(
            best=best,
            best_step=best_step,
            stale=self._put(np.int32(0 if improved else int(self.state.stale) + 1)),
            plateau=self._put({"scale": np.float32(scale), "stale": np.int32(waited)}),
        )

    # --- checkpoints and checks --------------------------------------------------------------

    def _save(self, step: int) -> None:
        self.checkpoints.wait()
        self._keep()
        self.progress.say(f"saving step {step}", quiet=True)
        self.checkpoints.save(step, self.state, {"environment": environment()})

    def _keep(self) -> None:
        """The two newest steps (one may prove broken), those of the best scores and epochs kept."""
        steps = self.checkpoints.steps()
        best = {int(s) for s in self.state.best_step.values()}
        epochs = epochs_in(self.config.keep_epochs)
        kept = (r["step"] for r in self.run.records() if r["epoch"] in epochs) if epochs else ()
        self.checkpoints.keep([*steps[-2:], *best, *kept])

    def _check(self, logs: dict[str, jax.Array], table: np.ndarray) -> None:
        host = jax.device_get(logs)
        bad = np.zeros(len(table), bool)
        for values in host.values():
            bad |= ~np.isfinite(values)
        if bad.any():
            k = int(np.argmax(bad))
            step = int(self.state.step) - len(table) + k
            raise UserError(
                explain_non_finite(
                    self.system, self.plan.rows, table[k], step, {n: v[k] for n, v in host.items()}
                )
                + f" The last good checkpoint is kept in {self.run.checkpoints}."
            )


def chunk_bounds(total: int, done: int, size: int) -> list[int]:
    """Where the chunks of a phase end: multiples of an even size, then single steps.

    They follow from the number of steps in the phase alone, and need two compiled programs: one
    for `size` steps (spread evenly, at most the size asked for) and one for a single step.
    """
    size = total // -(-total // max(size, 1)) if total else 1
    whole = total // size * size
    bounds = [*range(0, whole, size), *range(whole, total + 1)]
    return sorted({done, *(b for b in bounds if b >= done)})


def check(system: Supervised, run: Run | None = None) -> None:
    """UserError for what is wrong in a training's config, before anything is written.

    Args:
        run: one that has started, whose newest checkpoint is gone on with.
    """
    config, data = system.config, system.config.data
    late = [epoch for epoch in epochs_in(config.keep_epochs) if not 1 <= epoch <= config.epochs]
    if late:
        raise UserError(
            f"config.keep_epochs: names epoch {max(late)}, the training has {config.epochs}."
        )
    system.rows(data.train_split)
    if data.split:
        system.rows(data.split)
    names = monitored(system)
    for key, which in (
        ("checkpoint", config.checkpoint),
        ("folds.checkpoint", config.folds.checkpoint),
    ):
        _require_checkpoint(f"config.{key} = {which!r}", which, names, config.epochs)
    state = jax.eval_shape(lambda: system.init(names))
    system.steps(state.params)
    if run is not None:
        with Checkpoints(run.checkpoints) as checkpoints:
            checkpoints.restore_last(state)
    elif config.init.run:
        parameters_of(config.init.run, tuple(config.init.match), state.params)


def _require_checkpoint(where: str, which: str, names: tuple[str, ...], epochs: int) -> None:
    """UserError for one that no training leaves: after days of it, that would be late."""
    if which.startswith("epoch:"):
        number = which.removeprefix("epoch:")
        if not (number.isdecimal() and 1 <= int(number) <= epochs):
            raise UserError(f"{where}: the training has epoch:1 to epoch:{epochs}.")
    elif which not in (known := ("best", "last", *names)):
        raise UserError(f"{where}: {nearest(which, known)}")


def monitored(system: Supervised) -> tuple[str, ...]:
    """`config.monitor`, checked; losses can be monitored as loss/<name>."""
    config = system.config
    require_terms(system)
    known = scores_of(system.tasks)
    terms = [name for name, _ in config.total.terms]
    if terms and all(name in known for name in terms):
        known.insert(0, config.total.name)
    known += [f"loss/{t.name}" for t in system.tasks] + ["loss/total"]
    # The default names every task of the system; a run of some tasks monitors those.
    tasks = [task.name for task in system.tasks]
    left_out = [name for name in config.task if name not in tasks]
    chosen = []
    for name in config.monitor:
        if name in known:
            chosen.append(name)
        elif name.split("/")[0] not in left_out and name != config.total.name:
            hint = nearest(name, known)
            raise UserError(f"config.monitor: no score that is one number: {name!r}. {hint}")
    if not config.data.split:
        chosen = [name for name in chosen if name.startswith("loss/")] or ["loss/total"]
    return tuple(chosen) or tuple(known[:1])


def warm_start(state: State, config: ConfigDict) -> State:
    """Parameters of another run's best checkpoint, where their paths match `config.init`."""
    if not config.init.run:
        return state
    return take_parameters(state, config.init.run, tuple(config.init.match))


def environment() -> dict[str, Any]:
    """What bit-for-bit sameness depends on besides the state."""
    import flax

    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jax.lib.__version__,
        "flax": flax.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def _changes(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {k: (then.get(k), now[k]) for k in now if then.get(k) != now[k]}


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that is not empty once SIGTERM or SIGINT came; a second SIGINT ends at once."""
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: a notebook's or a test's
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
