"""A folder of predictions as a member."""

from __future__ import annotations

import dataclasses
import pathlib

from affect_jax.ensemble.member import FolderMember, Opened, kind_of
from affect_jax.prediction_files import find_tasks, splits
from data_pipelines.errors import UserError, listed
from data_pipelines.store import AnyStore


@dataclasses.dataclass(frozen=True)
class PredictionsMember(FolderMember, kind="predictions"):
    """A folder with <task>.npz; in another's predictions/ its neighbours are the other splits."""

    @property
    def name(self) -> str:
        return self.folder.parent.parent.name if self._inside else self.folder.name

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        folder, above = self.folder, self.folder.parent
        self.require_there(above if self._inside else folder)
        neighbour = above / split
        if self._inside and neighbour.is_dir():
            folder = neighbour
        elif self._inside and (root is None or not folder.is_dir()):
            known = listed(splits(above))
            raise UserError(f"{above}: no predictions of split {split!r}. Known: {known}.")
        return Opened.stored(self.name, folder, find_tasks(folder))

    @property
    def default_split(self) -> str:
        return self.folder.name

    def knows(
        self, split: str, tracks: frozenset[str], store: AnyStore | None
    ) -> tuple[bool, bool]:
        maker = self.folder.parent.parent
        kind = kind_of(maker) if self._inside else None
        return kind(str(maker)).knows(split, tracks, store) if kind else (False, False)

    @property
    def _inside(self) -> bool:
        """True of one split of several."""
        return self.folder.parent.name == "predictions"
