"""EmoGator vocal bursts: short exclamations of 30 emotions, a class a clip.

    FOLDER/.../SSSSSS-EE-I.opus  a clip by speaker, category 01 to 30 and instance, in any format of
                                 data_pipelines/audio.py; of one that is there twice, opus is read
    FOLDER/speakers.json         {split: [speakers]}; speakers that it does not name, or all where
                                 there is none, are the split test

A track is a clip, its group the speaker. The stream is "audio" (int16, 16 kHz), the label "emotion"
(classes, the 30 of EMOTIONS in the order of their numbers).

Source: Buhl, EmoGator, arXiv 2301.00508, 2023.
"""

from __future__ import annotations

import json
import pathlib
import re

from data_pipelines import audio
from data_pipelines import folder as folders
from data_pipelines.emotions import EMOTIONS
from data_pipelines.errors import UserError, shown
from data_pipelines.files import read_json
from data_pipelines.paths import user_path
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.store_specs import split_key
from data_pipelines.store_writer import StoreWriter

FLAGS = audio.FLAGS
DATA_SETS = ("EmoGator",)
_CLIP = re.compile(r"([0-9]{6})-([0-9]{2})-[0-9]+")
_SPEAKER = re.compile("[0-9]{6}")
# Published with these 18 speakers: baselines on statistics of a log-mel spectrogram.
_SLICE = {"validation": (18, 1620)}  # split: (speakers, clips)
_BASELINES = {
    "validation": {
        "logistic regression": {"emotion/accuracy": 0.168},
        "support vector machine": {"emotion/accuracy": 0.154},
    }
}


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    skip_bad: bool = False,
) -> None:
    """Writes the store of every split that is there; see the module's docstring."""
    folder, report = pathlib.Path(folder), report or Report()
    clips = _clips(folder, report)
    splits = _splits(folder, sorted({_speaker(name) for name in clips}), report)
    folders.note_rest(folder, report)
    with StoreWriter(
        store,
        name="emogator",
        features=audio.FEATURES,
        labels={"emotion": dict(kind="classes", size=len(EMOTIONS), names=EMOTIONS)},
        source="emogator",
        notes=report.notes,
    ) as writer:
        for split, speakers in splits.items():
            files = {name: path for name, path in clips.items() if _speaker(name) in speakers}
            for name, samples in audio.clips(files, report, split, skip_bad=skip_bad):
                writer.add(
                    track=name,
                    split=split,
                    group=_speaker(name),
                    features={"audio": samples},
                    labels={"emotion": [_category(name)]},
                )
    written = Store(store)
    references = {s: _BASELINES[s] for s, size in _SLICE.items() if _size_of(written, s) == size}
    if references:
        text = json.dumps(references, indent=1) + "\n"
        (user_path(store) / "references.json").write_text(text)


def _speaker(name: str) -> str:
    return name.partition("-")[0]


def _category(name: str) -> int:
    return int(name.split("-")[1]) - 1


def _clips(folder: pathlib.Path, report: Report) -> dict[str, pathlib.Path]:
    """{name: file} of every clip, by name."""
    formats = sorted(audio.SUFFIXES, key=lambda suffix: suffix != ".opus")
    found: dict[str, pathlib.Path] = {}
    again = []
    for suffix in formats:
        for inner in folders.folders(folder):
            for path in folders.files(inner, suffix):
                match = _CLIP.fullmatch(path.stem)
                if not match:
                    continue
                if not 1 <= int(match[2]) <= len(EMOTIONS):
                    raise UserError(f"{path}: category {match[2]}, expected 01 to {len(EMOTIONS)}.")
                report.use(path)
                if path.stem in found:
                    again.append(str(path.relative_to(folder)))
                found.setdefault(path.stem, path)
    if not found:
        raise UserError(f"{folders.nothing(folder, 'clip')}. Expected such as 000001-01-1.opus.")
    if again:
        report.note("clips that are there twice, not read again", again)
    return dict(sorted(found.items()))


def _splits(folder: pathlib.Path, there: list[str], report: Report) -> dict[str, list[str]]:
    """{split: its speakers}, of those that are there; the usual splits first."""
    path = folders.named(folder, "speakers.json")
    report.use(path, folders.named(folder, "manifest.json"))
    table = _table(path) if path.is_file() else {}
    split_of: dict[str, str] = {}
    for split, speakers in table.items():
        for speaker in speakers:
            if split_of.setdefault(speaker, split) != split:
                raise UserError(f"{path}: {speaker} is in {split_of[speaker]} and in {split}.")
    unknown = [speaker for speaker in there if speaker not in split_of]
    if unknown:
        report.note(f"speakers that no list of {path.name} names, taken as test", unknown)
    split_of |= dict.fromkeys(unknown, "test")
    splits: dict[str, list[str]] = {}
    for speaker in there:
        splits.setdefault(split_of[speaker], []).append(speaker)
    absent = sorted(speaker for speaker in split_of if speaker not in there)
    if absent:
        report.note(f"speakers of {path.name} without a clip", absent)
    return {split: splits[split] for split in sorted(splits, key=split_key)}


def _table(path: pathlib.Path) -> dict[str, list[str]]:
    """{split: speakers} of speakers.json, checked."""
    table = read_json(path, "a JSON object of splits and their speakers")
    if not isinstance(table, dict):
        raise UserError(f"{path}: {shown(table)}, expected {{split: [speakers]}}.")
    for split, speakers in table.items():
        folders.plain_name(split, f"{path}: split")
        listed = isinstance(speakers, list) and all(isinstance(s, str) for s in speakers)
        if not listed or not all(map(_SPEAKER.fullmatch, speakers)):
            expected = 'a list of speakers such as "000001"'
            raise UserError(f"{path}: {split}: {shown(speakers)}, expected {expected}.")
    return table


def _size_of(store: Store, split: str) -> tuple[int, int]:
    """(speakers, clips) of a split; none where it is not there."""
    tracks = [track for track in store.tracks if track.split == split]
    return len({track.group for track in tracks}), len(tracks)
