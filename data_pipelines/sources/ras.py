"""Aff-Wild2 valence and arousal as team RAS prepares it: faces, sound, behaviour, open mouths.

    FOLDER/annotations/{Train_Set,Validation_Set,Test_Set}/<track>.txt, or as the organisers have it
                                     valence,arousal of every frame; the organisers' test list
    FOLDER/face/<split>/<track>.npz  frames [N], features [N, D] of the images that have a face
    FOLDER/face.json                 optional: {"extractor": "...", "trained_on": [...]}
    FOLDER/wav/<split>/<video>.wav   sound, or windows wav/<split>/<track>/<track>___<start>_<stop>_
                                     <index>.wav, which are put together
    FOLDER/behaviour/*.csv, *.pkl    segments (video_name, start_frame, end_frame), and embeddings
                                     {video_name: {"embeddings": {branch: {statistic: [D]}}}}
    FOLDER/behaviour.json            optional, as face.json
    FOLDER/openmouth/<track>.csv     frame, mouth_open, of the images that have a face
    FOLDER/videos_fps.csv            video_name, fps

Whichever of these folders are there become the streams face (a row a frame), sound (16 kHz),
behaviour (rows with spans) and mouth_open (1 open). Files may lie deeper, by their names alone they
are known. Two persons of a video, `_left` and `_right`, share its sound. What a track does not have
is a gap. A text of the split test that is the same in every row is a filler, no label. Pickles are
read as arrays, nothing in them is run.

Source: https://github.com/SMIL-SPCRAS/CVPRW-26, commit 8385d2a.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from data_pipelines import audio, ras_files
from data_pipelines import folder as folders
from data_pipelines import labels as readers
from data_pipelines.errors import UserError, listed
from data_pipelines.feature_files import about_file
from data_pipelines.labels.folders import SPLITS
from data_pipelines.labels.lines import finite_number
from data_pipelines.labels.mouths import read_mouth
from data_pipelines.labels.rates import NAME as RATES
from data_pipelines.labels.rates import read_rates, stems, video_of
from data_pipelines.labels.va_folders import read_splits
from data_pipelines.report import Report
from data_pipelines.side_by_side import side_by_side
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("Aff-Wild2",)
FLAGS: dict[str, dict[str, Any]] = {
    "gap": dict(
        default="0",
        metavar="SECONDS",
        help="frames without features of a face take the nearest that has some, up to so far away; "
        "inf is the original's way (default: 0, they are gaps)",
    ),
    "behaviour-branch": dict(
        metavar="NAME", help=f"embeddings that are taken (default: {ras_files.BRANCH}, or the only)"
    ),
    "behaviour-pool": dict(
        metavar="NAME", help=f"statistic of them (default: {ras_files.POOL}, or the only)"
    ),
    **audio.FLAGS,
}
PARTS = ("face", "wav", "behaviour", "openmouth")


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    gap: str = "0",
    behaviour_branch: str | None = None,
    behaviour_pool: str | None = None,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    reach = float("inf") if gap == "inf" else finite_number(gap)
    if reach is None or reach < 0:
        raise UserError(f"--gap={gap}: expected seconds from 0, or inf.")
    splits = read_splits(folder / "annotations", report)
    parts = _Parts(folder, report, reach, behaviour_branch, behaviour_pool)
    folders.note_rest(folder, report)
    _lengths(splits["test"], parts, report)
    tracks = [track for split in SPLITS for track in splits.get(split, {})]
    parts.note_missing(tracks, report)
    with StoreWriter(
        store,
        name=folder.resolve().name,
        features=parts.features(),
        labels={k: v for k, v in readers.definitions().items() if k in ("valence", "arousal")},
        source="ras",
        notes=report.notes,
    ) as writer:
        for split in (split for split in SPLITS if splits.get(split)):
            sounds = _Sounds(parts, splits[split], report, split, skip_bad)
            for name, track in report.progress(list(splits[split].items()), split):
                writer.add(
                    track=name,
                    split=split,
                    group=readers.group_of(name),
                    frames=track.frames,
                    fps=parts.rate(name),
                    labels=track.labels,
                    **parts.streams(name, track.frames, sounds(name)),
                )
    parts.note_odd(report)


def _lengths(test: dict[str, readers.TrackLabels | None], parts: _Parts, report: Report) -> None:
    """Gives test tracks that are only named the frames that are known; leaves out the others."""
    without = []
    for name in [name for name, track in test.items() if track is None]:
        last = parts.last_frame(name)
        if last:
            test[name] = readers.TrackLabels(np.arange(1, last + 1, dtype=np.int32), {}, name)
        else:
            del test[name]
            without.append(name)
    if without:
        report.note("test tracks of which no frame is known, left out", without)


class _Parts:
    """Streams that lie beside the annotations, by track."""

    def __init__(
        self,
        folder: pathlib.Path,
        report: Report,
        reach: float,
        branch: str | None,
        pool: str | None,
    ):
        self._reach = reach
        there = {name: p for name in PARTS if (p := folders.named(folder, name)).is_dir()}
        if not there:
            expected = ", ".join(f"{name}/" for name in PARTS)
            raise UserError(f"{folders.nothing(folder, f'folder of a stream ({expected})')}.")
        files = {
            name: ras_files.below(path, report, *suffixes)
            for name, suffixes in (
                ("face", (".npz",)),
                ("wav", audio.SUFFIXES),
                ("openmouth", (".csv",)),
            )
            if (path := there.get(name))
        }
        for name, found in files.items():
            if not found:
                raise UserError(f"{folders.nothing(there[name], 'files of tracks')}.")
        self._faces, self._mouths = files.get("face"), files.get("openmouth")
        self._sounds = files.get("wav")
        self._windows = ras_files.windows(self._sounds or {})
        self._described = None
        if "behaviour" in there:
            self._described = ras_files.Descriptions(there["behaviour"], report, branch, pool)
        about = {name: folders.named(folder, f"{name}.json") for name in ("face", "behaviour")}
        self._about = {
            name: about_file(file if file.is_file() else None) for name, file in about.items()
        }
        path = folders.named(folder, RATES)
        self._rates: dict[str, Fraction | None] = {}
        if path.is_file():
            rates = read_rates(path, warn=report.note)
            self._rates = {stem: rates[video] for stem, video in stems(rates, path).items()}
        report.use(*about.values(), path, folders.named(folder, "segments"))
        for table in folders.files(folder, ".csv"):
            if table.stem.lower().endswith("_segment"):
                report.use(table)  # of data_pipelines.segments
        self._size: int | None = None
        self._spare: list[str] = []
        self._late: list[str] = []

    def rate(self, track: str) -> Fraction | None:
        """Frames a second of a track; None where not known."""
        video = video_of(track, {stem: stem for stem in self._rates})
        return None if video is None else self._rates[video]

    def last_frame(self, track: str) -> int:
        """The last image that any stream of frames or rows knows of; 0 where none does."""
        last = [0]
        if self._faces and track in self._faces:
            last += ras_files.frames_of(self._faces[track])[0].tolist()
        if self._mouths and track in self._mouths:
            last.append(len(read_mouth(self._mouths[track], warn=lambda text: None)[0]))
        if self._described and track in self._described.tables:
            last.append(int(self._described.rows(track)[1].max()))
        return max(last)

    def features(self) -> dict[str, dict[str, Any]]:
        """Definitions of the streams that are there."""
        found: dict[str, dict[str, Any]] = {}
        if self._faces:
            first = next(iter(self._faces.values()))
            self._size = ras_files.frames_of(first)[1].shape[1]
            extractor, trained_on = self._about["face"]
            found["face"] = dict(size=self._size, extractor=extractor, trained_on=trained_on)
        if self._sounds:
            found["sound"] = audio.FEATURES["audio"]
        if self._described:
            extractor, trained_on = self._about["behaviour"]
            parts = (extractor, self._described.branch, self._described.pool)
            made = ", ".join(part for part in parts if part)
            found["behaviour"] = dict(
                size=self._described.size, axis="table", extractor=made, trained_on=trained_on
            )
        if self._mouths:
            found["mouth_open"] = dict(size=1, dtype="uint8", scale=1.0)
        return found

    def sound(self, track: str) -> ras_files.Sound | None:
        """The files of a track's sound."""
        if track in self._windows:
            return ras_files.joined(track, self._windows[track], self.rate(track))
        video = video_of(track, {name: name for name in self._sounds or ()})
        return None if video is None else ras_files.Sound((self._sounds[video],))

    def streams(
        self, track: str, frames: np.ndarray, sound: np.ndarray | None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Features, their masks and spans, as StoreWriter.add takes them."""
        features, masks, spans = {}, {}, {}
        if self._faces and track in self._faces:
            reach = self._reach and self._reach * float(self._known_rate(track))
            features["face"], masks["face"], spare = ras_files.face(
                self._faces[track], frames, self._size, reach
            )
            if spare:
                self._spare.append(f"{track} ({spare})")
        if sound is not None:
            features["sound"] = sound
        if self._described and track in self._described.tables:
            rows, own = self._described.rows(track)
            inside = own[:, 0] < frames[-1]
            if not inside.all():
                self._late.append(f"{track} ({int((~inside).sum())} of {len(own)})")
            features["behaviour"], spans["behaviour"] = rows[inside], own[inside]
        if self._mouths and track in self._mouths:
            shown, opened = read_mouth(self._mouths[track], warn=lambda text: None)
            grown = np.zeros((2, int(frames[-1])), bool)
            length = min(grown.shape[1], len(shown))
            grown[0, :length], grown[1, :length] = shown[:length], opened[:length]
            masks["mouth_open"] = grown[0, frames - 1]
            features["mouth_open"] = grown[1, frames - 1, None].astype(np.uint8)
        return dict(features=features, feature_masks=masks, spans=spans)

    def _known_rate(self, track: str) -> Fraction:
        if self._reach == float("inf"):
            return Fraction(1)
        fps = self.rate(track)
        if fps is None:
            raise UserError(
                f"--gap is in seconds, and the frames a second of {track!r} are not known. Write "
                f"them into {RATES}, or give --gap=0 or --gap=inf."
            )
        return fps

    def note_missing(self, tracks: list[str], report: Report) -> None:
        """Notes what tracks lack, and what belongs to none."""
        known = set(tracks)
        streams = {
            "face": self._faces,
            "openmouth": self._mouths,
            "behaviour": self._described and self._described.tables,
        }
        for part, there in streams.items():
            if there is None:
                continue
            if not known & set(there):
                raise UserError(
                    f"{part}/: has none of the annotated tracks. Its names: {listed(there, 3)}; "
                    f"theirs: {listed(tracks, 3)}."
                )
            if missing := [track for track in tracks if track not in there]:
                report.note(f"{part}/: tracks it does not have, gaps in the store", missing)
            if spare := [track for track in there if track not in known]:
                report.note(f"{part}/: tracks without annotations, left out", spare)
        if self._sounds:
            files = {name: sound.files for name in tracks if (sound := self.sound(name))}
            if missing := [track for track in tracks if track not in files]:
                report.note("wav/: tracks it does not have, no sound in the store", missing)
            used = {path for paths in files.values() for path in paths}
            if spare := [str(path) for path in self._sounds.values() if path not in used]:
                report.note("wav/: files of no annotated track, left out", spare)
        if unknown := [track for track in tracks if self.rate(track) is None]:
            report.note(f"tracks whose frames a second are in no {RATES}", unknown)

    def note_odd(self, report: Report) -> None:
        """Notes what was cut while the tracks were read."""
        if self._spare:
            report.note("face/: rows of images that have no annotation, left out", self._spare)
        if self._late:
            report.note("behaviour/: segments behind the last image, left out", self._late)


class _Sounds:
    """The sound of tracks, several decoded at once; asked for in the order of the split."""

    def __init__(
        self,
        parts: _Parts,
        tracks: Mapping[str, Any],
        report: Report,
        split: str,
        skip_bad: bool,
    ):
        files = {track: sound for track in tracks if (sound := parts.sound(track))}
        self._decoded: Iterator[tuple[str, np.ndarray]] = iter(())
        if files:
            audio.libraries()
            self._decoded = side_by_side(
                files, ras_files.Sound.read, report, f"sound of {split}", skip_bad=skip_bad
            )
        self._next = next(self._decoded, None)

    def __call__(self, track: str) -> np.ndarray | None:
        if self._next is None or self._next[0] != track:
            return None
        sound, self._next = self._next[1], next(self._decoded, None)
        return sound
