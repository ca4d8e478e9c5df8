"""Opening what `data.root` names: a store, a synthetic twin, or several stores side by side."""

from __future__ import annotations

import dataclasses
import functools
import pathlib

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.store import Store


def open_store(root: str) -> Store:
    """The store of a config's `data.root`.

    Args:
        root: a folder; "twin:NAME" (data_pipelines.twins, made at first use); or several of these
            joined by commas: tracks and frames of the first, features and labels of all.
    """
    if not root:
        raise UserError(
            "config.data.root is empty. Give a store: --config.data.root=STORE (fill one with "
            "python -m data_pipelines.prepare), or twin:mtl for synthetic data."
        )
    stores = []
    for part in root.split(","):
        if part.startswith("twin:"):
            from data_pipelines import twins

            part = str(twins.resolve(part))
        stores.append(Store(part.strip()))
    return stores[0] if len(stores) == 1 else JoinedStore(stores)


class JoinedStore(Store):
    """Several stores as one, put together by track name and image number.

    Tracks, frames and splits are the first store's. A track or frame that another store lacks is
    a gap in that store's features and unlabelled in its labels. A name in two stores is an error.
    """

    def __init__(self, stores: list[Store]):
        first = stores[0]
        self.path = pathlib.Path(",".join(str(s.path) for s in stores))
        self.name = "+".join(s.name for s in stores)
        self.manifest = {**first.manifest, "name": self.name}
        made_by = [str(s.manifest["source"]) for s in stores if "source" in s.manifest]
        if made_by:
            self.manifest["source"] = "+".join(dict.fromkeys(made_by))
        self.tracks, self.frames_total = first.tracks, first.frames_total
        self._stores = stores
        self.features, self.labels, self._owner = {}, {}, {}
        for i, store in enumerate(stores):
            for kind, mine, theirs in (
                ("features", self.features, store.features),
                ("labels", self.labels, store.labels),
            ):
                for name, entry in theirs.items():
                    if kind == "features" and i and entry.axis != "frame":
                        raise UserError(
                            f"{store.path}: feature {name!r} has rows of its own and cannot be "
                            "joined by frame. Put its store first."
                        )
                    if name in mine:
                        other = stores[self._owner[kind, name]].path
                        raise UserError(f"{kind[:-1]} {name!r} is in {other} and in {store.path}.")
                    self._owner[kind, name] = i
                    gaps = i > 0 and kind == "features" and bool((self._index(i) < 0).any())
                    mine[name] = dataclasses.replace(entry, gaps=True) if gaps else entry

    def forget(self) -> None:
        """Give back the memory that reading the arrays has filled."""
        for store in self._stores:
            store.forget()

    @property
    def parts(self) -> tuple[Store, ...]:
        """The stores, in the order that they are named in."""
        return tuple(self._stores)

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """int32 [N]: image numbers of the first store."""
        return self._stores[0].frames

    def _index(self, i: int) -> np.ndarray:
        """int64 [N]: the row of store i that shows the same track and image, -1 where none does."""
        cache = self.__dict__.setdefault("_indices", {})
        if i not in cache:
            other = self._stores[i]
            by_name = {t.name: t for t in other.tracks}
            index = np.full(self.frames_total, -1, np.int64)
            for track in self.tracks:
                theirs = by_name.get(track.name)
                if theirs is None or not theirs.frames:
                    continue
                own = self.frames[track.offset : track.offset + track.frames]
                numbers = other.frames[theirs.offset : theirs.offset + theirs.frames]
                at = np.minimum(np.searchsorted(numbers, own), theirs.frames - 1)
                index[track.offset : track.offset + track.frames] = np.where(
                    numbers[at] == own, theirs.offset + at, -1
                )
            if (index < 0).all():
                raise UserError(f"{other.path} shares no frame with {self._stores[0].path}.")
            cache[i] = index
        return cache[i]

    def feature(self, name: str) -> np.ndarray:
        """float32 [N, D]; of a joined store a view that gathers when it is sliced."""
        self.require_features([name])
        i = self._owner["features", name]
        array = self._stores[i].feature(name)
        return array if i == 0 else _Aligned(array, self._index(i))

    def feature_mask(self, name: str) -> np.ndarray | None:
        """bool [N], or None where the feature has no gaps."""
        self.require_features([name])
        if not self.features[name].gaps:
            return None
        i = self._owner["features", name]
        mask = self._stores[i].feature_mask(name)
        if i == 0:
            return mask
        index = self._index(i)
        return (index >= 0) if mask is None else (index >= 0) & mask[index]

    def label(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels, mask), on the first store's frames."""
        i = self._owner.get(("labels", name), 0)
        values, mask = self._stores[i].label(name)  # an unknown name: its error
        if i == 0:
            return values, mask
        index = self._index(i)
        there = (index >= 0).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(there, values[index], np.zeros((), values.dtype)), there & mask[index]

    def references(self, split: str) -> dict[str, dict[str, float]]:
        """Those of the first store."""
        return self._stores[0].references(split)


class _Aligned:
    """Rows of `array` in the order of `index`, gathered when sliced; zeros where index is -1."""

    def __init__(self, array: np.ndarray, index: np.ndarray):
        self._array, self._index = array, index

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        index = self._index[rows]
        return np.where((index >= 0)[:, None], self._array[index], np.float32(0))
