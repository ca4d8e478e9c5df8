"""The training loop: phases of a schedule, chunks of steps, evaluation, checkpoints, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import signal
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import sharding
from affect_jax.checkpoint import Checkpoints, place
from affect_jax.config import epochs_in
from affect_jax.diagnose import explain_non_finite
from affect_jax.environment import changed, environment
from affect_jax.initial import source_of, start_from_others
from affect_jax.optim import DEFAULT
from affect_jax.phases import Phase
from affect_jax.predict import Predictor
from affect_jax.progress import Progress
from affect_jax.run import Run, record_of
from affect_jax.scoring import Total, score
from affect_jax.state import State
from affect_jax.step import chunk
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import better_sign, scored
from data_pipelines.errors import UserError


class Stopped(Exception):
    """A signal asked for the end; the state is saved."""


def train(system: Supervised, run: Run) -> State:
    """Train from the last checkpoint, or from the start, to the end of the schedule.

    Returns the final state.

    Raises:
        Stopped: SIGTERM, SIGINT or SIGHUP came; the checkpoint of that moment is written.
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
        self.monitor = system.monitored
        self.log: list[str] = []  # the lines of metrics.jsonl, which every checkpoint holds too
        self.spared: set[int] = set()  # steps that are never deleted
        self.state = self._start()
        self.unsaved = False  # a phase without an evaluation has ended since the last checkpoint
        self.saved_best = self._best()
        self.plan = system.data.training_plan(carries=system.carries)
        rows, self.full = self.plan.rows, len(self.plan.epoch(0))
        self.feeder = system.data.feeder(rows, training=True)
        self.kinds = system.programs()
        self.programs = {
            name: chunk(
                program.step,
                self.feeder.fetch,
                functools.partial(system.prepare, train=program.train),
                system.data.mesh,
                system.compiler_options,
            )
            for name, program in self.kinds.items()
        }
        split = self.config.data.split
        self.predictor = Predictor(system, split) if split else None
        if system.optimiser.summary:
            progress.say(system.optimiser.summary)
        progress.unit = "clips" if rows.clip else "frames"
        what = "clips" if rows.clip else f"rows of {rows.length} frames"
        progress.say(
            f"{len(rows)} {what}, batches of {self.plan.batch_size} on "
            f"{jax.device_count()} {jax.devices()[0].platform} device(s), {self.feeder.name} data"
        )

    def _put(self, tree: Any) -> Any:
        # Every leaf must lie where the compiled step left it, or the step is compiled again.
        return sharding.put(tree, sharding.replicated(self.system.data.mesh))

    # --- start and end ---------------------------------------------------------------------

    def _start(self) -> State:
        fresh = self.system.init()
        put = self._put
        newest = self.checkpoints.restore_last(fresh)
        if newest is None:
            self.log = self.run.set_log([], -1)
            source = source_of(self.config, self.system.tasks)
            return put(start_from_others(fresh, source))
        step, state, meta = newest
        self.progress.say(f"resuming from the checkpoint of step {step}")
        for line in changed(meta.get("environment")):
            self.progress.say(f"  {line}")
        # Within a phase its evaluation has not happened, whatever the log says.
        done = step if int(state.batch) == 0 else step - 1
        self.log = self.run.set_log(meta.get("log"), done)
        if "log" not in meta and self.config.keep_epochs:
            # Saved by an older version: what the log has lost must not cost a checkpoint.
            self.spared = set(self.checkpoints.steps())
        return place(state, fresh, put)

    def go(self) -> State:
        """Phases until the schedule or early stopping ends them."""
        while True:
            phase = self.system.phase(self.state)
            patience = self.config.early_stop
            if phase is None or (patience and int(self.state.stale) >= patience):
                break
            self._phase(phase)
        if self.unsaved:
            self._save(int(self.state.step))
        self.checkpoints.wait()
        self._keep()
        return self.state

    # --- one phase -------------------------------------------------------------------------

    def _phase(self, phase: Phase) -> None:
        data, train = self.system.data, self.kinds[phase.program].train
        in_order = dict(shuffle=False, drop_last=False)
        plan = self.plan if train else dataclasses.replace(self.plan, **in_order)
        table = plan.epoch(phase.epoch, phase.rows)
        done = int(self.state.batch)
        steps = min(self.config.chunk_steps, self.feeder.most_steps(table.shape[1]))
        bounds = chunk_bounds(len(table), done, steps, full=self.full)
        started, frames = time.perf_counter(), 0
        chunks = self.feeder.chunks(table, bounds, data.draws(phase.epoch) if train else None)
        self.progress.begin(len(table), done)
        for (a, b), xs in zip(itertools.pairwise(bounds), chunks, strict=True):
            if self.state.step == 0:
                self.progress.say("compiling the training step")
            epochs = phase.epoch + np.arange(a, b, dtype=np.float32) / len(table)
            shares = (epochs / max(self.config.epochs, 1)).astype(np.float32)
            self.state, logs = self.programs[phase.program](
                self.state,
                self.feeder.data,
                xs,
                jnp.int32(phase.epoch),
                jnp.asarray(epochs),
                jnp.asarray(shares),
            )
            self._check(logs, table[a:b])
            ids = table[a:b]
            frames += int(self.plan.rows.sizes[ids[ids >= 0]].sum())
            self.progress.advance(b - a)
            every = self.config.checkpoint_every_steps
            step = int(self.state.step)
            stop = bool(self.stop)  # looked at once: what is stopped at is what was saved
            due = every and b < len(table) and step // every > (step - (b - a)) // every
            if stop or due:
                self._save(step)
            if stop:
                self.checkpoints.wait()
                raise Stopped(step)
        self.progress.end(frames / max(time.perf_counter() - started, 1e-9))
        self._end_phase(phase)

    def _end_phase(self, phase: Phase) -> None:
        self.state = self._put(self.system.after(self.state, phase))
        log = jax.device_get(self.state.log)
        # A loss without labels, or of a phase without a row, is none: 0 would be the best there is.
        losses = {k: float(v["sum"] / v["count"]) for k, v in log.items() if v["count"]}
        self.state = self.state.replace(
            position=self._put(np.int32(int(self.state.position) + 1)),
            batch=self._put(np.int32(0)),
            log=self._put(jax.tree.map(np.zeros_like, log)),
        )
        self.unsaved = not phase.evaluate
        if not phase.evaluate:
            return
        step = int(self.state.step)
        rates = self.system.optimiser.rates(jnp.float32(phase.epoch), self.state.plateau["scale"])
        rates = {name: float(rate) for name, rate in rates.items()}
        record = {"step": step, "epoch": phase.epoch + 1, "lr": rates.pop(DEFAULT), "loss": losses}
        record |= {"group_lr": rates} if rates else {}
        scores = {}
        if self.predictor is not None:
            self.progress.say(f"evaluating step {step}", quiet=True)
            split = self.config.data.split
            tracks = self.predictor.tracks(self.state.variables())
            scores = score(scored(self.system.tasks), self.system.data.store, tracks)
            scores = Total.of(self.config).added_to(scores | self.predictor.losses.scores())
            record["scores"] = {split: {k: v for k, v in scores.items() if not isinstance(v, list)}}
        self._remember(scores | {f"loss/{k}": v for k, v in losses.items()}, step)
        self.log.append(self.run.append(record))
        self.progress.evaluated(record, self.config.epochs, self.monitor)
        self._save(step)

    def _remember(self, scores: dict[str, Any], step: int) -> None:
        """Best scores, early stopping and the plateau rule."""
        best, best_step = dict(self.state.best), dict(self.state.best_step)
        improved, plateau = False, self.state.plateau
        for i, name in enumerate(self.monitor):
            # A score that is not finite never counts as the best one.
            value = np.float32(better_sign(name) * scores.get(name, np.nan))
            if i == 0:
                plateau = self.system.optimiser.evaluated(
                    plateau, float(value), float(best[name]), better_sign(name)
                )
            if np.isfinite(value) and value > np.float32(best[name]):
                best[name], best_step[name] = self._put((value, np.int32(step)))
                improved |= i == 0
        self.state = self.state.replace(
            best=best,
            best_step=best_step,
            stale=self._put(np.int32(0 if improved else int(self.state.stale) + 1)),
            plateau=self._put(plateau),
        )

    # --- checkpoints and checks --------------------------------------------------------------

    def _save(self, step: int) -> None:
        self.checkpoints.wait()
        self._keep()
        self.progress.say(f"saving step {step}", quiet=True)
        # The log as it is now: saving takes time.
        meta = {"environment": environment(), "log": list(self.log)}
        self.checkpoints.save(step, self.state, meta)
        self.saved_best = self._best()

    def _best(self) -> set[int]:
        """The steps of the best scores so far."""
        return {int(step) for step in self.state.best_step.values()}

    def _keep(self) -> None:
        """The two newest steps (one may prove broken), those of the best scores and epochs kept."""
        steps = self.checkpoints.steps()
        # Those of the newest state on disk, too: it may be read before the next one is there.
        best = self.saved_best | self._best()
        epochs, kept = epochs_in(self.config.keep_epochs), self.spared
        if epochs:
            records = filter(None, map(record_of, self.log))
            kept = kept | {record["step"] for record in records if record["epoch"] in epochs}
        self.checkpoints.keep([*steps[-2:], *best, *kept])

    def _check(self, logs: dict[str, jax.Array], table: np.ndarray) -> None:
        host = jax.device_get(logs)
        bad = np.zeros(len(table), bool)
        for values in host.values():
            bad |= ~np.isfinite(values)
        if bad.any():
            k = int(np.argmax(bad))
            step = int(self.state.step) - len(table) + k
            why = explain_non_finite(
                self.system, self.plan.rows, table[k], step, {n: v[k] for n, v in host.items()}
            )
            self.checkpoints.wait()
            if self.checkpoints.steps():
                why += f" The last good checkpoint is kept in {self.run.checkpoints}."
            raise UserError(why)


def chunk_bounds(total: int, done: int, size: int, *, full: int | None = None) -> list[int]:
    """Ends of the chunks of a phase: multiples of an even size, then single steps.

    They need two compiled programs: one for `size` steps (spread evenly over a phase of all rows,
    at most the size asked for) and one for a single step.

    Args:
        total: steps of the phase.
        done: of them.
        full: steps of a phase of all rows; default `total`.
    """
    full = total if full is None else full
    size = full // -(-full // max(size, 1)) if full else 1
    whole = total // size * size
    bounds = [*range(0, whole, size), *range(whole, total + 1)]
    return sorted({done, *(b for b in bounds if b >= done)})


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that is not empty once SIGTERM, SIGINT or SIGHUP came; a second SIGINT ends at once.

    SIGHUP comes when a terminal closes. One that is ignored (nohup) stays so.
    """
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        del frame
        if number == signal.SIGINT and received:
            raise KeyboardInterrupt
        received.append(number)

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    try:
        previous = {number: signal.signal(number, note) for number in numbers}
    except ValueError:  # not the main thread: a notebook's or a test's
        yield received
        return
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
