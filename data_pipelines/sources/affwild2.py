"""Aff-Wild2 or s-Aff-Wild2: the organisers' annotations beside features of your own.

    FOLDER/annotations/...                      as released: see data_pipelines/labels/folders.py
    FOLDER/features/<name>.h5                   <video>/feature or <video>/fts, or
    FOLDER/features/<name>/<track>.npy | .npz   see data_pipelines/feature_files.py

Row i of a feature belongs to label row i (in the multi-task lists a sample of the frames, in the
texts every frame); another number of rows is an error. A track that a feature does not have is a
gap in that feature. Test tracks are taken where a list names them and a feature has them. Names
are compared in Unicode's composed form (NFC), which the store has; what else lies in the folder is
named.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines import labels as readers
from data_pipelines.errors import UserError, listed
from data_pipelines.feature_files import FeatureFiles, find_features
from data_pipelines.folder import note_rest
from data_pipelines.labels.folders import KINDS, SPLITS
from data_pipelines.report import Report
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("Aff-Wild2", "s-Aff-Wild2")
FLAGS: dict[str, dict[str, Any]] = {
    "edition": dict(
        type=int,
        metavar="N",
        help="ABAW challenge the annotations come from, 1 to 11; it decides classes and action "
        f"units and is recorded (default: {readers.DEFAULT_EDITION})",
    ),
    "labels": dict(
        metavar="KINDS",
        help=f"kinds of annotations to take, of {','.join(KINDS)} (default: all that are there)",
    ),
}


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    edition: int | None = None,
    labels: str | None = None,
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    kinds = [kind.strip() for kind in labels.split(",")] if labels else []
    annotations = folder / "annotations"
    edition = readers.edition_of(annotations, edition)
    splits, test = readers.read_folder(annotations, kinds=kinds, edition=edition, report=report)
    features = find_features(folder / "features", report)
    note_rest(folder, report)
    splits["test"] = _test_tracks(test, features, report)
    tracks = {name: track for part in splits.values() for name, track in part.items()}
    sizes = {feature.name: _size(feature, tracks) for feature in features}
    _say_what_is_missing(splits, tracks, features, report)
    with StoreWriter(
        store,
        name=folder.resolve().name,
        features={
            f.name: dict(size=sizes[f.name], extractor=f.extractor, trained_on=f.trained_on)
            for f in features
        },
        labels=readers.label_definitions(splits, edition),
        source="affwild2",
        edition=edition,
        notes=report.notes,
    ) as writer:
        for split in (s for s in SPLITS if splits.get(s)):
            for name, track in report.progress(list(splits[split].items()), split):
                writer.add(
                    track=name,
                    split=split,
                    group=readers.group_of(name),
                    frames=track.frames,
                    labels=track.labels,
                    features={f.name: _read(f, name, track) for f in features if name in f.tracks},
                )
        report.note_not_finite(writer.not_finite)


def _test_tracks(
    listed: Mapping[str, readers.TrackLabels | None],
    features: Sequence[FeatureFiles],
    report: Report,
) -> dict[str, readers.TrackLabels]:
    """Tracks without labels; their length from the list or, where it has none, the features."""
    tracks, without = {}, []
    for name, track in listed.items():
        having = [f for f in features if name in f.tracks]
        if not having:
            without.append(name)
        elif track is None:
            frames = np.arange(1, having[0].shape(name)[0] + 1, dtype=np.int32)
            tracks[name] = readers.TrackLabels(frames, {}, having[0].where(name))
        else:
            tracks[name] = track
    if without:
        report.note("test tracks without any feature, left out", without)
    return tracks


def _read(feature: FeatureFiles, name: str, track: readers.TrackLabels) -> np.ndarray:
    """float32 [T, D]: a row a label row; rows of images that a list repeats are left out."""
    array = feature.read(name)
    return array if len(array) == len(track.frames) else np.delete(array, track.again, 0)


def _size(feature: FeatureFiles, tracks: Mapping[str, readers.TrackLabels]) -> int:
    """Width D, after a look at the shape of every track that is taken."""
    shapes = {name: feature.shape(name) for name in tracks if name in feature.tracks}
    if not shapes:
        raise UserError(
            f"{feature.path}: has none of the annotated tracks. Its names: "
            f"{listed(feature.tracks, 3)}; theirs: {listed(tracks, 3)}."
        )
    first = next(iter(shapes))
    for name, shape in shapes.items():
        if shape[1] != shapes[first][1]:
            raise UserError(
                f"{feature.where(name)}: width {shape[1]}, but {feature.where(first)} has "
                f"{shapes[first][1]}."
            )
    rows = {name: len(track.frames) for name, track in tracks.items()}
    uneven = [
        name
        for name, shape in shapes.items()
        if shape[0] not in (rows[name], rows[name] + len(tracks[name].again))
    ]
    if uneven:
        name = uneven[0]
        more = f"; also uneven: {listed(uneven[1:], 5)}" if uneven[1:] else ""
        raise UserError(
            f"{feature.where(name)}: {shapes[name][0]} rows, but {tracks[name].source} has "
            f"{rows[name]}. Row i of a feature belongs to label row i{more}."
        )
    return shapes[first][1]


def _say_what_is_missing(
    splits: Mapping[str, Mapping[str, Any]],
    tracks: Mapping[str, Any],
    features: Sequence[FeatureFiles],
    report: Report,
) -> None:
    absent = [split for split in SPLITS if not splits.get(split)]
    if absent:
        report.note("splits that are not there", absent)
    for feature in features:
        missing = [name for name in tracks if name not in feature.tracks]
        if missing:
            report.note(f"{feature.path}: tracks it does not have, gaps in the store", missing)
        spare = [name for name in feature.tracks if name not in tracks]
        if spare:
            report.note(f"{feature.path}: tracks without annotations, left out", spare)
