"""Valence-arousal texts in a folder a split, without the folder of their challenge above.

FOLDER/{Train_Set,Validation_Set,Test_Set}/<track>.txt    names in any case; also train,
                                                          validation or val, test
FOLDER/*_VA_test_set_example.txt                          the organisers' lists of test images
"""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines import folder as folders
from data_pipelines import labels as readers
from data_pipelines.errors import UserError
from data_pipelines.labels.folders import SPLITS, kind_of_test_list, text_files
from data_pipelines.labels.kept import Keep
from data_pipelines.labels.lists import read_test_tracks
from data_pipelines.labels.texts import TrackLabels
from data_pipelines.report import Report

# {folder, or file of a split, in lower case: split}
FOLDERS = {
    "train_set": "train",
    "train": "train",
    "validation_set": "validation",
    "validation": "validation",
    "val": "validation",
    "test_set": "test",
    "test": "test",
}
SHORT = {"train": "train", "validation": "val", "test": "test"}  # {split: as RAS calls it}


def read_splits(folder: pathlib.Path, report: Report) -> dict[str, dict[str, TrackLabels | None]]:
    """{split: {track: its labels}}; of test tracks that are only named None.

    A text of the split test with the same labels in every row is a filler, of which only the length
    is taken. A folder of another form is read as the organisers' (labels/folders.py).

    Raises:
        UserError: no texts, one that cannot be read, a track or a split in two places.
    """
    places = split_folders(folder)
    if not places:
        splits, test = readers.read_folder(folder, kinds=("va",), report=report)
        return {**splits, "test": test}
    splits, keep = {split: {} for split in SPLITS}, Keep()
    for split, path in places.items():
        warnings: list[str] = []
        for name, file in report.progress(list(text_files(path, report).items()), split):
            track = readers.read_text(file, "va", warn=warnings.append)
            if split == "test" and all(_is_filler(*pair) for pair in track.labels.values()):
                track = TrackLabels(track.frames, {}, track.source)
            splits[split][name] = keep(track)
        if warnings:
            report.note(f"{len(warnings)} texts of {split}", warnings)
    for file in folders.files(folder, ".txt"):
        if kind_of_test_list(file.name) == "va":
            report.use(file)
            splits["test"] = read_test_tracks(file, warn=report.note) | splits["test"]
    _one_split_each(splits)
    absent = [split for split in SPLITS if not splits[split]]
    if absent:
        report.note("splits that are not there", absent)
    return splits


def split_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """{split: its folder}; UserError where there are two of one split."""
    places: dict[str, pathlib.Path] = {}
    for path in (p for p in folders.entries(folder) if p.is_dir()):
        split = FOLDERS.get(path.name.lower())
        if split and places.setdefault(split, path) != path:
            raise UserError(f"{path}: beside it {places[split]}. Leave one.")
    return places


def _is_filler(values: np.ndarray, mask: np.ndarray) -> bool:
    return bool((values == values[0]).all() and mask.all())


def _one_split_each(splits: dict[str, dict[str, TrackLabels | None]]) -> None:
    seen: dict[str, str] = {}
    for split, tracks in splits.items():
        for track in tracks:
            if seen.setdefault(track, split) != split:
                raise UserError(f"track {track!r} is in {seen[track]} and in {split}. Leave one.")
