"""From folders of predictions to the official files of a track.

The official list says which videos and images, or clips, count. Predictions are decoded as their
task table says, then values are clipped to the range of the labels.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from affect_jax.prediction_files import Predictions, find_tasks, splits
from affect_jax.submission.check import SHOWN, Refused, check, counted
from affect_jax.submission.formats import Format, described, require_file_name
from affect_jax.submission.official import Official
from affect_jax.tasks import Task, decode
from data_pipelines.errors import UserError, nearest
from data_pipelines.nearest_frames import nearest_frames
from data_pipelines.paths import require_name

FILLS = ("line", "nearest")
Frames = tuple[np.ndarray, np.ndarray]  # image numbers [T] ascending; decoded, [T] or [T, K]


@dataclasses.dataclass(frozen=True)
class Decoded:
    """The decoded predictions of one task.

    Attributes:
        path: of the file, for messages.
        tracks: {track: its frames that have a prediction}.
        clipped: how many values were outside of the label's range.
    """

    path: pathlib.Path
    tracks: Mapping[str, Frames]
    clipped: int


def write(
    folders: Sequence[pathlib.Path],
    split: str | None,
    official: Official,
    form: Format,
    out: pathlib.Path,
    *,
    fill: str = "",
    drop: bool = False,
) -> list[str]:
    """Writes `out` and checks it; returns what there is to say, a line each.

    Args:
        folders: runs, or folders with <task>.npz. Each task of the track is in exactly one.
        split: of the runs; None for "test".
        fill: one of FILLS: images of the list without a prediction get one from their neighbours
            in the video, with "line" valence and arousal on the line between the two, all else, and
            with "nearest" these too, that of the nearest, the earlier of two. "": they are refused.
        drop: predictions for videos and images that the list does not have are left out. Without
            it they are refused.
    """
    if fill and fill not in FILLS:
        raise UserError(f"--fill={fill}: {nearest(fill, FILLS)}")
    if not out.name:
        raise UserError(f"--out={out}: has no name. Give a file or a folder of its own.")
    require_file_name(out, form)
    if fill and form.clips:
        raise UserError("--fill: clips have no neighbours; every clip needs a prediction.")
    if form.per_video and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is not a new or empty folder. Give another.")
    if not form.per_video and out.is_dir():
        raise UserError(f"{out}: is a folder, but track {form.track} is one file. Name the file.")
    if out.is_file() and (out.samefile(official.path) or _first_line(out) != form.header):
        raise UserError(f"{out}: exists and is no entry of track {form.track}. Give another --out.")
    decoded = _read(folders, split, form)
    frames = {video: _numbers(video, official, decoded) for video in official.frames}
    notes = _compare(frames, decoded, official, form, fill=fill, drop=drop)
    columns = {
        video: [
            _at(
                numbers,
                *d.tracks[video],
                between=fill != "nearest" and form.parts[task].range is not None,
            )
            for task, d in decoded.items()
        ]
        for video, numbers in frames.items()
    }
    partial = out.with_name(f".{out.name}.partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if form.per_video:
            _remove(partial)
            partial.mkdir()
            for video, values in columns.items():
                name = require_name(video, f"{official.path}: video")
                _write_lines(partial / f"{name}.txt", form.header, _rows(values))
        else:
            rows = (row for values in columns.values() for row in _rows(values))
            named = (f"{i},{row}" for i, row in zip(official.images, rows, strict=True))
            _write_lines(partial, form.header, named)
        said = check(partial, official, form).replace(str(partial), str(out), 1)
        os.replace(partial, out)
    except Refused as refused:  # ours to mend, not the user's
        raise AssertionError(f"refused what was written: {refused.problems[0]}") from refused
    except OSError as error:
        raise UserError(f"{error.filename or out}: {error.strerror or error}.") from None
    finally:
        _remove(partial)
    return [*notes, said]


def _first_line(path: pathlib.Path) -> str:
    with path.open(errors="replace") as lines:
        return lines.readline().rstrip("\n")


def _read(folders: Sequence[pathlib.Path], split: str | None, form: Format) -> dict[str, Decoded]:
    """{task: its predictions} of all tasks of the track, in order."""
    decoded: dict[str, Decoded] = {}
    others: list[str] = []
    for folder in folders:
        folder = _of_split(folder, split)
        for task in find_tasks(folder):
            file = folder / f"{task.name}.npz"
            if not file.is_file():
                continue
            if task.name not in form.parts:
                others.append(task.name)
            elif task.name in decoded:
                raise UserError(
                    f"{file}: {task.name} is predicted in {decoded[task.name].path} too. Leave one."
                )
            else:
                decoded[task.name] = _decoded(file, task, form)
    for name in form.parts:
        if name not in decoded:
            raise UserError(
                f"{', '.join(map(str, folders))}: no predictions of {name}, which track "
                f"{form.track} needs. {nearest(name, [*decoded, *others])}"
            )
    return {name: decoded[name] for name in form.parts}


def _of_split(folder: pathlib.Path, split: str | None) -> pathlib.Path:
    """The folder of a split in a run, or a folder of predictions itself."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder.")
    inside = folder / "predictions"
    if not inside.is_dir():
        if split is not None:
            raise UserError(
                f"{folder}: has no predictions/{split}. Leave --split out for a folder that holds "
                "the predictions itself."
            )
        return folder
    split = split or "test"
    if not (inside / split).is_dir():
        raise UserError(
            f"{folder}: no predictions of split {split!r}; write them with --mode=predict. "
            f"{nearest(split, splits(inside))}"
        )
    return inside / split


def _decoded(file: pathlib.Path, task: Task, form: Format) -> Decoded:
    part = form.parts[task.name]
    spec = part.spec
    names = tuple(spec.get("names", ()))
    if (task.label_kind, task.size) != (spec["kind"], spec["size"]) or (
        names and task.names and task.names != names
    ):
        raise UserError(
            f"{file}: {task.size} {task.kind} {', '.join(task.names)}; {task.name} of "
            f"{described(form)} is {spec['size']} {spec['kind']} {', '.join(names)}."
        )
    read = Predictions.read(file)
    if read.raw.shape != (len(read.frame), *task.raw_shape):
        expected = ", ".join(map(str, (len(read.frame), *task.raw_shape)))
        raise UserError(f"{file}: raw is {read.raw.shape}, expected ({expected}).")
    # A frame that no window covers is NaN throughout: it has no prediction.
    given = ~np.isnan(read.raw).reshape(len(read.raw), -1).all(1)
    broken = given & ~np.isfinite(read.raw).reshape(len(read.raw), -1).all(1)
    if broken.any():
        row = int(np.argmax(broken))
        raise UserError(
            f"{file}: image {read.frame[row]} of {read.tracks[read.track[row]]} is predicted as "
            f"{read.raw[row].tolist()}, which is not finite."
        )
    values, clipped = decode(task, read.raw[given]), 0
    if part.range is not None:
        low, high = part.range
        clipped = int(((values < low) | (values > high)).sum())
        values = np.clip(values, low, high)
    if part.columns:
        values = values[:, list(part.columns)]
    if part.words:
        values = np.array(part.words)[values]
    frame, tracks = read.frame[given], {}
    bounds = np.concatenate([[0], np.cumsum(given)])[read.bounds]  # of the rows that are given
    for name, start, stop in zip(read.tracks, bounds[:-1], bounds[1:]):
        if start < stop:
            numbers = frame[start:stop]
            tracks[str(name)] = numbers, values[start:stop]
            if (np.diff(numbers) <= 0).any():
                raise UserError(f"{file}: image numbers of {name} do not ascend.")
    return Decoded(file, tracks, clipped)


def _numbers(video: str, official: Official, decoded: Mapping[str, Decoded]) -> np.ndarray:
    """Image numbers of a video: the list's or, where that has names only, all up to the last."""
    listed = official.frames[video]
    if listed is not None:
        return listed
    last = [d.tracks[video][0][-1] for d in decoded.values() if video in d.tracks]
    return np.arange(1, max(last, default=0) + 1, dtype=np.int32)


def _compare(
    frames: Mapping[str, np.ndarray],
    decoded: Mapping[str, Decoded],
    official: Official,
    form: Format,
    *,
    fill: str,
    drop: bool,
) -> list[str]:
    """Notes on what is clipped, filled and left out; Refused where that was not asked for."""
    problems, notes = [], []
    for task, d in decoded.items():
        filled = dropped = 0
        spare = [track for track in d.tracks if track not in frames]
        for video, numbers in frames.items():
            if video not in d.tracks:
                hint = nearest(video, spare) if len(problems) < SHOWN else ""
                problems.append(
                    f"{d.path}: no prediction for {form.unit} {video!r}. {hint}".rstrip()
                )
                continue
            missing = np.setdiff1d(numbers, d.tracks[video][0])
            extra = np.setdiff1d(d.tracks[video][0], numbers)
            filled, dropped = filled + len(missing), dropped + len(extra)
            if len(missing) and not fill:
                problems.append(
                    f"{d.path}: no prediction for {_images(missing)} of {video!r}; --fill takes "
                    "the neighbours'."
                )
            if len(extra) and not drop:
                problems.append(
                    f"{d.path}: predicts {_images(extra)} of {video!r}, not in {official.path}; "
                    "--drop leaves them out."
                )
        if not drop:
            problems += [
                f"{d.path}: predicts {track!r}, not in {official.path}; --drop leaves it out."
                for track in spare
            ]
        if d.clipped:
            low, high = form.parts[task].range
            notes.append(f"{task}: values clipped to {low:g} or {high:g}: {d.clipped:,}.")
        if filled:
            notes.append(f"{task}: images that took their neighbours' values: {filled:,}.")
        if dropped or spare:
            notes.append(
                f"{task}: left out, not in {official.path}: {counted(spare, form.unit)}"
                + ("." if form.clips else f", images of other videos: {dropped:,}.")
            )
    if problems:
        raise Refused(f"{counted(problems, 'problem')}, nothing was written.", problems)
    return notes


def _images(numbers: np.ndarray) -> str:
    if len(numbers) == 1:
        return f"image {numbers[0]}"
    return f"{len(numbers):,} images ({numbers[0]} to {numbers[-1]})"


def _at(wanted: np.ndarray, known: np.ndarray, values: np.ndarray, *, between: bool) -> np.ndarray:
    """Values [T] or [T, K] of the wanted images from those of the known ones (see `write`)."""
    if between:
        columns = values.reshape(len(values), -1).T
        lines = np.stack([np.interp(wanted, known, column) for column in columns], axis=1)
        return lines.reshape(len(wanted), *values.shape[1:])
    return values[nearest_frames(wanted, known)]


def _rows(values: Sequence[np.ndarray]) -> Iterator[str]:
    """Rows of one video from its columns, [T] or [T, K] each."""
    columns: list[Iterable[str]] = []
    for array in values:
        # Six digits: rounding stays far below what a CCC shows, and within [-1, 1].
        text = "{:.6f}".format if array.dtype.kind == "f" else str
        columns += [map(text, column.tolist()) for column in array.reshape(len(array), -1).T]
    return map(",".join, zip(*columns))


def _write_lines(path: pathlib.Path, header: str, rows: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(header + "\n")
        file.writelines(row + "\n" for row in rows)


def _remove(path: pathlib.Path) -> None:
    """A file or folder, where there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
