"""HUME-VB vocal bursts (A-VB 2022): the organisers' or prepared tables beside the clips.

    FOLDER/labels/data_info.csv, type_info.csv, ...   or FOLDER/train.csv, val.csv, test.csv: see
                                                      data_pipelines/labels/bursts.py
    FOLDER/wav/<File_ID>.wav                          anywhere below the folder, of any format that
                                                      data_pipelines/audio.py reads

A track is a clip, of one labelled frame; labels are type, two, high, culture (all forty columns of
every clip) and country (data_pipelines/bursts.py). There is no column of speakers: each clip is a
group by itself. Names of clips are compared as texts, brackets aside. A clip without a file is left
out and named.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from data_pipelines import audio
from data_pipelines import folder as folders
from data_pipelines.bursts import DEFINITIONS, file_id
from data_pipelines.errors import UserError, listed
from data_pipelines.labels.bursts import SPLITS, Clips, read_folder
from data_pipelines.report import Report
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("HUME-VB",)
FLAGS = audio.FLAGS


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    skip_bad: bool = False,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    clips, files = read(folder, report)
    with StoreWriter(
        store,
        name=folder.resolve().name,
        features=audio.FEATURES,
        labels=DEFINITIONS,
        source="humevb",
        notes=report.notes,
    ) as writer:
        for split in SPLITS.values():
            for i, samples in sounds(clips, files, split, report, skip_bad=skip_bad):
                writer.add(
                    track=clips.ids[i],
                    split=split,
                    features={"audio": samples},
                    labels=clips.labels(i),
                )


def read(folder: pathlib.Path, report: Report) -> tuple[Clips, dict[str, pathlib.Path]]:
    """The clips of the tables, and {clip: its file} of those that have one.

    `report` gets what is missing: splits, files, tables, columns.

    Raises:
        UserError: no table, or none of its clips has a file.
    """
    clips = read_folder(folder, report)
    files = _files(folder, report)
    folders.note_rest(folder, report)
    known = set(clips.ids)
    without = [clip for clip in clips.ids if clip not in files]
    spare = [name for name in files if name not in known]
    if len(without) == len(clips.ids):
        raise UserError(
            f"{folder}: none of the {len(without):,} clips of the tables ({listed(without, 3)}) "
            f"has a file. Files of sound that are there: {listed(files, 3) or 'none'}."
        )
    absent = [split for split in SPLITS.values() if split not in clips.splits]
    if absent:
        report.note("splits that are not there", absent)
    if without:
        report.note("clips without a file, left out", without)
    if spare:
        report.note("files of sound that no table has, left out", spare)
    return clips, {clip: files[clip] for clip in clips.ids if clip in files}


def sounds(
    clips: Clips,
    files: dict[str, pathlib.Path],
    split: str,
    report: Report,
    *,
    skip_bad: bool = False,
) -> Iterator[tuple[int, np.ndarray]]:
    """(number in `clips`, int16 [S]) of the clips of a split that have a file."""
    number = {clip: i for i, clip in enumerate(clips.ids) if clips.splits[i] == split}
    chosen = {clip: path for clip, path in files.items() if clip in number}
    if chosen:
        for clip, samples in audio.clips(chosen, report, split, skip_bad=skip_bad):
            yield number[clip], samples


def _files(folder: pathlib.Path, report: Report) -> dict[str, pathlib.Path]:
    """{clip: file} of everything that is called as files of sound are."""
    found: dict[str, pathlib.Path] = {}
    for place in folders.folders(folder):
        for path in folders.files(place, *audio.SUFFIXES):
            report.use(path)
            clip = file_id(folders.plain_name(path.stem, f"{place}: file"))
            if clip in found:
                raise UserError(f"{path}: {found[clip]} is called alike. Leave one.")
            found[clip] = path
    return found
