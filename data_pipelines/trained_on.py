"""Which labels of a store the extractors of its features have seen, by their `trained_on`.

An entry is the name of a split, or of a data set with or without tasks and splits behind it:
"train", "Aff-Wild2", "s-Aff-Wild2 expression", "Aff-Wild2 (AU)", "Aff-Wild2 VA train". Case,
spaces, hyphens and brackets do not matter. Where no task is named it means all, where no split,
every one. What names another data set ("AffectNet", "RAF-DB train") has not seen these labels.
"mtl train out of fold" is of a cross-validation: each track by a model that has not seen it, so no
label is known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from data_pipelines import sources
from data_pipelines.store import AnyStore

OUT_OF_FOLD = "out of fold"  # how an entry ends that marks nothing
SPLITS = {"train": "train", "validation": "validation", "test": "test"}
SPLITS |= {"training": "train", "val": "validation"}
TASKS = {
    "valence": ("valence",),
    "arousal": ("arousal",),
    "va": ("valence", "arousal"),
    "expression": ("expression",),
    "expressions": ("expression",),
    "expr": ("expression",),
    "au": ("au",),
    "aus": ("au",),
}


def seen(
    store: AnyStore, features: Sequence[str], split: str, tasks: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """{feature: those of `tasks` whose labels of the split its extractor was trained on}.

    Such a feature has seen what it is to predict: scores on it are too good.

    Args:
        split: one, or several joined by "+".
    """
    wanted = {_split(part) for part in split.split("+")}
    found = {}
    for name in features:
        entries = [
            _labels_in(entry, store)
            for entry in store.features[name].trained_on
            if not entry.endswith(OUT_OF_FOLD)
        ]
        hit = [
            task
            for task in tasks
            if any(
                (not named or task in named) and (not splits or splits & wanted)
                for ours, named, splits in entries
                if ours
            )
        ]
        if hit:
            found[name] = tuple(hit)
    return found


def _labels_in(entry: str, store: AnyStore) -> tuple[bool, set[str], set[str]]:
    """(does an entry mean labels of this store?, tasks that it names, splits that it names)."""
    data_sets = {_plain(name) for name in _names(store)}
    known_splits = SPLITS | {_plain(name): _split(name) for name in store.splits}
    known_tasks = TASKS | {_plain(name): (name,) for name in store.labels}
    ours, foreign, tasks, splits = False, False, set(), set()
    words = re.findall(r"[^\W_]+", entry.casefold())
    while words:
        for length in range(len(words), 0, -1):  # a name may be of several words
            word = "".join(words[:length])
            if word in data_sets | known_splits.keys() | known_tasks.keys():
                break
        del words[:length]
        if word in data_sets:
            ours = True
        elif word in known_splits:
            splits.add(known_splits[word])
        elif word in known_tasks:
            tasks.update(known_tasks[word])
        else:
            foreign = True
    return ours or (bool(tasks or splits) and not foreign), tasks, splits


def _names(store: AnyStore) -> list[str]:
    """Names of the data: the store's, its source's, and those that the source knows it by.

    A joined store has those of all its parts.
    """
    made_by = str(store.manifest.get("source", "")).split("+")
    modules = [sources.load(name) for name in made_by if name in sources.names()]
    known = [name for module in modules for name in getattr(module, "DATA_SETS", ())]
    return [*store.name.split("+"), *made_by, *known]


def _split(name: str) -> str:
    return SPLITS.get(_plain(name), _plain(name))


def _plain(text: str) -> str:
    return "".join(re.findall(r"[^\W_]+", text.casefold()))
