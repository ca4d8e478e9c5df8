"""A list of what is trained on: a text of one `track`, `track,frame` or `track,start,stop` a line.

Frames are 1-based image numbers. A row is kept where its track is named, or one of its frames, or
its first and its last frame (both belong to it): windows that overlap share frames, and only the
last form tells one from another.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
from collections.abc import Container

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
    if path.is_file() and not path.stat().st_size:
        raise UserError(
            f"{path}: is empty, as a selector that retains no row writes it. There is nothing to "
            "train on."
        )
    tracks, frames, stretches = _read(path, store)
    named = np.zeros(store.frames_total, bool)
    for track, lines in frames.items():
        named[store.tracks[track].offset + _places(path, store, track, lines)] = True
    kept = np.isin(rows.track, list(tracks))
    some = np.flatnonzero(np.isin(rows.track, list(frames)) & ~kept)
    offset = _offsets(store, rows)
    step, sizes = np.arange(rows.length), rows.sizes[some, None]
    index = (offset + rows.start)[some, None] + np.minimum(step, sizes - 1) * rows.stride
    kept[some] = named[index].any(1)
    kept[_exact(path, store, rows, stretches)] = True
    if not kept.any():
        raise UserError(f"{path}: keeps no row of the training split.")
    return np.flatnonzero(kept)


def write_kept(path: pathlib.Path, store: AnyStore, rows: Rows, kept: np.ndarray) -> None:
    """Write the file of which `kept_rows` reads these rows; a kill leaves the old one or the new.

    A row is its track where that has no other row; else the first of its frames, or its first and
    last where rows overlap.

    Args:
        kept: the rows that are kept, by number or by mask; of none the file is empty, which
            `kept_rows` refuses.

    Raises:
        UserError: the name of a track cannot be told from the rest of a line.
    """
    kept = np.sort(np.arange(len(rows))[kept])
    alone = np.bincount(rows.track, minlength=len(store.tracks)) == 1
    same, before = rows.track[1:] == rows.track[:-1], rows.start[1:] < rows.stop[:-1]
    overlap = rows.stride == 1 and bool((same & before).any())
    images = _images(store, rows)[:, : 2 if overlap else 1]
    lines = []
    for row in kept.tolist():
        name = store.tracks[rows.track[row]].name
        frames = "" if alone[rows.track[row]] else "".join(f",{i}" for i in images[row])
        lines.append(name + frames)
    with replace_file(path) as partial:
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        if lines:
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


def _read(
    path: pathlib.Path, store: AnyStore
) -> tuple[set[int], dict[int, dict[int, int]], dict[tuple[int, int, int], int]]:
    """Lines of the file, by the index of their track.

    Returns:
        (tracks that are kept whole, {track: {image number: its line}}, {(track, first image
        number, last image number): its line}).
    """
    index = {track.name: i for i, track in enumerate(store.tracks)}
    tracks: set[int] = set()
    frames: dict[int, dict[int, int]] = {}
    stretches: dict[tuple[int, int, int], int] = {}
    for number, line in enumerate(each_line(path, lambda text: None), 1):
        if not line.strip():
            continue
        for text in (line, line.strip()):  # a track may have spaces or a comma in its name
            name, *images = _parts(text, index)
            if name not in index:
                continue
            if not images:
                tracks.add(index[name])
            elif len(images) == 1:
                frames.setdefault(index[name], {})[images[0]] = number
            else:
                stretches[index[name], images[0], images[1]] = number
            break
        else:
            hint = nearest(re.sub(r"(\s*,\s*\d+){1,2}$", "", text), index)
            raise UserError(
                f"{path}:{number}: {text[:80]!r} is no track, or track,frame, or "
                f"track,start,stop. {hint}"
            )
    return tracks, frames, stretches


def _parts(line: str, names: Container[str]) -> tuple[str, *tuple[int, ...]]:
    """(the longest track that the line begins with, image numbers behind it); ("",) if none."""
    for count in (0, 1, 2):
        name, *fields = line.rsplit(",", count)
        numbers = [field.strip() for field in fields]
        if name in names and all(text.isdecimal() and len(text) < 11 for text in numbers):
            return name, *map(int, numbers)
    return ("",)


def _offsets(store: AnyStore, rows: Rows) -> np.ndarray:
    """int64 [R]: the place of the track of each row among all frames."""
    return np.array([track.offset for track in store.tracks], np.int64)[rows.track]


def _images(store: AnyStore, rows: Rows) -> np.ndarray:
    """int [R, 2]: the first and the last image number that each row feeds."""
    first = _offsets(store, rows) + rows.start
    return store.frames[np.stack([first, first + (rows.sizes - 1) * rows.stride], 1)]


def _exact(
    path: pathlib.Path, store: AnyStore, rows: Rows, lines: dict[tuple[int, int, int], int]
) -> np.ndarray:
    """int64: the rows of these tracks, first and last images.

    Raises:
        UserError: a track has rows, but none from the first image of a line to the last.
    """
    table = np.concatenate([rows.track[:, None], _images(store, rows)], 1).tolist() if lines else []
    found = np.array([i for i, row in enumerate(table) if tuple(row) in lines], np.int64)
    absent = lines.keys() - {tuple(table[i]) for i in found}
    of_rows = {row[0] for row in table}
    for track, start, stop in sorted((x for x in absent if x[0] in of_rows), key=lines.get):
        near = [f"{a} to {b}" for t, a, b in table if t == track]
        raise UserError(
            f"{path}:{lines[track, start, stop]}: no row of track {store.tracks[track].name!r} is "
            f"images {start} to {stop}. Its rows are {listed(near, 3)}: the list was written for "
            "rows of another length or distance (config.data.seconds and hop_seconds, or length "
            "and hop)."
        )
    return found


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
