"""Tables of windows for the audio branch of RAS, and which rows of a store hold speech.

python -m data_pipelines.segments --annotations=FOLDER --fps=videos_fps.csv --out=FOLDER
python -m data_pipelines.segments --store=STORE --keep=FILE

The first form cuts every video into windows of 4 seconds, 2 seconds apart, and writes
{train,val,test}_segment.csv with the mean labels of windows and their steps; with the tables of
mouths (--mouth) also {train,val,test}_audio_segment.csv, which say what sound is speech.

    FOLDER/{Train_Set,Validation_Set}/<track>.txt   valence-arousal texts; or train, validation
    FOLDER/Test_Set/<track>.txt                     only their lengths are read; or --test-list

A video is as long as its annotation has rows, or with --videos as its file says. The rate of each
is in videos_fps.csv; with --videos it is read from the files, and the table written.

The second form lists the rows of a store whose sound is speech, by its feature mouth_open, for
--config.data.keep of a training with the same config.data.seconds and hop_seconds.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from data_pipelines import av_windows, video
from data_pipelines import folder as folders
from data_pipelines import labels as readers
from data_pipelines.av_windows import RULES, STEPS, Window
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.join import open_store
from data_pipelines.keep import write_kept
from data_pipelines.labels.folders import text_files
from data_pipelines.labels.lines import finite_number
from data_pipelines.labels.lists import read_test_tracks
from data_pipelines.labels.mouths import read_mouth
from data_pipelines.labels.rates import NAME, rate_of_track, read_rates, write_rates
from data_pipelines.labels.segments import Segment, Speech, write_segments
from data_pipelines.labels.texts import VA_COLUMNS, TrackLabels
from data_pipelines.labels.va_folders import SHORT, split_folders
from data_pipelines.paths import user_path
from data_pipelines.report import Report
from data_pipelines.rows import Rows, in_seconds, rate_of
from data_pipelines.store import AnyStore

MOUTH = "mouth_open"  # the feature of a store


@dataclasses.dataclass(frozen=True)
class Clip:
    """A track as it is cut.

    Attributes:
        video: the file that shows it.
        fps: frames a second, exact.
        frames: of the video.
        values, mask: [T, 2] valence and arousal, whatever the length of the video.
        mouth: (face, is_open), bool [T] each; None: not known.
    """

    name: str
    video: str
    fps: Fraction
    frames: int
    values: np.ndarray
    mask: np.ndarray
    mouth: tuple[np.ndarray, np.ndarray] | None = None


def segments(clip: Clip, *, rule: str = "shipped", steps: int = STEPS) -> list[Segment]:
    """The windows of a track, in time."""
    face = is_open = None
    if clip.mouth is not None:
        face, is_open = clip.mouth[0], av_windows.smoothed(clip.mouth[1], clip.fps)
    found = []
    suffix = pathlib.PurePath(clip.video).suffix
    for index, window in enumerate(av_windows.windows(clip.frames / clip.fps, clip.fps)):
        labels = av_windows.label_means(clip.values, clip.mask, window.start, window.stop)
        of_steps = av_windows.step_labels(
            clip.values, clip.mask, window, clip.fps, steps=steps, rule=rule
        )
        speech = None
        if face is not None:
            heard = av_windows.mouth(window, is_open, face, clip.fps)
            speech = Speech(*heard, av_windows.speaks(window, *heard, rule=rule), clip.fps)
        name = av_windows.name(clip.name, window, index, suffix)
        means = (np.where(there, values, np.nan) for values, there in (labels, of_steps))
        found.append(Segment(clip.video, name, window, *means, speech=speech))
    return found


def speaking(
    store: AnyStore, rows: Rows, *, rule: str = "shipped", mouth: str = MOUTH
) -> np.ndarray:
    """bool [R]: rows whose sound is taken for speech of the person that is seen.

    Args:
        mouth: a feature of one number a frame, above 0 where the mouth is open; gaps, and
            images that the store lacks, have no face.

    Raises:
        UserError: there is no such feature, or a track has no frames a second.
    """
    store.require_features([mouth])
    feature = store.features[mouth]
    if feature.axis != "frame" or feature.size != 1:
        raise UserError(
            f"{store.path}: feature {mouth!r} is {list(feature.shape)} on the axis "
            f"{feature.axis!r}, expected one number a frame, above 0 where the mouth is open."
        )
    array, mask, found = store.feature(mouth), store.feature_mask(mouth), np.zeros(len(rows), bool)
    for track in np.unique(rows.track).tolist():
        own, fps = store.tracks[track].span, rate_of(store, track, "mouths are smoothed in seconds")
        images = np.asarray(store.frames[own])
        face, flags = np.zeros((2, images[-1]), bool)
        face[images - 1] = True if mask is None else mask[own]
        flags[images - 1] = np.asarray(array[own]).reshape(-1) > 0
        smooth = av_windows.smoothed(flags & face, fps)
        for row in np.flatnonzero(rows.track == track):
            start, stop = int(images[rows.start[row]]) - 1, int(images[rows.stop[row] - 1])
            window = Window(start / fps, stop / fps, start, stop)
            heard = av_windows.mouth(window, smooth, face, fps)
            found[row] = av_windows.speaks(window, *heard, rule=rule)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m data_pipelines.segments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--rule", default="shipped", choices=RULES, help="of speech and of labels of the steps")
    form = parser.add_argument_group("tables of windows")
    form.add_argument("--annotations", metavar="FOLDER")
    form.add_argument("--test-list", metavar="FILE", help="the organisers' list of test images")
    form.add_argument("--fps", metavar="FILE", help=f"{NAME}: read, or with --videos written")
    form.add_argument("--videos", metavar="FOLDER", help="read rates and lengths from the videos")
    form.add_argument("--mouth", metavar="FOLDER", help="<track>.csv with frame and mouth_open")
    form.add_argument(
        "--steps", type=whole(1, 100), help=f"labels of a window, {STEPS} unless given"
    )
    form.add_argument("--out", metavar="FOLDER")
    form = parser.add_argument_group("rows of a store")
    form.add_argument("--store", metavar="STORE")
    form.add_argument("--keep", metavar="FILE", help="the list to be written")
    form.add_argument("--split", metavar="SPLIT", help="train unless given")
    form.add_argument("--seconds", metavar="S", help="length of a row, 4 unless given")
    form.add_argument("--hop-seconds", metavar="S", help="from a row to the next, 2 unless given")
    given = parser.parse_all(arguments)
    tables = ("annotations", "test_list", "fps", "videos", "mouth", "steps", "out")
    of_store = ("store", "keep", "split", "seconds", "hop_seconds")
    wanted, others = (of_store, tables) if given.store is not None else (tables, of_store)
    for name in others:
        if getattr(given, name) is not None:
            form = "--store" if wanted is of_store else "--annotations or --test-list"
            raise UserError(f"--{name.replace('_', '-')}: not together with {form}. See --help.")
    (_keep if wanted is of_store else _tables)(given, Report(sys.stdout))


def _keep(given: argparse.Namespace, report: Report) -> None:
    if given.keep is None:
        raise UserError("--keep is missing: the file to be written.")
    store = open_store(given.store)
    seconds, hop = (
        _seconds("seconds", given.seconds, 4),
        _seconds("hop-seconds", given.hop_seconds, 2),
    )
    if hop > seconds:
        raise UserError(f"--hop-seconds={float(hop):g} is longer than a row: frames get lost.")
    split = given.split or "train"
    rows = in_seconds(store, seconds, hop).of_tracks(store.split(split))
    found = speaking(store, rows, rule=given.rule)
    report.say(f"{split}: {int(found.sum()):,} of {len(rows):,} rows hold speech")
    if not found.any():
        raise UserError(f"{store.path}: no row of {split} holds speech; nothing to keep.")
    write_kept(user_path(given.keep), store, rows, found)
    report.say(
        f"{given.keep} is ready, for --config.data.keep with config.data.seconds = "
        f"{float(seconds):g} and config.data.hop_seconds = {float(hop):g}"
    )


def _seconds(flag: str, text: str | None, default: int) -> Fraction:
    if text is None:
        return Fraction(default)
    if (number := finite_number(text)) is None or number <= 0:
        raise UserError(f"--{flag}={text}: expected seconds above 0.")
    return Fraction(text.strip())


def _tables(given: argparse.Namespace, report: Report) -> None:
    if given.annotations is None and given.test_list is None:
        raise UserError("Give --annotations=FOLDER or --test-list=FILE, or --store=STORE.")
    if given.out is None:
        raise UserError("--out is missing: the folder to be written.")
    if given.fps is None and given.videos is None:
        raise UserError(f"Give --fps={NAME} or --videos=FOLDER: the frames a second are not known.")
    out = user_path(given.out)
    for folder in (given.annotations, given.videos, given.mouth):
        if folder is not None:
            folders.note_gone(user_path(folder), report)
    splits = _splits(given, report)
    rates, counts, where = _rates(given, out, report)
    mouths = {} if given.mouth is None else _mouths(user_path(given.mouth))
    differ: list[str] = []
    found = {}
    for split, tracks in splits.items():
        found[split] = []
        for track, text in report.progress(list(tracks.items()), split):
            shown_by, fps = rate_of_track(track, rates, where)
            frames = int(text.frames[-1])
            if counts.get(shown_by, frames) != frames:
                differ.append(f"{track} ({counts[shown_by]} and {frames})")
            mouth = _mouth(track, mouths, given.mouth, report) if given.mouth is not None else None
            length = counts.get(shown_by, frames)
            clip = Clip(track, shown_by, fps, length, *_labels(split, text), mouth)
            steps = given.steps or STEPS
            found[split] += segments(clip, rule=given.rule, steps=steps)
    if differ:
        report.note("frames of videos and rows of their annotations differ", differ)
    out.mkdir(parents=True, exist_ok=True)
    for split, rows in found.items():
        _write(out, split, rows, report)


def _write(out: pathlib.Path, split: str, rows: Sequence[Segment], report: Report) -> None:
    path = out / f"{SHORT[split]}_segment.csv"
    plain = [dataclasses.replace(one, speech=None) for one in rows]
    write_segments(path, plain, marked=split != "test")
    report.say(f"{path}: {len(rows):,} windows of {len({one.track for one in rows}):,} tracks")
    if rows[0].speech is not None:
        path = out / f"{SHORT[split]}_audio_segment.csv"
        write_segments(path, rows, marked=split != "test")
        use = sum(one.speech.use for one in rows)
        report.say(f"{path}: {use:,} of {len(rows):,} windows hold speech")


def _splits(given: argparse.Namespace, report: Report) -> dict[str, dict[str, TrackLabels]]:
    """{split: {track: its labels, of test only its images}}, tracks as they are written."""
    splits: dict[str, dict[str, TrackLabels]] = {}
    if given.annotations is not None:
        folder = user_path(given.annotations)
        if not folder.is_dir():
            raise UserError(f"--annotations={given.annotations}: no such folder.")
        places = split_folders(folder)
        if not places:
            raise UserError(f"{folders.nothing(folder, 'folder Train_Set or Validation_Set')}.")
        read = functools.partial(readers.read_text, kind="va", warn=report.note)
        for split in (split for split in SHORT if split in places):
            texts = text_files(places[split], report)
            splits[split] = {track: read(file) for track, file in texts.items()}
    if given.test_list is not None:
        path = user_path(given.test_list)
        if "test" in splits:
            raise UserError(f"--test-list={path}: {given.annotations} holds a test split already.")
        tracks = read_test_tracks(path, warn=report.note)
        if bare := [track for track, images in tracks.items() if images is None]:
            raise UserError(
                f"{path}: names no images of {listed(bare, 3)}, so that their length is not known. "
                "Take the organisers' sample submission."
            )
        splits["test"] = tracks
    return splits


def _labels(split: str, text: TrackLabels) -> tuple[np.ndarray, np.ndarray]:
    """(values, mask) [T, 2], by image number; of the test split none."""
    values, mask = np.zeros((2, int(text.frames[-1]), len(VA_COLUMNS)))
    if split != "test":
        for column, name in enumerate(VA_COLUMNS):
            pair = text.labels[name]
            for array, own in zip((values, mask), pair, strict=True):
                array[text.frames - 1, column] = own[:, 0]
    return values, mask > 0


def _rates(
    given: argparse.Namespace, out: pathlib.Path, report: Report
) -> tuple[Mapping[str, Fraction | None], Mapping[str, int], object]:
    """({video: frames a second}, {video: frames}, where they are from)."""
    if given.videos is None:
        path = user_path(given.fps)
        return read_rates(path, warn=report.note), {}, path
    probed = video.probe_folder(user_path(given.videos), report)
    rates = {name: one.fps for name, one in probed.items()}
    path = out / NAME if given.fps is None else user_path(given.fps)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rates(path, rates)
    report.say(f"{path}: frames a second of {len(rates):,} videos")
    return rates, {name: one.frames for name, one in probed.items() if one.frames}, path


def _mouths(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. The tables of mouths belong there.")
    found = folders.by_name(
        path for each in folders.folders(folder) for path in folders.files(each, ".csv")
    )
    if not found:
        raise UserError(f"{folders.nothing(folder, '<track>.csv')}.")
    return found


def _mouth(
    track: str, mouths: Mapping[str, pathlib.Path], folder: str, report: Report
) -> tuple[np.ndarray, np.ndarray]:
    if track not in mouths:
        raise UserError(f"{folder}: no {track}.csv. {nearest(track, mouths)}")
    return read_mouth(mouths[track], warn=report.note)


if __name__ == "__main__":
    sys.exit(main())
