"""The folder of one training, or of several: its config, task table, data and lock."""

from __future__ import annotations

import fcntl
import os
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from affect_jax import tasks as task_table
from data_pipelines.errors import UserError
from data_pipelines.files import readable
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_text

# Written before the config, which makes the folder a run: a kill between them leaves these.
BEFORE_CONFIG = ("tasks.json", "statistics.npz", "data.json")


class Workdir:
    """Paths and small files that a run has, and a folder of several runs has too.

    Attributes:
        config_file: as resolved; where it is there, the training has begun.
        data_file: hashes of the data.
        predictions: folder of <split>/<task>.npz and scores.json.
    """

    def __init__(self, folder: str | os.PathLike, config: str):
        """`config`: name of the config file."""
        self.folder = user_path(folder).resolve()
        self.config_file = self.folder / config
        self.data_file = self.folder / "data.json"
        self.predictions = self.folder / "predictions"
        self._made: list[pathlib.Path] = []  # folders that `create` made, the innermost first

    @property
    def exists(self) -> bool:
        """True once a training has begun here."""
        return self.config_file.is_file()

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
        replace_text(self.folder / "tasks.json", task_table.to_json(tasks))

    def read_tasks(self) -> tuple[task_table.Task, ...]:
        """The task table that the run was trained with."""
        file = self.folder / "tasks.json"
        with readable(file, "a task table as a run writes it", "Copy it from another such run."):
            return task_table.from_json(file.read_text(encoding="utf-8"), str(file))
