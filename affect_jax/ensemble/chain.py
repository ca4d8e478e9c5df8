"""Chain of stages behind an ensemble: its members, and the chains of those that are runs."""

from __future__ import annotations

import pathlib

from affect_jax.chain import Groups, Stage, Training, add_run, add_store, is_run
from affect_jax.ensemble.fitted import FITTED_FILE, Fitted
from affect_jax.ensemble.member import FolderMember, Member
from affect_jax.prediction_files import Predictions, groups_of, splits
from data_pipelines.errors import UserError, nearest
from data_pipelines.store import AnyStore


def chain(folder: pathlib.Path, store: AnyStore | None) -> dict[str, Stage]:
    """{key: stage}, as affect_jax.chain.chain.

    Args:
        store: the data whose features are members; None where none are named.
    """
    stages: dict[str, Stage] = {}
    _add_ensemble(stages, folder.resolve(), store)
    return stages


def scored_tracks(folder: pathlib.Path, split: str) -> tuple[str, Groups]:
    """(split, tracks) of predictions of an ensemble.

    Args:
        split: that it was applied to; "" for the only one.
    """
    known = splits(folder / "predictions")
    if not split and len(known) != 1:
        raise UserError(f"{folder}: name a split: --split=SPLIT. {nearest('', known) or 'None.'}")
    split = split or known[0]
    if split not in known:
        raise UserError(f"{folder}: has no predictions of split {split!r}. {nearest(split, known)}")
    return split, _groups(folder / "predictions" / split)


def tasks_of(folder: pathlib.Path) -> list[str]:
    """Names of the tasks that it predicts."""
    return [task.name for task in Fitted.read(folder).tasks]


def _groups(folder: pathlib.Path) -> dict[str, str]:
    """{track: group} of a folder of predictions."""
    return groups_of(Predictions.read(file) for file in sorted(folder.glob("*.npz")))


def _add_ensemble(stages: dict[str, Stage], folder: pathlib.Path, store: AnyStore | None) -> str:
    key = str(folder)
    if key in stages:
        return key
    fitted = Fitted.read(folder)
    reads = dict.fromkeys(_add_member(stages, member, store) for member in fitted.members)
    about = fitted.fitted_on or {"split": "", "store": "", "tracks": ()}
    known = _groups(folder / "predictions" / about["split"]) if about["split"] else {}
    tracks = {track: known.get(track, track) for track in about["tracks"]}
    stages[key] = Stage(
        key,
        folder.name,
        "ensemble",
        tuple(reads),
        labels=f"{about['store']} {about['split']}".strip(),
        trainings=(Training(folder.name, tracks, {}, {}),) if tracks else (),
    )
    return key


def _add_member(stages: dict[str, Stage], member: Member, store: AnyStore | None) -> str:
    """Add a member and its chain; returns its key."""
    if isinstance(member, FolderMember):
        place = member.folder.resolve()
        for folder in (place, *place.parents[:2]):  # or predictions/<split> of one
            if is_run(folder):
                return add_run(stages, folder)
            if (folder / FITTED_FILE).is_file():
                return _add_ensemble(stages, folder, store)
    for part in store.parts if store and member.kind == "feature" else ():
        # A feature, or all outputs of a run.
        if names := [f.name for f in part.features.values() if member.where in (f.name, f.run)]:
            return add_store(stages, part, store, names)
    key = f"{member.kind}:{member.where}"
    doubt = "what it was trained on is not known here"
    stages[key] = Stage(key, member.name, "predictions", doubts=(doubt,))
    return key
