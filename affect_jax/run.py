"""The run folder: one training, its config, log, checkpoints, predictions and plots.

RUN/config.json      as resolved           RUN/metrics.jsonl   one line an evaluation
RUN/tasks.json       the task table        RUN/statistics.npz  of the training features
RUN/data.json        hashes of the data    RUN/finished.json   when all of this is written
RUN/checkpoints/     Orbax steps           RUN/predictions/    <split>/<task>.npz, scores.json
RUN/events/          TensorBoard           RUN/plots/, RUN/README.md
"""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affect_jax import tasks as task_table
from data_pipelines.errors import UserError, nearest
from data_pipelines.files import Npz, read_json, readable
from data_pipelines.paths import user_path
from data_pipelines.statistics import Statistics

# Written before config.json, which makes the folder a run: a kill between them leaves these.
BEFORE_CONFIG = ("tasks.json", "statistics.npz", "data.json")

_log = logging.getLogger(__name__)


class Run:
    """Paths and small files of a run folder."""

    def __init__(self, folder: str | os.PathLike, *, label: str = ""):
        """`label`: what its progress lines begin with, where several runs train in turn."""
        self.folder = user_path(folder).resolve()
        self.label = label
        self.config_file = self.folder / "config.json"
        self.metrics_file = self.folder / "metrics.jsonl"
        self.checkpoints = self.folder / "checkpoints"
        self.predictions = self.folder / "predictions"
        self.finished_file = self.folder / "finished.json"
        self.data_file = self.folder / "data.json"
        self._made: list[pathlib.Path] = []  # folders that `create` made, the innermost first

    @property
    def exists(self) -> bool:
        """Has a training started here?"""
        return self.config_file.is_file()

    @property
    def started(self) -> bool:
        """Is there a checkpoint? Before the first, another config costs nothing."""
        return any(path.name.isdecimal() for path in self.checkpoints.glob("*"))

    def require(self) -> None:
        """UserError where there is no run to evaluate."""
        if not self.exists:
            raise UserError(
                f"{self.folder}: no run here (no config.json). Train one with --mode=train, "
                "or give the --workdir of a run."
            )

    def create(self) -> None:
        """Make the folder; UserError where something else is there."""
        if self.folder.is_dir() and not self.exists:
            names = sorted(p.name for p in self.folder.iterdir() if not p.name.startswith("."))
            other = [name for name in names if name not in BEFORE_CONFIG]
            if other:
                raise UserError(
                    f"{self.folder}: exists and is no run (it holds {', '.join(other[:3])}). "
                    "Give another --workdir."
                )
        self._made = [p for p in (self.folder, *self.folder.parents) if not p.exists()]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be made ({error.strerror}).") from None

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One writer a run: a second one is refused. The lock ends with the process."""
        with open(self.folder / ".lock", "a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                raise UserError(
                    f"{self.folder}: process {file.read().strip() or '?'} is writing this run. "
                    "Wait for it, or give another --workdir."
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            try:
                yield
            except BaseException:
                if not self.exists:
                    self._remove()
                raise

    def _remove(self) -> None:
        """Remove the folders made for a run that was refused before it began, if they are empty."""
        if self._made:
            (self.folder / ".lock").unlink(missing_ok=True)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def write_tasks(self, tasks: tuple[task_table.Task, ...]) -> None:
        """tasks.json: class order and decoding of everything the run predicts."""
        (self.folder / "tasks.json").write_text(task_table.to_json(tasks))

    def read_tasks(self) -> tuple[task_table.Task, ...]:
        """The task table that the run was trained with."""
        file = self.folder / "tasks.json"
        with readable(file, "a task table as a run writes it", "Copy it from another such run."):
            return task_table.from_json(file.read_text(encoding="utf-8"), str(file))

    def write_statistics(self, statistics: Statistics | None) -> None:
        """statistics.npz: mean and deviation of the training features."""
        if statistics is None:
            return
        arrays = {f"mean/{k}": v for k, v in statistics.mean.items()}
        arrays |= {f"std/{k}": v for k, v in statistics.std.items()}
        np.savez(self.folder / "statistics.npz", **arrays)

    def read_statistics(self, config: ConfigDict) -> Statistics | None:
        """What `write_statistics` wrote; None where `config` does not normalise by them.

        Raises:
            UserError: they are not whole. Those of the data at hand would change the numbers.
        """
        if config.data.normalise != "train":
            return None
        file = self.folder / "statistics.npz"
        about = (
            file,
            "the means and deviations of the run's training features",
            "Without them its model predicts something else.",
        )
        parts: dict[str, dict[str, np.ndarray]] = {"mean": {}, "std": {}}
        with readable(*about), Npz(*about) as arrays:
            for key in arrays:
                kind, _, name = key.partition("/")
                parts[kind][name] = x = arrays[key]
                if x.dtype.kind != "f" or x.ndim != 1 or not np.isfinite(x).all():
                    raise ValueError(f"{key}: {x.dtype} {x.shape}, expected numbers, one a column")
        for name in config.model.features:
            if name not in parts["mean"] or name not in parts["std"]:
                raise UserError(f"{file}: has no feature {name!r}. {nearest(name, parts['mean'])}")
        return Statistics(**parts)

    @property
    def finished(self) -> dict[str, Any] | None:
        """{"step", "scores"} of a training that has ended; None before, and where it is damaged."""
        if not self.finished_file.is_file():
            return None
        try:
            about = self.finished_file, "what a finished run writes", "It is written again."
            with readable(*about):
                found = read_json(*about)
                dict(found["scores"]), int(found["step"])
        except UserError as error:
            _log.warning("%s", error)
            return None
        return found

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that is no record is named and left out."""
        found = []
        for number, line in enumerate(self._log_text().splitlines(), 1):
            record = record_of(line)
            if record is None:
                _log.warning("%s: line %d is no record and left out", self.metrics_file, number)
            else:
                found.append(record)
        return found

    def _log_text(self) -> str:
        if not self.metrics_file.is_file():
            return ""
        return self.metrics_file.read_text(encoding="utf-8", errors="replace")

    def append(self, record: dict[str, Any]) -> str:
        """Add a line to metrics.jsonl; returns it."""
        line = to_json(record) + "\n"
        with open(self.metrics_file, "a", encoding="utf-8") as file:
            file.write(line)
        return line

    def set_log(self, lines: Sequence[str] | None, step: int) -> list[str]:
        """Bring metrics.jsonl to where a checkpoint is: what came after it happens again.

        A file that holds anything else is kept aside, and that is said.

        Args:
            lines: of the log when the checkpoint was written; None where it does not say (those
                of before), which takes the records of the file up to `step`.
            step: records of later ones happen again.

        Returns:
            The lines that are in the file now.
        """
        there = self._log_text().splitlines(keepends=True)
        records = [record_of(line) for line in there]
        if lines is None:
            lines = [x for x, r in zip(there, records, strict=True) if r and r["step"] <= step]
        # A kill leaves whole later records, and one more that it may have cut.
        later = [
            i
            for i, (line, record) in enumerate(zip(there, records, strict=True))
            if (record and record["step"] > step) or (not line.endswith("\n") and not record)
        ]
        known = [line for i, line in enumerate(there) if i not in later]
        if known != list(lines):
            where = ""
            if known != list(lines[: len(known)]):  # more than lines that are missing at the end
                number = 1
                while (
                    aside := self.folder / f"{self.metrics_file.name}.damaged-{number}"
                ).exists():
                    number += 1
                aside.write_bytes(self.metrics_file.read_bytes())
                where = f"; as it was: {aside}"
            _log.warning(
                "%s: damaged; %d lines are as the checkpoint has them%s",
                self.metrics_file,
                len(lines),
                where,
            )
        if there != list(lines):
            replace(self.metrics_file, "".join(lines))
        return list(lines)


def record_of(line: str) -> dict[str, Any] | None:
    """The record in a line of metrics.jsonl, None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    numbers = all(type(record.get(key)) is int for key in ("step", "epoch"))
    tables = [record.get("loss", {}), scores := record.get("scores", {})]
    tables += scores.values() if isinstance(scores, dict) else ()
    return record if numbers and all(isinstance(table, dict) for table in tables) else None


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON with sorted keys. A number that is not finite becomes null: JSON has no other."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [plain(v) for v in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(value), indent=indent, sort_keys=True, allow_nan=False)


def replace(path: pathlib.Path, text: str) -> None:
    """Write a file so that a kill leaves either the old or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    os.replace(partial, path)
