"""Folds for cross-validation: a split cut by group into parts with as many videos and frames.

    store = cut(store, "train", count=5, seed=0)  # its tracks are now in the splits fold1 to fold5

Groups are dealt out whole: `_left` and `_right` of a video, all parts of a speaker. Who is in
which fold follows from the store and the seed alone, so a run that names its folds says what it
was trained on. Imports numpy alone.
"""

from __future__ import annotations

import numpy as np

from data_pipelines.plan import generator
from data_pipelines.store import AnyStore

SWAPS = 20_000  # pairs of groups that are looked at


def names(count: int) -> tuple[str, ...]:
    """fold1, fold2, ...: the splits that `cut` makes."""
    return tuple(f"fold{k}" for k in range(1, count + 1))


def cut(store: AnyStore, split: str, count: int, seed: int) -> AnyStore:
    """The store with the splits fold1, fold2, ... in place of `split`.

    Args:
        split: which, or several joined by "+"; "" cuts nothing. A store that lacks it (one of
            test tracks) is returned as it is.
        count: number of folds.
        seed: of the deal.
    """
    if not split or not set(split.split("+")) <= set(store.splits):
        return store
    fold = deal(store, split, count, seed)
    chosen = [store.tracks[i] for i in store.split(split)]
    return store.with_splits({t.name: names(count)[fold[t.group]] for t in chosen})


def deal(store: AnyStore, split: str, count: int, seed: int) -> dict[str, int]:
    """{group: fold, from 0}, with equal numbers of groups (to one) and about equal frames.

    Groups are dealt out at random; then pairs of them change places wherever that brings the folds
    nearer to even shares (least squares) of all frames and of the labelled frames of each label.
    """
    groups = sorted({store.tracks[i].group for i in store.split(split)})
    share = _shares(store, split, groups)
    rng = generator(seed, "folds")
    fold = rng.permutation(np.arange(len(groups)) % count)
    total = np.eye(count)[fold].T @ share  # [count, shares]
    for a, b in rng.integers(len(groups), size=(SWAPS, 2)):
        move, here, there = share[a] - share[b], fold[a], fold[b]
        # Half the change of the sum of squares of `total`.
        if here != there and move @ (total[there] - total[here] + move) < -1e-12:
            total[here] -= move
            total[there] += move
            fold[a], fold[b] = there, here
    return dict(zip(groups, fold.tolist(), strict=True))


def _shares(store: AnyStore, split: str, groups: list[str]) -> np.ndarray:
    """float64 [groups, 1 + labels]: of the split's frames, and of its labelled ones, by label."""
    place = {group: i for i, group in enumerate(groups)}
    counts = np.zeros((len(groups), 1 + len(store.labels)))
    masks = [store.label(name)[1] for name in store.labels]
    for i in store.split(split):
        track = store.tracks[i]
        row = counts[place[track.group]]
        row[0] += track.frames
        for k, mask in enumerate(masks):
            here = np.asarray(mask[track.span])
            row[1 + k] += here.reshape(len(here), -1).any(1).sum()
    return counts / np.maximum(counts.sum(0), 1)
