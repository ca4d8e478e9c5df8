"""Hashes of what a training reads of a store, to tell whether a store is still the same."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.chunks import chunks, flat
from data_pipelines.errors import UserError
from data_pipelines.store import AnyStore

TRACKS = "tracks, splits and groups"  # the entry that is no array


def sha256_of(array: np.ndarray) -> str:
    """SHA-256 over the bytes of an array, as StoreWriter writes it into the manifest."""
    digest = hashlib.sha256()
    for _, part in chunks(flat(array)):
        digest.update(np.ascontiguousarray(part))
    return digest.hexdigest()


def arrays_of(
    store: AnyStore, features: Sequence[str], labels: Sequence[str]
) -> Iterator[tuple[str, pathlib.Path, np.ndarray, str]]:
    """(key, file, array, SHA-256 in the manifest or "") of frames, features, spans, labels and
    masks.

    Of stores that are joined, those that some feature or label is taken from, and the first; a key
    begins with the number of its store then.
    """
    for i, part in enumerate(store.parts):
        mine = [name for name in features if name in part.features]
        known = [name for name in labels if name in part.labels]
        if i and not (mine or known):
            continue
        given = part.manifest.get("sha256", {})
        files = [("frames.npy", part.frames, given.get("frames.npy"))]
        for name in mine:
            file = f"features/{name}.npy"
            files.append((file, part.feature(name), part.features[name].sha256))
            if (mask := part.feature_mask(name)) is not None:
                file = f"features/{name}.mask.npy"
                files.append((file, mask, given.get(file)))
            if part.features[name].spans:
                file = f"features/{name}.spans.npy"
                files.append((file, part.spans(name), given.get(file)))
        for name in known:
            values, mask = part.label(name)
            files.append((f"labels/{name}.npy", values, part.labels[name].sha256))
            file = f"labels/{name}.mask.npy"
            files.append((file, mask, given.get(file)))
        for file, array, expected in files:
            key = f"{i + 1}/{file}" if len(store.parts) > 1 else file
            yield key, part.path / file, array, expected if isinstance(expected, str) else ""


def bytes_of(store: AnyStore, features: Sequence[str], labels: Sequence[str]) -> int:
    """Bytes of the arrays that `hashes` is about."""
    return sum(array.nbytes for _, _, array, _ in arrays_of(store, features, labels))


def hashes(
    store: AnyStore, features: Sequence[str], labels: Sequence[str], *, trust: bool, limit: float
) -> dict[str, str]:
    """{file: SHA-256} of these features and labels, and of the table of tracks.

    Args:
        trust: what the manifest says is taken, where it says something; or else the arrays are
            read.
        limit: bytes that are read at most. Of more, none are: the manifest's hashes are taken, and
            arrays that it says nothing of are left out.

    Raises:
        UserError: an array is not what the manifest says.
    """
    arrays = list(arrays_of(store, features, labels))
    unread = [array.nbytes for _, _, array, expected in arrays if not (trust and expected)]
    within = sum(unread) <= limit
    result = {TRACKS: _tracks(store)} | _streams(store, features)
    for key, file, _, expected in arrays:
        if (trust and expected) or not within:
            result |= {key: expected} if expected else {}
            continue
        state = file.stat()
        result[key] = _sha256(file, state.st_mtime_ns, state.st_size, state.st_ino)
        if expected and result[key] != expected:
            raise UserError(
                f"{file}: has the SHA-256 {result[key][:12]}, the manifest says {expected[:12]}: "
                "it is damaged, or was changed. Prepare the store again."
            )
    return result


@functools.lru_cache(maxsize=256)
def _sha256(file: pathlib.Path, *state: int) -> str:
    """Hash of a file in the state given; folds that train on one store read it once."""
    del state
    return sha256_of(np.lib.format.open_memmap(file, mode="r"))


def _tracks(store: AnyStore) -> str:
    """SHA-256 of the tables of tracks: names, splits, groups, frames, frames a second."""
    tables = []
    for tracks, part in zip((store.tracks, *(p.tracks for p in store.parts[1:])), store.parts):
        # As a number where the manifest has one: the exact rates came after the first hashes.
        rates = [entry.get("fps") for entry in part.manifest["tracks"]]
        rates = [rate if rate is None or isinstance(rate, str) else float(rate) for rate in rates]
        rows = [(t.name, t.split, t.group, t.frames) for t in tracks]
        tables.append([(*row, rate) for row, rate in zip(rows, rates, strict=True)])
    return hashlib.sha256(json.dumps(tables).encode()).hexdigest()


def _streams(store: AnyStore, features: Sequence[str]) -> dict[str, str]:
    """{entry: SHA-256} of what the manifest says of features that are no floats a frame."""
    result = {}
    for name in features:
        feature = store.features[name]
        if (feature.axis, feature.scale) != ("frame", 1):
            rows = [store.rows(name, i) for i in range(len(store.tracks))]
            about = [feature.axis, str(feature.rate), feature.scale, *map(str, rows)]
            digest = hashlib.sha256(json.dumps(about).encode())
            result[f"rows and scale of {name}"] = digest.hexdigest()
    return result
