"""A list of what is trained on: a text of one `track` or `track,frame` a line.

Frames are 1-based image numbers. A row is kept where its track is named, or one of its frames.
"""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines.errors import UserError, nearest
from data_pipelines.labels.lines import each_line
from data_pipelines.paths import user_path
from data_pipelines.rows import Rows
from data_pipelines.store import AnyStore


def kept_rows(file: str, store: AnyStore, rows: Rows) -> np.ndarray:
    """int64: numbers of the rows that a file keeps, ascending.

    Raises:
        UserError: no such file, a line that names no track or frame of the store, or no row left.
    """
    path = user_path(file)
    tracks, frames = _read(path, store)
    whole = np.isin(rows.track, sorted(tracks))
    for row in np.flatnonzero(np.isin(rows.track, sorted(frames)) & ~whole):
        track = int(rows.track[row])
        shown = store.frames[store.tracks[track].span][rows.frames(row)]
        whole[row] = not frames[track].isdisjoint(shown.tolist())
    if not whole.any():
        raise UserError(f"{path}: keeps no row of the training split.")
    return np.flatnonzero(whole)


def _read(path: pathlib.Path, store: AnyStore) -> tuple[set[int], dict[int, set[int]]]:
    """(tracks that are kept whole, {track: image numbers})."""
    index = {track.name: i for i, track in enumerate(store.tracks)}
    tracks: set[int] = set()
    frames: dict[int, set[int]] = {}
    for number, line in enumerate(each_line(path, lambda text: None), 1):
        if not line.strip():
            continue
        # A track may have a comma in its name.
        name, comma, frame = line.rpartition(",")
        if line in index:
            tracks.add(index[line])
        elif comma and name in index and frame.strip().isdecimal():
            own = index[name]
            image = int(frame)
            if image not in store.frames[store.tracks[own].span]:
                raise UserError(f"{path}:{number}: track {name!r} has no image {image}.")
            frames.setdefault(own, set()).add(image)
        else:
            hint = nearest(name if comma else line, index)
            raise UserError(f"{path}:{number}: {line[:80]!r} is no track, or track,frame. {hint}")
    return tracks, frames
