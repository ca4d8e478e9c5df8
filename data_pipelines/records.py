"""Records of frames and windows, as team RAS hands them from stage to stage.

python -m data_pipelines.records STORE --out=FOLDER

writes FOLDER/<run>/{train,val,test}.pkl of the predictions and embeddings in a store, as
affect_jax.export makes them, with its labels: STORE is the data and the exports, DATA,STORE,...

A file of frames is a pickle, read by data_pipelines/array_pickles.py, of

    {"<track>/<5-digit number>.jpg": {"embedding": [D] or None, "prediction": [K], "label": [K]}}

or an .npz of `keys` [N] with the arrays `embedding` [N, D], `prediction` [N, K], `label` [N, K]. A
file of windows is a pickle of {any key: {"vid", "start_frame", "end_frame", "embedding" [S, D],
"prediction" [S, K], ...}} with S steps a window; frames count from 0, the end is excluded. A label
that is -5 or no number is none; it is written as NaN. Keys without a track or a number are skipped.

Source: https://github.com/SMIL-SPCRAS/CVPRW-26, commit 8385d2a.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines import array_pickles
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.files import Npz, float32
from data_pipelines.folder import plain_name
from data_pipelines.join import open_store
from data_pipelines.labels.texts import NO_VALUE, VA_COLUMNS
from data_pipelines.labels.va_folders import SHORT
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_file
from data_pipelines.store import AnyStore
from data_pipelines.store_specs import LARGEST_FRAME

ARRAYS = ("embedding", "prediction", "label")
SUFFIXES = (".pkl", ".pickle", ".npz")


@dataclasses.dataclass(frozen=True)
class FrameRecords:
    """Records of a track's frames.

    Attributes:
        frames: int32 [N], 1-based image numbers, ascending.
        embedding: float32 [N, D]; None where the records have none.
        prediction: float32 [N, K]; None where the records have none.
        label: float32 [N, K], NaN where there is none; None where the records have none.
    """

    frames: np.ndarray
    embedding: np.ndarray | None
    prediction: np.ndarray | None
    label: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class WindowRecords:
    """Records of a track's windows, cut into steps of equal length.

    Attributes:
        spans: float64 [N * S, 2]: start and stop (excluded) of each step in frames, 0 the first
            image. Both ascend: a step of a shorter window that ends before an earlier one does is
            taken to last as long.
        embedding: float32 [N * S, D], of each step; None where the records have none.
        prediction: float32 [N * S, K]; None where the records have none.
    """

    spans: np.ndarray
    embedding: np.ndarray | None
    prediction: np.ndarray | None


def read(path: pathlib.Path) -> dict[str, FrameRecords] | dict[str, WindowRecords]:
    """{track: its records}, by name; those of windows where the first record names a start_frame.

    Raises:
        UserError: the file cannot be read, or a record is none: without the arrays that others
            have, of another size, of numbers that are not finite.
    """
    if path.suffix.lower() == ".npz":
        return _frames(*_of_npz(path), path)
    table = array_pickles.load(path)
    if not isinstance(table, dict) or not table:
        kind = "empty" if isinstance(table, dict) else f"a {type(table).__name__}"
        raise UserError(f"{path}: {kind}, expected a dict of records.")
    for key, record in table.items():
        if not isinstance(record, dict):
            found = type(record).__name__
            raise UserError(f"{path}: {shown(key)} is a {found}, expected a dict of arrays.")
    if "start_frame" in next(iter(table.values())):
        return _windows(table, path)
    keys = [str(key) for key in table]
    return _frames(keys, {name: _stacked(table, name, 1, path) for name in ARRAYS}, path)


def read_frames(path: pathlib.Path) -> dict[str, FrameRecords]:
    """{track: its records}, as `read`; UserError where the file is one of windows."""
    records = read(path)
    if not all(isinstance(track, FrameRecords) for track in records.values()):
        raise UserError(f"{path}: records of windows, expected one a frame.")
    return records


def write_frames(path: pathlib.Path, records: Mapping[str, FrameRecords]) -> int:
    """Write a pickle of frames, tracks by name; the number of records."""
    table = {}
    for track, of in sorted(records.items()):
        rows = zip(of.frames.tolist(), *(_rows(getattr(of, name), of.frames) for name in ARRAYS))
        for frame, *arrays in rows:
            table[f"{track}/{frame:05d}.jpg"] = dict(zip(ARRAYS, arrays))
    with replace_file(path) as partial, open(partial, "wb") as file:
        pickle.dump(table, file, protocol=4)
    return len(table)


def _rows(array: np.ndarray | None, frames: np.ndarray) -> Iterable[np.ndarray | None]:
    return [None] * len(frames) if array is None else np.ascontiguousarray(array, np.float32)


def _of_npz(path: pathlib.Path) -> tuple[list[str], dict[str, np.ndarray | None]]:
    with Npz(path) as arrays:
        if "keys" not in arrays:
            raise UserError(f"{path}: no array 'keys', only {listed(arrays)}.")
        keys = arrays["keys"]
        if keys.ndim != 1 or keys.dtype.kind != "U":
            raise UserError(f"{path}: keys is {keys.dtype} {keys.shape}, expected texts [N].")
        found: dict[str, np.ndarray | None] = {}
        for name in ARRAYS:
            found[name] = None
            if name in arrays:
                shape, dtype = arrays.header(name)
                if len(shape) != 2 or shape[0] != len(keys) or dtype.kind not in "iuf":
                    raise UserError(
                        f"{path}: {name} is {dtype} {shape}, expected numbers [{len(keys)}, size]."
                    )
                found[name] = float32(arrays[name])
    return keys.tolist(), found


def _stacked(
    table: Mapping[Any, Mapping], name: str, axes: int, path: pathlib.Path
) -> np.ndarray | None:
    """float32 [N, ...] of one array of every record; None where none has it."""
    found = [record.get(name) for record in table.values()]
    without = [key for key, value in zip(table, found) if value is None]
    if len(without) == len(found):
        return None
    if without and name == "label":  # of some frames is known
        known = next(value for value in found if value is not None)
        none = np.full(getattr(known, "shape", ()), np.nan, np.float32)
        found = [none if value is None else value for value in found]
    elif without:
        raise UserError(
            f"{path}: {len(without):,} of {len(found):,} records have no {name} "
            f"({listed(map(str, without), 3)}), the others do."
        )
    first = getattr(found[0], "shape", ())
    for key, value in zip(table, found):
        kind = value.dtype.kind if isinstance(value, np.ndarray) else None
        if kind not in ("i", "u", "f") or value.ndim != axes or value.shape != first:
            what = f"{value.dtype} {value.shape}" if kind else shown(value)
            expected = "x".join(map(str, first)) if len(first) == axes else f"{axes} axes"
            raise UserError(
                f"{path}: {shown(key)}: {name} is {what}, expected an array of numbers, {expected}."
            )
    return float32(np.stack(found))


def _frames(
    keys: list[str], arrays: Mapping[str, np.ndarray | None], path: pathlib.Path
) -> dict[str, FrameRecords]:
    rows: dict[str, dict[int, int]] = {}  # {track: {image number: row}}
    for row, key in enumerate(keys):
        parts = key.replace("\\", "/").split("/")
        number = parts[-1].rpartition(".")[0] or parts[-1]
        if len(parts) < 2 or not (number.isascii() and number.isdecimal()):
            continue
        track = plain_name(parts[0], f"{path}: track")
        image = int(number) if len(number) < 20 else 0
        if not 0 < image <= LARGEST_FRAME:
            raise UserError(f"{path}: {shown(key)}: no image number from 1 to {LARGEST_FRAME:,}.")
        if rows.setdefault(track, {}).setdefault(image, row) != row:
            other = keys[rows[track][image]]
            raise UserError(f"{path}: {shown(key)} and {shown(other)} are the same image.")
    if not rows:
        raise UserError(
            f"{path}: no key of the form <track>/00001.jpg; its keys: {listed(keys, 3) or 'none'}."
        )
    label = arrays["label"]
    if label is not None:
        missing = ~np.isfinite(label) | (label == NO_VALUE)
        arrays = {**arrays, "label": np.where(missing, np.float32(np.nan), label)}
    for name in ("embedding", "prediction"):
        _require_finite(arrays[name], keys, name, path)
    found = {}
    for track, places in sorted(rows.items()):
        images = np.array(sorted(places), np.int32)
        index = np.array([places[image] for image in images.tolist()])
        of_track = {n: None if a is None else a[index] for n, a in arrays.items()}
        found[track] = FrameRecords(images, **of_track)
    return found


def _windows(table: Mapping[Any, Mapping], path: pathlib.Path) -> dict[str, WindowRecords]:
    embedding, prediction = (_stacked(table, name, 2, path) for name in ARRAYS[:2])
    given = [array for array in (embedding, prediction) if array is not None]
    if not given:
        raise UserError(f"{path}: windows without embeddings and predictions.")
    keys, steps = [str(key) for key in table], given[0].shape[1]
    if not steps or any(array.shape[1] != steps for array in given):
        raise UserError(f"{path}: embeddings of {steps} steps a window, predictions of others.")
    for name, array in zip(ARRAYS, (embedding, prediction)):
        _require_finite(array, keys, name, path)
    rows: dict[str, list[int]] = {}
    bounds = np.zeros((len(table), 2))
    for row, (key, record) in enumerate(table.items()):
        track, *ends = (record.get(name) for name in ("vid", "start_frame", "end_frame"))
        whole = all(isinstance(end, int | np.integer) for end in ends)
        if not isinstance(track, str) or not whole or not 0 <= ends[0] < ends[1] <= LARGEST_FRAME:
            raise UserError(
                f"{path}: {shown(key)}: vid, start_frame and end_frame are {shown(track)}, "
                f"{shown(ends[0])}, {shown(ends[1])}, expected a name and two frames, 0 <= start "
                "< end."
            )
        bounds[row] = ends
        rows.setdefault(plain_name(track, f"{path}: vid"), []).append(row)
    edges = np.linspace(bounds[:, 0], bounds[:, 1], steps + 1, axis=1)
    spans = np.stack([edges[:, :-1], edges[:, 1:]], axis=-1)  # [N, S, 2]
    found = {}
    for track, index in sorted(rows.items()):
        of_track = spans[index].reshape(-1, 2)
        order = np.lexsort(of_track.T[::-1])
        arrays = (
            None if array is None else array[index].reshape(len(of_track), -1)[order]
            for array in (embedding, prediction)
        )
        in_order = of_track[order]
        in_order[:, 1] = np.maximum.accumulate(in_order[:, 1])
        found[track] = WindowRecords(in_order, *arrays)
    return found


def _require_finite(
    array: np.ndarray | None, keys: list[str], name: str, path: pathlib.Path
) -> None:
    if array is None:
        return
    finite = np.isfinite(array.reshape(len(array), -1)).all(1)
    if not finite.all():
        raise UserError(f"{path}: {shown(keys[int(np.argmin(finite))])}: {name} is not finite.")


def of_store(store: AnyStore, run: str, split: str) -> dict[str, FrameRecords]:
    """{track: records of the frames for which a run has predictions} of a split."""
    names, embedding = [f"{run}/{task}" for task in VA_COLUMNS], f"{run}/embedding"
    wide = embedding in store.features and store.features[embedding].axis == "frame"
    names += [embedding] * wide
    found = {}
    for i in store.split(split):
        rows = store.tracks[i].span
        there = np.ones(store.tracks[i].frames, bool)
        for name in names:
            if (mask := store.feature_mask(name)) is not None:
                there &= np.asarray(mask[rows])

        def of(name: str, rows: slice = rows, there: np.ndarray = there) -> np.ndarray:
            return float32(store.feature(name)[rows])[there]

        label = np.full((int(there.sum()), len(VA_COLUMNS)), np.nan, np.float32)
        for k, task in enumerate(VA_COLUMNS):
            if task in store.labels:
                values, mask = (np.asarray(x[rows])[there, 0] for x in store.label(task))
                label[:, k] = np.where(mask, values, np.nan)
        if there.any():
            found[store.tracks[i].name] = FrameRecords(
                np.asarray(store.frames[rows])[there],
                of(embedding) if wide else None,
                np.concatenate([of(name) for name in names[: len(VA_COLUMNS)]], axis=1),
                label,
            )
    return found


def _runs(store: AnyStore) -> list[str]:
    """Names of the runs of which a store has predictions a frame."""
    runs = dict.fromkeys(f.run for f in store.features.values() if f.run)
    both = [[store.features.get(f"{run}/{task}") for task in VA_COLUMNS] for run in runs]
    return [
        run
        for run, of in zip(runs, both)
        if all(f is not None and f.axis == "frame" and f.shape == (1,) for f in of)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m data_pipelines.records",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("store", metavar="STORE", help="a store, or several joined by commas")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="for <run>/train.pkl, ...")
    parser.add_argument("--runs", default="", metavar="A,B", help="of the store (default: all)")
    given = parser.parse_all(arguments)
    store, out = open_store(given.store), user_path(given.out)
    known = _runs(store)
    runs = [run.strip() for run in given.runs.split(",") if run.strip()] or known
    for run in runs or [""]:
        if run not in known:
            by = f" by {run}. {nearest(run, known)}" if run else " by a run."
            raise UserError(f"{store.path}: no predictions of valence and arousal{by.rstrip()}")
    for run in runs:
        for split in (split for split in store.splits if split in SHORT):
            if records := of_store(store, run, split):
                path = out / run / f"{SHORT[split]}.pkl"
                path.parent.mkdir(parents=True, exist_ok=True)
                print(f"{path}: {write_frames(path, records):,} records")


if __name__ == "__main__":
    sys.exit(main())
