"""A fitted ensemble as a member of another."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator

from affect_jax.ensemble.fitted import FITTED_FILE, Fitted
from affect_jax.ensemble.member import FolderMember, Member, Opened, ensembles_in
from affect_jax.prediction_files import find_tasks
from affect_jax.scoring import Total
from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore


@dataclasses.dataclass(frozen=True)
class EnsembleMember(FolderMember, kind="ensemble", marker=FITTED_FILE):
    """An ensemble, applied to the data."""

    @property
    def fitted(self) -> Fitted:
        """The ensemble; UserError where its folder holds none."""
        return Fitted.read(self.folder)

    def open(
        self, root: str | None, split: str, store: AnyStore | None, scratch: pathlib.Path
    ) -> Opened:
        self.require_there()
        stored = self.folder / "predictions" / split
        if root is None and any(stored.glob("*.npz")):
            return Opened.stored(self.name, stored, find_tasks(self.folder), gaps=True)
        fitted = self.fitted
        fitted.apply(root, split, scratch)
        return Opened.stored(self.name, scratch, fitted.tasks, gaps=True)

    @property
    def inner(self) -> tuple[Member, ...]:
        return self.fitted.members

    @property
    def total(self) -> Total:
        return self.fitted.total

    @property
    def fitted_tracks(self) -> set[str]:
        return self.fitted.fitted_tracks

    def ensembles(self, above: tuple[pathlib.Path, ...]) -> Iterator[pathlib.Path]:
        if self.place in above:
            raise UserError(f"{self.place}: this ensemble is a member of itself. Fit it again.")
        yield self.place
        yield from ensembles_in(self.inner, (*above, self.place))
