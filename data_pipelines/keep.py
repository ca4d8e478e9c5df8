"""A list of what is trained on: a text of one `track` or `track,frame` a line.

Frames are 1-based image numbers. A row is kept where its track is named, or one of its frames.
"""

from __future__ import annotations

import contextlib
import pathlib

import numpy as np

from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.labels.lines import each_line
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_file
from data_pipelines.rows import Rows
from data_pipelines.store import AnyStore


def kept_rows(file: str, store: AnyStore, rows: Rows) -> np.ndarray:
    """int64: numbers of the rows that a file keeps, ascending.

    Raises:
        UserError: no such file, a line that names no track or frame of the store, or no row left.
    """
    path = user_path(file)
    tracks, frames = _read(path, store)
    listed = np.zeros(store.frames_total, bool)
    for track, lines in frames.items():
        listed[store.tracks[track].offset + _places(path, store, track, lines)] = True
    kept = np.isin(rows.track, list(tracks))
    some = np.flatnonzero(np.isin(rows.track, list(frames)) & ~kept)
    offset = np.array([track.offset for track in store.tracks], np.int64)[rows.track[some]]
    step, sizes = np.arange(rows.length), rows.sizes[some, None]
    index = (offset + rows.start[some])[:, None] + np.minimum(step, sizes - 1) * rows.stride
    kept[some] = listed[index].any(1)
    if not kept.any():
        raise UserError(f"{path}: keeps no row of the training split.")
    return np.flatnonzero(kept)


def write_kept(path: pathlib.Path, store: AnyStore, rows: Rows, kept: np.ndarray) -> None:
    """Write the file of which `kept_rows` reads these rows; a kill leaves the old one or the new.

    A row is its track where that has no other row, else the first of its frames.

    Args:
        rows: a table of rows that share no frame.
        kept: the rows that are kept, by number or by mask; at least one.

    Raises:
        UserError: the name of a track cannot be told from the rest of a line.
    """
    kept = np.sort(np.arange(len(rows))[kept])
    alone = np.bincount(rows.track, minlength=len(store.tracks)) == 1
    lines = []
    for row in kept.tolist():
        track = store.tracks[rows.track[row]]
        image = store.frames[track.offset + rows.start[row]]
        lines.append(track.name if alone[rows.track[row]] else f"{track.name},{image}")
    with replace_file(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        _require_same(partial, lines, store, rows, kept)


def _require_same(
    path: pathlib.Path, lines: list[str], store: AnyStore, rows: Rows, kept: np.ndarray
) -> None:
    """UserError where a list is read as other rows than were written: of `a,7`, say."""
    with contextlib.suppress(UserError):
        if np.array_equal(kept_rows(str(path), store, rows), kept):
            return
    odd = {track.name for track in store.tracks} & {line for line in lines if "," in line}
    raise UserError(
        f"{store.path}: tracks cannot be listed one a line, for their names: "
        f"{listed(sorted(odd))}. Rename them."
    )


def _read(path: pathlib.Path, store: AnyStore) -> tuple[set[int], dict[int, dict[int, int]]]:
    """(tracks that are kept whole, {track: {image number: its line}})."""
    index = {track.name: i for i, track in enumerate(store.tracks)}
    tracks: set[int] = set()
    frames: dict[int, dict[int, int]] = {}
    for number, line in enumerate(each_line(path, lambda text: None), 1):
        if not line.strip():
            continue
        for text in (line, line.strip()):  # a track may have spaces or a comma in its name
            name, comma, frame = text.rpartition(",")
            frame = frame.strip()
            if text in index:
                tracks.add(index[text])
                break
            if comma and name in index and frame.isdecimal() and len(frame) < 11:
                frames.setdefault(index[name], {})[int(frame)] = number
                break
        else:
            hint = nearest(name if comma else text, index)
            raise UserError(f"{path}:{number}: {text[:80]!r} is no track, or track,frame. {hint}")
    return tracks, frames


def _places(path: pathlib.Path, store: AnyStore, track: int, lines: dict[int, int]) -> np.ndarray:
    """int64: where in a track the images of these lines are; UserError for one that is not."""
    images, numbers = np.array(list(lines)), store.frames[store.tracks[track].span]
    at = np.searchsorted(numbers, images)
    absent = ~np.isin(images, numbers)
    if absent.any():
        image = int(images[np.argmax(absent)])
        name = store.tracks[track].name
        raise UserError(f"{path}:{lines[image]}: track {name!r} has no image {image}.")
    return at
