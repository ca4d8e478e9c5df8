"""An ensemble as it is kept: members, recipes, and what they were fitted on.

FITTED/ensemble.json     members, recipe of each task, split and tracks of the fit, what was tried
FITTED/tasks.json        the task table of its predictions
FITTED/predictions/      <split>/<task>.npz and scores.json, as in a run
FITTED/plots/            members_<split>.png
FITTED/provenance/       what python -m affect_jax.provenance FITTED writes
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.ensemble.agree import (
    on_frames_of,
    reference_of,
    require_labels,
    require_same_frames,
    require_same_task,
    together,
)
from affect_jax.ensemble.member import Member, Opened, member_from_json
from affect_jax.ensemble.recipe import (
    Recipe,
    combine,
    recipes_from_json,
    require_numbers,
    require_strings,
)
from affect_jax.prediction_files import Predictions
from affect_jax.scoring import NO_TOTAL, Total
from affect_jax.shown import as_argument
from affect_jax.tasks import Task, from_json, to_json
from data_pipelines.errors import UserError
from data_pipelines.files import read_json, readable
from data_pipelines.join import open_store
from data_pipelines.paths import require_name
from data_pipelines.replace_file import replace_json, replace_text
from data_pipelines.store import AnyStore

FORMAT = 1
FITTED_FILE = "ensemble.json"
TASKS_FILE = "tasks.json"
# All that is made in the folder of an ensemble.
MADE = (FITTED_FILE, TASKS_FILE, "predictions", "plots", "provenance")

Recipes = tuple[Recipe, ...]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """An ensemble that can be applied.

    Attributes:
        folder: where it is kept.
        members: in the order of the recipes' weights.
        tasks: what all of them predict.
        recipes: {task: one, or one a dimension of values}.
        equal: {task: the same with equal weights}; () where nothing was fitted.
        total: the score over all tasks.
        fitted_on: split, store and tracks, or None where nothing was fitted.
        notes: what else is worth keeping: candidates tried, where classes were counted.
    """

    folder: pathlib.Path
    members: tuple[Member, ...]
    tasks: tuple[Task, ...]
    recipes: Mapping[str, Recipes]
    equal: Mapping[str, Recipes] = dataclasses.field(default_factory=dict)
    total: Total = NO_TOTAL
    fitted_on: Mapping[str, Any] | None = None
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def write(self, into: pathlib.Path | None = None) -> None:
        """Write ensemble.json and tasks.json.

        Args:
            into: a folder that will take the place of `folder`; None: that itself.
        """
        into = into or self.folder
        into.mkdir(parents=True, exist_ok=True)
        recipes = {
            kind: {name: [dataclasses.asdict(r) for r in rs] for name, rs in table.items()}
            for kind, table in (("recipes", self.recipes), ("equal", self.equal))
        }
        text = {
            "format": FORMAT,
            "members": [member.to_json(self.folder) for member in self.members],
            **recipes,
            "total": self.total._asdict(),
            "fitted_on": self.fitted_on,
            "notes": self.notes,
        }
        replace_text(into / TASKS_FILE, to_json(self.tasks))
        replace_json(into / FITTED_FILE, text, sort_keys=False)

    @classmethod
    def read(cls, folder: pathlib.Path) -> Fitted:
        """UserError where the folder holds no ensemble, or one of another format."""
        file = folder / FITTED_FILE
        if not file.is_file():
            raise UserError(
                f"{folder}: no ensemble here (no {FITTED_FILE}). Fit one: python -m "
                f"affect_jax.ensemble MEMBER ... --out={as_argument(folder)}"
            )
        what = "an ensemble that this version wrote"
        entry, tasks_file = read_json(file, what), folder / TASKS_FILE
        with readable(tasks_file, "the task table of an ensemble"):
            tasks = from_json(tasks_file.read_text(), str(tasks_file))
        with readable(file, what):
            if entry["format"] != FORMAT:
                raise ValueError(f"format {entry['format']!r}, expected {FORMAT}")
            members = tuple(member_from_json(member, folder) for member in entry["members"])
            tables = {
                kind: {
                    task.name: recipes_from_json(entry[kind][task.name], task, len(members))
                    for task in tasks
                    if kind == "recipes" or task.name in entry[kind]
                }
                for kind in ("recipes", "equal")
            }
            name, terms = entry["total"]["name"], entry["total"]["terms"]
            require_numbers("weight of the total", [weight for _, weight in terms])
            fitted_on = entry["fitted_on"]
            if fitted_on is not None:
                require_name(fitted_on["split"], f"{file}: split")
                require_strings("tracks", fitted_on["tracks"])
            return cls(
                folder,
                members,
                tasks,
                **tables,
                total=Total(name, tuple((str(term), float(weight)) for term, weight in terms)),
                fitted_on=fitted_on,
                notes=entry["notes"],
            )

    @property
    def fitted_tracks(self) -> set[str]:
        """Names of all tracks that this ensemble, or an ensemble in it, was fitted on."""
        own = set((self.fitted_on or {}).get("tracks", ()))
        return own.union(*(member.fitted_tracks for member in self.members))

    def open(self, root: str | None, split: str, scratch: pathlib.Path) -> OpenMembers:
        """The members on a split; runs predict it here, into `scratch`."""
        store = open_store(root) if root else None
        if store is not None:
            store.split(split)
        opened = [
            member.open(root, split, store, scratch / str(i))
            for i, member in enumerate(self.members)
        ]
        for one in opened:
            for task in self.tasks:
                require_same_task(one.name, one.tasks, task, "the ensemble")
        return OpenMembers(opened, split, store)

    def apply(self, root: str | None, split: str, folder: pathlib.Path) -> None:
        """Predict a split of a store (None: from stored predictions) into a folder."""
        members = self.open(root, split, folder / "members")
        for _ in self.combined(members, folder):
            pass

    def combined(
        self, members: OpenMembers, folder: pathlib.Path
    ) -> Iterator[tuple[Task, Predictions, list[np.ndarray]]]:
        """(task, the ensemble's predictions, raw ones of each member), a task at a time.

        The predictions are written into the folder.
        """
        for task in self.tasks:
            reference, raws = members.gather(task)
            raw = combine(task, self.recipes[task.name], raws, reference.bounds)
            made = dataclasses.replace(reference, raw=raw)
            made.write(folder / f"{task.name}.npz")
            yield task, made, raws


@dataclasses.dataclass(frozen=True)
class OpenMembers:
    """Members on one split of one store, or of stored predictions where `store` is None."""

    opened: Sequence[Opened]
    split: str
    store: AnyStore | None

    def gather(self, task: Task) -> tuple[Predictions, list[np.ndarray]]:
        """(tracks, frames and labels of the split, raw predictions of every member [N, size]).

        The frames are those of the store; without one those of the first member, or of all where
        some may have gaps. Predictions are NaN in the gaps.

        Raises:
            UserError: a member has other tracks or frames, or a label is none of the task.
        """
        owns, raws = [one.read(task) for one in self.opened], []
        if self.store is not None:
            reference, whose = reference_of(task, self.split, self.store), "the store"
        elif any(one.gaps for one in self.opened):
            names = [one.name for one in self.opened]
            reference, whose = together(task, names, owns), "the other members"
        else:
            reference, whose = owns[0], f"member {self.opened[0].name}"
        for one, own in zip(self.opened, owns):
            if own.raw.shape[1:] != (task.size,):
                raise UserError(
                    f"member {one.name}, task {task.name}: predictions {own.raw.shape}, expected "
                    f"[frames, {task.size}]."
                )
            finite = np.isfinite(own.raw).all(1)
            if one.gaps:
                finite |= np.isnan(own.raw).all(1)
            else:
                require_same_frames(one.name, own, reference, whose)
            if not finite.all():
                row = int(np.argmin(finite))
                raise UserError(
                    f"member {one.name}, task {task.name}: no number for track "
                    f"{str(own.tracks[own.track[row]])!r}, image {own.frame[row]}."
                )
            raws.append(on_frames_of(one.name, own, reference, whose) if one.gaps else own.raw)
        require_labels(task, reference, whose)
        return reference, raws
