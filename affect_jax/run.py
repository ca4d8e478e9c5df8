"""The run folder: one training, its config, log, checkpoints, predictions and plots.

RUN/config.json      as resolved           RUN/metrics.jsonl   one line an evaluation
RUN/tasks.json       the task table        RUN/statistics.npz  of the training features
RUN/checkpoints/     Orbax steps           RUN/predictions/    <split>/<task>.npz, scores.json
RUN/events/          TensorBoard           RUN/plots/, RUN/README.md
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from affect_jax import tasks as task_table
from data_pipelines.batch import Statistics
from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path


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
            # A kill before config.json was written leaves these; they are written again.
            other = [name for name in names if name not in ("tasks.json", "statistics.npz")]
            if other:
                raise UserError(
                    f"{self.folder}: exists and is no run (it holds {', '.join(other[:3])}). "
                    "Give another --workdir."
                )
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
            yield

    def write_tasks(self, tasks: tuple[task_table.Task, ...]) -> None:
        """tasks.json: class order and decoding of everything the run predicts."""
        (self.folder / "tasks.json").write_text(task_table.to_json(tasks))

    def read_tasks(self) -> tuple[task_table.Task, ...]:
        """The task table that the run was trained with."""
        file = self.folder / "tasks.json"
        try:
            text = file.read_text()
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: the run's table of tasks cannot be read ({error}).") from None
        return task_table.from_json(text, str(file))

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
        parts: dict[str, dict[str, np.ndarray]] = {"mean": {}, "std": {}}
        try:
            with np.load(file) as arrays:
                for key in arrays.files:
                    kind, _, name = key.partition("/")
                    parts[kind][name] = arrays[key]
        except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{file}: the mean and deviation of the run's training features cannot be read "
                f"({error}). Without them its model predicts something else."
            ) from None
        for name in config.model.features:
            if name not in parts["mean"] or name not in parts["std"]:
                raise UserError(f"{file}: has no feature {name!r}. {nearest(name, parts['mean'])}")
        return Statistics(**parts)

    def records(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl."""
        if not self.metrics_file.is_file():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines()]

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        with open(self.metrics_file, "a") as file:
            file.write(to_json(record) + "\n")

    def cut_back(self, step: int) -> None:
        """Keep the whole lines up to `step`: what came after the checkpoint happens again."""
        if not self.metrics_file.is_file():
            return
        kept = []
        for line in self.metrics_file.read_text().splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                break  # a line that a kill cut in two
        replace(self.metrics_file, "".join(kept))


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
