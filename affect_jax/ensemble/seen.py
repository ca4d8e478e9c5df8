"""Whose labels the members know already: those they were trained on, or chose their step by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from affect_jax.ensemble.member import Member
from data_pipelines.store import AnyStore


class Seen(NamedTuple):
    """Names of the members to which labels of a split are not new.

    Attributes:
        trained: trained on some of them.
        chosen: not so, but their checkpoint is the one that scored best on some of them.
        marks: what cross-validations among them say of features whose extractor knew the labels,
            once, behind the names of those that say it.
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


def seen(
    members: Sequence[Member], split: str, tracks: frozenset[str], store: AnyStore | None = None
) -> Seen:
    """Which members know labels of these tracks, as far as the configs of their runs say.

    Args:
        split: to go by where the data that a run was trained on are gone.
        tracks: names of all tracks of the split.
        store: the data, where any are named, whose features say what they were trained on.
    """
    known = [(member.name, member.knows(split, tracks, store)) for member in members]
    trained = tuple(name for name, (was_trained, _) in known if was_trained)
    chosen = tuple(name for name, (_, was_chosen) in known if was_chosen and name not in trained)
    marks: dict[str, list[str]] = {}
    for member in members:
        for line in member.marks():
            marks.setdefault(line, []).append(member.name)
    said = tuple(f"{', '.join(names)}: {line}" for line, names in marks.items())
    return Seen(trained, chosen, said)
