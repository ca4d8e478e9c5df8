"""Opening what `data.root` names: a store, a synthetic twin, or several stores side by side."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore, Store


def open_store(root: str) -> AnyStore:
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


class JoinedStore(AnyStore):
    """Several stores as one, put together by track name and image number.

    Tracks, frames and splits are the first store's. Of another store, what follows the frames
    joins by track and image: one that it lacks is a gap in its features and unlabelled in its
    labels. Rows on another axis join by track: one that it lacks has none. A name in two stores is
    an error.
    """

    def __init__(self, stores: Sequence[Store]):
        first = stores[0]
        self.path = pathlib.Path(",".join(str(s.path) for s in stores))
        self.name = "+".join(s.name for s in stores)
        self.manifest = {**first.manifest, "name": self.name}
        made_by = [str(s.manifest["source"]) for s in stores if "source" in s.manifest]
        if made_by:
            self.manifest["source"] = "+".join(dict.fromkeys(made_by))
        self.tracks, self.frames_total = first.tracks, first.frames_total
        self.parts = tuple(stores)
        self._track_of = [{t.name: k for k, t in enumerate(s.tracks)} for s in stores]
        self.features, self.labels, self._owner = {}, {}, {}
        for i, store in enumerate(stores):
            if i and not self._track_of[0].keys() & self._track_of[i].keys():
                raise UserError(f"{store.path} shares no track with {first.path}.")
            for kind, mine, theirs in (
                ("feature", self.features, store.features),
                ("label", self.labels, store.labels),
            ):
                for name, entry in theirs.items():
                    if name in mine:
                        other = stores[self._owner[kind, name]].path
                        raise UserError(f"{kind} {name!r} is in {other} and in {store.path}.")
                    self._owner[kind, name] = i
                    frame_wise = kind == "feature" and entry.axis == "frame"
                    gaps = i > 0 and frame_wise and bool((self._index(i) < 0).any())
                    mine[name] = dataclasses.replace(entry, gaps=True) if gaps else entry

    def forget(self) -> None:
        """Give back the memory that reading the arrays has filled."""
        for store in self.parts:
            store.forget()

    @functools.cached_property
    def frames(self) -> np.ndarray:
        """int32 [N]: image numbers of the first store."""
        return self.parts[0].frames

    def _index(self, i: int) -> np.ndarray:
        """int64 [N]: the row of store i that shows the same track and image, -1 where none does."""
        cache = self.__dict__.setdefault("_indices", {})
        if i not in cache:
            other = self.parts[i]
            index = np.full(self.frames_total, -1, np.int64)
            for track in self.tracks:
                theirs = self._track_of[i].get(track.name)
                if theirs is None or not other.tracks[theirs].frames:
                    continue
                rows = other.tracks[theirs].span
                own, numbers = self.frames[track.span], other.frames[rows]
                at = np.minimum(np.searchsorted(numbers, own), len(numbers) - 1)
                index[track.span] = np.where(numbers[at] == own, rows.start + at, -1)
            if (index < 0).all():
                raise UserError(f"{other.path} shares no frame with {self.parts[0].path}.")
            cache[i] = index
        return cache[i]

    def _of(self, kind: str, name: str) -> tuple[Store, np.ndarray | None]:
        """(the store of a name; the index of its frames, None where its rows stay as they are)."""
        i = self._owner[kind, name]
        stays = i == 0 or (kind == "feature" and self.features[name].axis != "frame")
        return self.parts[i], None if stays else self._index(i)

    def rows(self, name: str, track: int) -> slice:
        """Rows of the track of this index in `feature(name)`; none where it has none."""
        self.require_features([name])
        if self.features[name].axis == "frame":
            return self.tracks[track].span
        i = self._owner["feature", name]
        theirs = self._track_of[i].get(self.tracks[track].name)
        return slice(0, 0) if theirs is None else self.parts[i].rows(name, theirs)

    def feature(self, name: str) -> np.ndarray:
        """[rows, *shape] of the stored dtype; of joined frames a view that gathers when indexed."""
        self.require_features([name])
        store, index = self._of("feature", name)
        return store.feature(name) if index is None else Aligned(store.feature(name), index)

    def feature_mask(self, name: str) -> np.ndarray | None:
        """bool [rows], or None where the feature has no gaps."""
        self.require_features([name])
        if not self.features[name].gaps:
            return None
        store, index = self._of("feature", name)
        mask = store.feature_mask(name)
        if index is None:
            return mask
        return (index >= 0) if mask is None else (index >= 0) & mask[index]

    def spans(self, name: str) -> np.ndarray:
        """float64 [rows, 2] of a table: start and stop (excluded) in frames, 0 the first image."""
        self.require_features([name])
        return self._of("feature", name)[0].spans(name)

    def label(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels, mask), on the first store's frames."""
        if name not in self.labels:
            return self.parts[0].label(name)  # its error
        store, index = self._of("label", name)
        values, mask = store.label(name)
        if index is None:
            return values, mask
        shared = (index >= 0).reshape(-1, *[1] * (values.ndim - 1))
        return np.where(shared, values[index], np.zeros((), values.dtype)), shared & mask[index]

    def references(self, split: str) -> dict[str, dict[str, float]]:
        """Those of the first store."""
        return self.parts[0].references(split)


class Aligned:
    """Rows of `array` in the order of `index`, gathered when indexed; zeros where index is -1."""

    def __init__(self, array: np.ndarray, index: np.ndarray):
        self._array, self._index = array, index
        self.dtype, self.shape = array.dtype, (len(index), *array.shape[1:])

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        index = self._index[rows]
        shared = (index >= 0).reshape(*index.shape, *[1] * (self._array.ndim - 1))
        return np.where(shared, self._array[index], np.zeros((), self.dtype))
