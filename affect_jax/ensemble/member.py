"""Members of an ensemble: whatever predicts the same tasks for the same frames.

A kind of member is a class of members/, known by its name in ensemble.json.
"""

from __future__ import annotations

import abc
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

from affect_jax.ensemble.recipe import as_values, require_strings
from affect_jax.prediction_files import Predictions, find_tasks
from affect_jax.scoring import NO_TOTAL, Total
from affect_jax.tasks import Task, decode
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path
from data_pipelines.store import AnyStore

KINDS: dict[str, type[Member]] = {}


@dataclasses.dataclass(frozen=True)
class Opened:
    """A member on one split.

    Attributes:
        tasks: what it predicts, bins as values.
        read: task -> its raw predictions, values instead of bins.
        gaps: it may lack frames that others have, or have no number for them (NaN): there the
            ensemble is made of the others.
    """

    name: str
    tasks: tuple[Task, ...]
    read: Callable[[Task], Predictions]
    gaps: bool = False

    @classmethod
    def stored(
        cls, name: str, folder: pathlib.Path, tasks: Sequence[Task], *, gaps: bool = False
    ) -> Self:
        """Predictions in a folder, described by these tasks."""

        def read(task: Task) -> Predictions:
            own = next(t for t in tasks if t.name == task.name)  # `Fitted.open` has looked
            predictions = Predictions.read(folder / f"{task.name}.npz")
            if own.kind != "bins":
                return predictions
            return dataclasses.replace(predictions, raw=decode(own, predictions.raw))

        return cls(name, tuple(as_values(task) for task in tasks), read, gaps)


@dataclasses.dataclass(frozen=True)
class Member(abc.ABC):
    """One member, before any data are named; what a kind has nothing to say to stays as it is here.

    Attributes:
        where: its folder, or the feature's name.
        kind: its name in ensemble.json.
        marker: the file that makes a folder one of this kind; "" for none.
    """

    where: str
    kind: ClassVar[str]
    marker: ClassVar[str]

    def __init_subclass__(cls, kind: str = "", marker: str = "") -> None:
        cls.kind, cls.marker = kind, marker
        if kind:
            KINDS[kind] = cls

    @property
    def name(self) -> str:
        """Short, for tables."""
        return self.where

    @property
    def key(self) -> Any:
        """The same for two that are one member, however they are written."""
        return self.kind, self.where

    @abc.abstractmethod
    def tasks(self, store: AnyStore | None) -> tuple[Task, ...]:
        """Tasks that it predicts, bins as values."""

    @abc.abstractmethod
    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        """The member on one split of the store `root`; without one, on its stored predictions.

        Args:
            scratch: an empty place for predictions made here.
        """

    def is_in(self, folder: pathlib.Path) -> bool:
        """True of one that lies in a folder."""
        return False

    @property
    def default_split(self) -> str:
        """The split that its own settings name to fit on, or "" for none."""
        return ""

    @property
    def unfinished(self) -> bool:
        """True of a run that has not come to its end, where no epoch of it is named."""
        return False

    @property
    def total(self) -> Total | None:
        """The score over all its tasks, where its settings name one."""
        return None

    @property
    def inner(self) -> tuple[Member, ...]:
        """The members that it is made of."""
        return ()

    @property
    def fitted_tracks(self) -> set[str]:
        """Names of all tracks that an ensemble in it was fitted on."""
        return set().union(*(one.fitted_tracks for one in self.inner))

    def ensembles(self, above: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
        """Folders of the ensembles in it; UserError for one that is in itself.

        Args:
            above: the ensembles that it is in.
        """
        yield from ()

    def knows(
        self, split: str, tracks: frozenset[str], store: AnyStore | None
    ) -> tuple[bool, bool]:
        """(trained on labels of these tracks, checkpoint chosen by some), as far as configs say.

        Args:
            split: to go by where the data that a run was trained on are gone.
            tracks: names of all tracks of the split.
            store: the data, where any are named.
        """
        known = [one.knows(split, tracks, store) for one in self.inner]
        return any(trained for trained, _ in known), any(chosen for _, chosen in known)

    def marks(self) -> list[str]:
        """Lines in the scores of folds in it, about features whose extractor knew the labels."""
        return [line for one in self.inner for line in one.marks()]

    def to_json(self, folder: pathlib.Path) -> dict[str, str]:
        """The entry in the ensemble.json of a folder."""
        return {"kind": self.kind, **{k: v for k, v in dataclasses.asdict(self).items() if v}}

    @classmethod
    def from_json(cls, entry: Mapping[str, str], folder: pathlib.Path) -> Self:
        """The reverse of `to_json`, by the class of the entry's kind."""
        return cls(**entry)


class FolderMember(Member):
    """A member that is a folder."""

    @property
    def folder(self) -> pathlib.Path:
        """Its folder as it was written."""
        return pathlib.Path(self.where)

    @property
    def place(self) -> pathlib.Path:
        """Its folder, however that was written."""
        return self.folder.resolve()

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def key(self) -> Any:
        return self.kind, self.place

    def tasks(self, store: AnyStore | None) -> tuple[Task, ...]:
        return tuple(as_values(task) for task in find_tasks(self.where))

    def is_in(self, folder: pathlib.Path) -> bool:
        return folder.resolve() in self.place.parents

    def require_there(self, folder: pathlib.Path | None = None) -> None:
        """UserError where its folder, or the one given, is gone."""
        if not (folder or self.folder).is_dir():
            raise UserError(
                f"{self.folder}: member {self.name} is gone. Put it back, or fit without it."
            )

    def to_json(self, folder: pathlib.Path) -> dict[str, str]:
        """The entry in the ensemble.json of a folder, relative to it: both can move together."""
        where = os.path.relpath(user_path(self.where).resolve(), folder.resolve())
        return {**super().to_json(folder), "where": pathlib.PurePath(where).as_posix()}

    @classmethod
    def from_json(cls, entry: Mapping[str, str], folder: pathlib.Path) -> Self:
        where = (folder / entry["where"]).resolve()
        return cls(**{**entry, "where": str(where)})


def member_from_json(entry: Mapping[str, str], folder: pathlib.Path) -> Member:
    """The reverse of `Member.to_json`; an exception of Python's own for anything else."""
    require_strings("member", [*entry.values()])
    entry = dict(entry)
    kind = entry.pop("kind")
    if kind not in KINDS:
        raise ValueError(f"member of kind {kind!r}")
    return KINDS[kind].from_json(entry, folder)


def kind_of(folder: pathlib.Path) -> type[Member] | None:
    """The kind of member that was made in a folder, by its marker; None for none of them."""
    kinds = (kind for kind in KINDS.values() if kind.marker)
    return next((kind for kind in kinds if (folder / kind.marker).is_file()), None)


def ensembles_in(
    members: Sequence[Member], above: tuple[pathlib.Path, ...] = ()
) -> Iterator[pathlib.Path]:
    """Folders of the ensembles among the members, and among theirs; UserError for one in itself.

    Args:
        above: the ensembles that these are members of.
    """
    for member in members:
        yield from member.ensembles(above)


def total_of(members: Sequence[Member]) -> Total:
    """The score over all tasks of the first member that has one."""
    totals = (member.total for member in members)
    return next((total for total in totals if total is not None), NO_TOTAL)
