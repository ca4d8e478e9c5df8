"""RLPS: a selector of training rows, and the classifier that they train, in turns.

The classifier is trained as the system that `config.rlps.system` names trains it; `config.epochs`
are its epochs. After those that see all rows, every row is scored in evaluation mode, and the
policy learns alone for `policy_passes` turns. Then, in each of `alternations` turns of an epoch,

    train   the rows that the last walk retained are fed
    score   all rows in order: features, and probabilities of their labels
            the rewards teach the policy, and the next walk goes by the new features

so that one forward pass of all rows gives the rewards of a turn and the features of the next. A
classifier is left as it is in a turn that retains less than a batch. At the end a walk in row order
that retains where P(retain) >= 1/2 gives the selection (affect_jax/selection_files.py).

Keys: `config.rlps` (configs/rlps_keys.py). What a turn does: affect_jax/selection/turns.py.

Source: Li and Xu, "Deep reinforcement learning for robust emotional classification in facial
expression recognition", Knowledge-Based Systems 204, 2020, algorithm 1 as docs/differences.md
reads it.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import systems
from affect_jax.feed import Batch
from affect_jax.models.blocks import choose
from affect_jax.phases import Phase, Program
from affect_jax.predict import Predictor
from affect_jax.restore import choose_step, variables_of
from affect_jax.run import Run
from affect_jax.selection.settings import settings_of
from affect_jax.selection.turns import Turns
from affect_jax.selection.turns_sigmoid import SigmoidTurns
from affect_jax.selection_files import (
    FOLDER,
    HISTORY,
    KEEP,
    SELECTION,
    labels_of,
    write_history,
    write_selection,
)
from affect_jax.state import State
from affect_jax.step import advanced
from affect_jax.systems.supervised import Supervised
from affect_jax.tasks import Task, scored
from data_pipelines import folds
from data_pipelines.errors import UserError, listed
from data_pipelines.keep import kept_rows, write_kept
from data_pipelines.plan import generator
from data_pipelines.replace_folder import replace_folder
from data_pipelines.rows import Rows

_log = logging.getLogger(__name__)

EMBEDDING = "embedding"  # array of the model: what a row is selected by, of any dimensions
METHODS = {"rlps": Turns, "sigmoid": SigmoidTurns}
SAMPLED = 100  # rows whose rewards are kept turn by turn


def build(config: ConfigDict, **given: Any) -> RLPS:
    """The system of a config, as systems.build."""
    return RLPS(config, **given)


class RLPS:
    """A system whose rows are selected in turns with its training; all else is that system's."""

    def __init__(self, config: ConfigDict, **given: Any):
        """Build the system of the classifier and check that its rows can be selected.

        Raises:
            UserError: also for a key of config.rlps, or a system, model or store that does not fit.
        """
        self._settings = settings_of(config)
        self._method = choose.entry("config.rlps.method", self._settings.method, METHODS)
        name = self._settings.system
        if name == config.system:
            raise UserError(f"config.rlps.system = {name!r}: expected that of the classifier.")
        self._base = systems.builder("config.rlps.system", name)(config, **given)
        for part in ("phase", "after", "extra"):
            if getattr(type(self._base), part, None) is not getattr(Supervised, part):
                raise UserError(
                    f"config.rlps.system = {name!r}: trains in phases of its own; expected a "
                    "system that differs from 'supervised' in other parts."
                )
        self._require_rows()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._base, name)

    @functools.cached_property
    def _task(self) -> Task:
        """The task whose labels are selected by."""
        tasks = [task for task in scored(self.tasks) if task.kind == "classes"]
        if len(tasks) != 1:
            raise UserError(
                f"config.system = 'rlps': expected one task of kind classes, got "
                f"{listed(task.name for task in tasks) or 'none'}. Change config.tasks."
            )
        return tasks[0]

    def _require_rows(self) -> None:
        """UserError where a row has not one class, or its place in a track matters."""
        data, config, task = self.data, self.config.data, self._task
        if not config.clips and data.length != 1:
            raise UserError(
                f"config.data.length = {config.length}: config.system = 'rlps' selects rows of one "
                f"label of {task.name}. Set 1, or config.data.clips where tracks are clips."
            )
        if self.carries or config.lanes:
            raise UserError(
                "config.system = 'rlps': rows that follow each other cannot be selected. Take an "
                "encoder without memory, and config.data.lanes = false."
            )
        arrays = self._output.aux.get("arrays", {})
        if EMBEDDING not in arrays:
            raise UserError(
                f"config.model.name = {self.config.model.name!r}: gives no array {EMBEDDING!r}, "
                "by which rows are selected. Take another model."
            )

    @functools.cached_property
    def _output(self) -> Any:
        """Shapes of the model's output for a row."""

        def output(variables: Any) -> Any:
            batch = self.prepare(self.data.example(1), None, False)
            return self.model.apply(variables, batch, train=False)

        return jax.eval_shape(output, self.variable_shapes)

    # --- rows --------------------------------------------------------------------------------

    @functools.cached_property
    def _held(self) -> np.ndarray:
        """bool [N]: training rows that reward f1 is measured on."""
        rows, store, settings = self.data.training_rows, self.data.store, self._settings
        if settings.reward != "f1":
            return np.zeros(len(rows), bool)
        count = round(1 / settings.held_out)
        fold = folds.deal(store, self.config.data.train_split, count, self.config.seed)
        held = np.array([fold.get(track.group) == 0 for track in store.tracks])
        return held[rows.track]

    @functools.cached_property
    def _turns(self) -> Turns:
        """The selector, on the training rows."""
        rows, task = self.data.training_rows, self._task
        labels, known = labels_of(self.data.store, rows, task.name)
        valid, held = known & ~self._held, known & self._held
        wanted = {"selected from": valid}
        wanted |= {"held out for config.rlps.reward = 'f1'": held} if self._held.any() else {}
        for what, some in wanted.items():
            if not some.any():
                raise UserError(
                    f"{self.data.store.path}: split {self.config.data.train_split!r} has no row "
                    f"with a label of {task.name} that can be {what}."
                )
        order = generator(self.config.seed, "sampled").permutation(np.flatnonzero(valid))
        return self._method(
            labels=labels,
            valid=valid,
            held=held,
            sampled=np.sort(order[:SAMPLED]),
            classes=task.size,
            settings=self._settings,
        )

    @functools.cached_property
    def _judge(self) -> Turns:
        """The selector without rows of its own: walks of what it has learned need none."""
        none = np.zeros(0, np.int32)
        return self._method(
            labels=none,
            valid=none > 0,
            held=none > 0,
            sampled=none,
            classes=self._task.size,
            settings=self._settings,
        )

    # --- phases ------------------------------------------------------------------------------

    @property
    def _before(self) -> int:
        """Epochs that see all rows."""
        return self.config.epochs - self._settings.alternations

    def init(self) -> State:
        """The state before the first step, from the config's seed."""
        state = self._base.init()
        width = self._output.aux["arrays"][EMBEDDING].size  # of one row
        fresh = self._turns.init(_key(state, "policy"), width)
        return state.replace(extra=fresh | {"before": jnp.int32(self._before)})

    def phase(self, state: State) -> Phase | None:
        """Epochs of all rows, a score of them, then by turns an epoch of the retained and a score.

        Raises:
            UserError: the state is of a training with other epochs of all rows.
        """
        position, before = int(state.position), int(state.extra["before"])
        if before != self._before:
            raise UserError(
                f"config.epochs = {self.config.epochs}, config.rlps.alternations = "
                f"{self._settings.alternations}: the run was started with {before} epochs of all "
                "rows before them. Take back what was changed, or give another --workdir."
            )
        turn, trained = divmod(position - before, 2)
        if position < before:
            rows = np.flatnonzero(~self._held) if self._held.any() else None
            return self._epoch(state, position, rows)
        if not trained:
            return Phase("score", before + turn)
        if turn == self._settings.alternations:
            return None
        rows = np.flatnonzero(state.extra["retained"])
        least = min(self.config.data.batch_size, int(self._turns.valid.sum()))
        if len(rows) < least:
            _log.warning(
                "turn %d of %d: %d rows are retained, less than a batch of %d: the classifier "
                "stays as it is",
                *(turn + 1, self._settings.alternations, len(rows), least),
            )
            rows = rows[:0]
        return self._epoch(state, before + turn, rows)

    def _epoch(self, state: State, epoch: int, rows: np.ndarray | None) -> Phase:
        """An epoch of the classifier on these rows."""
        phase = self._base.phase(state.replace(position=epoch))
        return dataclasses.replace(phase, rows=rows)

    def programs(self) -> dict[str, Program]:
        """The classifier's update, and the score of a batch."""
        return self._base.programs() | {"score": Program(self._score, train=False)}

    def _score(
        self, state: State, batch: Batch, epoch: jax.Array, progress: jax.Array
    ) -> tuple[State, dict[str, jax.Array]]:
        """Keep features, probability of the label and likeliest class of the rows of a batch."""
        del epoch, progress
        task, kept, row = self._task, state.extra["scored"], batch["row"]
        output = self.model.apply(state.variables(), batch, train=False)
        logits = output.predictions[task.name].reshape(-1, task.size)
        feature = output.aux["arrays"][EMBEDDING]
        known = batch["label_mask"][task.name].reshape(-1)
        label = jnp.where(known, batch["labels"][task.name].reshape(-1), 0)
        chances = jax.nn.softmax(logits)
        values = {
            "feature": feature.reshape(len(row), -1),
            "probability": jnp.take_along_axis(chances, label[:, None], 1)[:, 0],
            "prediction": logits.argmax(-1).astype(jnp.int32),
        }
        # Row -1 would be the last one: places that do not exist are sent out of range.
        place = jnp.where(row >= 0, row, len(kept["probability"]))
        kept = {k: kept[k].at[place].set(v, mode="drop") for k, v in values.items()}
        return advanced(state).replace(extra=state.extra | {"scored": kept}), {}

    def after(self, state: State, phase: Phase) -> State:
        """The state after the policy has learned by a score, and has walked for the next turn."""
        if phase.program != "score":
            return state
        done = int(state.position) - self._before
        extra = {name: part for name, part in state.extra.items() if name != "before"}
        turns = self._turns
        if done:
            extra = turns.end(extra, _key(state, "update", extra["turn"]))
        else:
            for _ in range(self._settings.policy_passes):
                extra = turns.begin(extra, _key(state, "walk", extra["turn"]))
                extra = turns.end(extra, _key(state, "update", extra["turn"]))
        if done < 2 * self._settings.alternations:
            extra = turns.begin(extra, _key(state, "walk", extra["turn"]))
        return state.replace(extra=state.extra | extra)

    # --- files -------------------------------------------------------------------------------

    def write_run(self, run: Run) -> None:
        """RUN/selection: what the last walk retains of the training rows, and how it came to it."""
        _, raw = choose_step(run, "last")
        extra, turns = raw["extra"], self._turns
        store, rows, task = self.data.store, self.data.training_rows, self._task
        # Those that reward f1 was measured on are judged here as all others.
        judged = turns.valid | turns.held
        walk = self._judge.final(extra["policy"], extra["scored"]["feature"], judged)
        retained, chances = np.asarray(walk.retained), np.asarray(jax.nn.sigmoid(walk.logits))
        over = int(extra["turn"])
        with replace_folder(run.folder / FOLDER) as new:
            write_selection(
                new / SELECTION,
                store,
                rows.chosen(judged),
                task,
                p_retain=chances[judged],
                retained=retained[judged],
                prediction=np.asarray(extra["scored"]["prediction"])[judged],
            )
            history = {name: np.asarray(x)[:over] for name, x in extra["history"].items()}
            alone = np.arange(over) < self._settings.policy_passes
            write_history(
                new / HISTORY, store, rows.chosen(turns.sampled), task, history | {"alone": alone}
            )
            write_kept(new / KEEP, store, *self._among_all(retained))
        if not retained.any():
            _log.warning(
                "%s: is empty, as the selector retains no training row", run.folder / FOLDER / KEEP
            )

    def _among_all(self, retained: np.ndarray) -> tuple[Rows, np.ndarray]:
        """(all rows of the training split, those of them that are retained)."""
        data, config = self.data, self.config.data
        rows = data.rows(config.train_split)
        fed = kept_rows(config.keep, data.store, rows) if config.keep else np.arange(len(rows))
        return rows, fed[retained]

    def write_split(self, folder: pathlib.Path, split: str, raw: Mapping[str, Any]) -> None:
        """selection.csv of the rows of a split: what the policy would retain of them."""
        store, rows, task = self.data.store, self.data.rows(split), self._task
        predictor = Predictor(self, split, arrays=[EMBEDDING])
        frames = {track: x for track, x in predictor.tracks(variables_of(raw))}
        at = list(zip(rows.track.tolist(), rows.start.tolist(), strict=True))
        feature = np.stack([frames[track][EMBEDDING][start].ravel() for track, start in at])
        logits = np.stack([frames[track][task.name][start] for track, start in at])
        walk = self._judge.final(raw["extra"]["policy"], feature, np.ones(len(rows), bool))
        write_selection(
            folder / SELECTION,
            store,
            rows,
            task,
            p_retain=np.asarray(jax.nn.sigmoid(walk.logits)),
            retained=np.asarray(walk.retained),
            prediction=logits.argmax(-1),
        )


def _key(state: State, name: str, turn: Any = 0) -> jax.Array:
    """Random key of one purpose in a turn."""
    return jax.random.fold_in(jax.random.fold_in(state.rng, zlib.crc32(name.encode())), turn)
