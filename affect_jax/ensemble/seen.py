"""Whose labels the members know already: those they were trained on, or chose their step by."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.members import Member, fold_members, held_out, holds
from affect_jax.ensemble.recipe import require_strings
from affect_jax.run import Run
from data_pipelines import folds
from data_pipelines.errors import UserError
from data_pipelines.files import read_json, readable
from data_pipelines.join import open_store
from data_pipelines.store import Store


class Seen(NamedTuple):
    """Names of the members to which labels of a split are not new.

    Attributes:
        trained: trained on some of them.
        chosen: not so, but their checkpoint is the one that scored best on some of them.
        marks: what cross-validations among them say of features whose extractor knew the labels.
    """

    trained: tuple[str, ...]
    chosen: tuple[str, ...]
    marks: tuple[str, ...]

    def warnings(self, split: str) -> list[str]:
        """A line each of what there is to say."""
        said = (
            (self.trained, "trained", "too good"),
            (self.chosen, "chose the checkpoint of", "somewhat too good"),
        )
        return [
            f"warning: split {split!r} {did} {', '.join(names)}: fits and scores on it are {what}"
            for names, did, what in said
            if names
        ] + [f"warning: {mark}" for mark in self.marks]


def seen(members: Sequence[Member], split: str, tracks: frozenset[str]) -> Seen:
    """Which members know labels of these tracks, as far as the configs of their runs say.

    Args:
        split: to go by where the data that a run was trained on are gone.
        tracks: names of all tracks of the split.
    """
    known = [(member.name, _seen(member, split, tracks)) for member in members]
    trained = tuple(name for name, (was_trained, _) in known if was_trained)
    chosen = tuple(name for name, (_, was_chosen) in known if was_chosen and name not in trained)
    return Seen(trained, chosen, tuple(f"{m.name}: {line}" for m in members for line in _marks(m)))


def _seen(member: Member, split: str, tracks: frozenset[str]) -> tuple[bool, bool]:
    """(trained on labels of these tracks, checkpoint chosen by some)."""
    folder = pathlib.Path(member.where)
    if member.kind == "predictions":
        maker = folder.parent.parent
        kind = holds(maker) if folder.parent.name == "predictions" else ""
        return _seen(Member(kind, str(maker)), split, tracks) if kind else (False, False)
    if member.kind in ("ensemble", "folds"):
        inner = fold_members(folder) if member.kind == "folds" else Fitted.read(folder).members
        trained, chosen = zip(*(_seen(one, split, tracks) for one in inner))
        unseen = member.kind == "folds" and held_out(folder, split, tracks)
        return any(trained) and not unseen, any(chosen)
    if member.kind != "run":
        return False, False
    config = configs.read(Run(folder).config_file)
    checkpoint = member.checkpoint or config.checkpoint
    by_score = checkpoint != "last" and not checkpoint.startswith("epoch:")
    return (
        _holds_any(config, config.data.train_split, split, tracks),
        by_score and _holds_any(config, config.data.split, split, tracks),
    )


def _marks(member: Member) -> list[str]:
    """What the folds that a member is made of say in their scores."""
    folder = pathlib.Path(member.where)
    if member.kind == "ensemble":
        return [line for one in Fitted.read(folder).members for line in _marks(one)]
    file = folder / "scores.json"
    if member.kind != "folds" or not file.is_file():
        return []
    with readable(file, "the scores of a cross-validation"):
        marks = read_json(file).get("marks", [])
        require_strings("marks", marks)
        return marks


def _holds_any(config: ConfigDict, own: str, split: str, tracks: frozenset[str]) -> bool:
    """Is any of the tracks in the split `own` ("" for none) of the data of a run?"""
    if not own:
        return False
    cut = config.folds
    try:
        store = _store(config.data.root, cut.cut, cut.count, cut.seed)
        return any(store.tracks[i].name in tracks for i in store.split(own))
    except UserError:
        return bool({*own.split("+"), cut.cut} & {*split.split("+")})


@functools.cache
def _store(root: str, split: str, count: int, seed: int) -> Store:
    return folds.cut(open_store(root), split, count, seed)
