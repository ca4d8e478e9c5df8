"""Records of frames as a member: pickles of team RAS, one a split, with predictions and labels."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Self

import numpy as np

from affect_jax.ensemble.member import FolderMember, Opened
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import Task
from data_pipelines import records
from data_pipelines.errors import UserError, listed
from data_pipelines.folder import files
from data_pipelines.labels.names import group_of
from data_pipelines.labels.texts import VA_COLUMNS
from data_pipelines.labels.va_folders import FOLDERS
from data_pipelines.paths import user_path
from data_pipelines.store import AnyStore

PREFIX = "records:"


@dataclasses.dataclass(frozen=True)
class RecordsMember(FolderMember, kind="records"):
    """A folder with train.pkl, val.pkl and test.pkl or some of them, one of these, or one file."""

    @classmethod
    def named(cls, text: str) -> Self:
        """The member that "records:PATH" names; UserError where nothing is there."""
        path = user_path(text.removeprefix(PREFIX))
        if not path.exists():
            raise UserError(f"{text}: no such file or folder.")
        member = cls(str(path))
        if path.is_dir() and not member._files:
            kinds = ", ".join(f"*{suffix}" for suffix in records.SUFFIXES)
            raise UserError(f"{text}: no records here ({kinds}).")
        return member

    @property
    def name(self) -> str:
        of = self._above or self.folder.with_suffix("")
        return of.name

    @property
    def key(self) -> object:
        return self.kind, (self._above or self.folder).resolve()

    def tasks(self, store: AnyStore | None) -> tuple[Task, ...]:
        metrics = ("ccc", "pearson", "rmse")
        return tuple(
            Task(name, "values", 1, loss="mse", metrics=metrics, decode="identity")
            for name in VA_COLUMNS
        )

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        self.require_there()
        read = functools.cache(lambda: self._read(self._file(split)))
        return Opened(self.name, self.tasks(store), lambda task: read()[task.name], gaps=True)

    def require_there(self, folder: pathlib.Path | None = None) -> None:
        super().require_there(
            folder or (self.folder if self.folder.is_dir() else self.folder.parent)
        )

    @property
    def default_split(self) -> str:
        if not self.folder.is_dir():
            return _split(self.folder)
        return "validation" if "validation" in self._files else next(iter(self._files))

    @property
    def _above(self) -> pathlib.Path | None:
        """The folder that holds a file a split; None for a file of no split."""
        if self.folder.is_dir():
            return self.folder
        return self.folder.parent if self.folder.stem.lower() in FOLDERS else None

    @property
    def _files(self) -> dict[str, pathlib.Path]:
        """{split: its file}; UserError where there are two."""
        found: dict[str, pathlib.Path] = {}
        for file in files(self._above, *records.SUFFIXES):
            other = found.setdefault(_split(file), file)
            if other != file:
                raise UserError(f"{file}: {other.name} is of the same split. Leave one.")
        return found

    def _file(self, split: str) -> pathlib.Path:
        if self._above is None:
            return self.folder
        known = self._files
        if FOLDERS.get(split, split) not in known:
            raise UserError(
                f"{self._above}: no records of split {split!r}. Known: {listed(known)}."
            )
        return known[FOLDERS.get(split, split)]

    def _read(self, file: pathlib.Path) -> dict[str, Predictions]:
        """{task: its predictions} of a file."""
        of_track = records.read_frames(file)
        given = [*of_track.values()]
        size = 0 if given[0].prediction is None else given[0].prediction.shape[1]
        if size != len(VA_COLUMNS):
            raise UserError(
                f"{file}: predictions of {size} numbers, expected {listed(VA_COLUMNS)}."
            )
        lengths, numbers = [len(one.frames) for one in given], np.arange(len(given), dtype=np.int32)
        every = Predictions(
            tracks=np.array([*of_track]),
            track=np.repeat(numbers, lengths),
            frame=np.concatenate([one.frames for one in given]),
            raw=np.concatenate([one.prediction for one in given]),
            groups=np.array([group_of(track) for track in of_track]),
        )
        if given[0].label is not None:
            label = np.concatenate([one.label for one in given])
            mask = np.isfinite(label)
            every = dataclasses.replace(every, label=np.where(mask, label, 0), label_mask=mask)
        return {name: _column(every, k) for k, name in enumerate(VA_COLUMNS)}


def _column(every: Predictions, k: int) -> Predictions:
    """Predictions of one task, with labels where there is any."""
    label, mask = (None if x is None else x[:, k : k + 1] for x in (every.label, every.label_mask))
    if mask is not None and not mask.any():
        label = mask = None
    return dataclasses.replace(every, raw=every.raw[:, k : k + 1], label=label, label_mask=mask)


def _split(file: pathlib.Path) -> str:
    """The split that a file is named after."""
    return FOLDERS.get(file.stem.lower(), file.stem)
