"""Twins of s-Aff-Wild2 (multi-task list) and Aff-Wild2 (valence-arousal texts), as folders.

    FOLDER/annotations/{training,validation}_set_annotations.txt                          "mtl"
    FOLDER/annotations/5th ABAW Annotations/VA_Estimation_Challenge/<split>/<track>.txt   "va"
    FOLDER/annotations/MTL_Challenge_test_set_release.txt                                 "mtl"
    FOLDER/annotations/CVPR_5th_ABAW_VA_test_set_example.txt                              "va"
    FOLDER/features/<name>.h5, <name>.json

The layout and syntax are the organisers', so `python -m data_pipelines.prepare --source=affwild2`
reads a twin as it reads the licensed data. Of the test split there is the list alone, as for those
who enter a challenge.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.store import Store
from data_pipelines.twins import features as streams
from data_pipelines.twins import tracks as of_splits
from data_pipelines.twins.annotators import Annotation, annotate
from data_pipelines.twins.latent import make_latents
from data_pipelines.twins.tracks import EVERY, LABELLED, Size, Track, make_tracks

SOURCE = "affwild2"
FLAGS = {"mtl": {"edition": 4}, "va": {"edition": 5}}
SIZES = of_splits.SIZES
MTL_FILES = {
    "train": "training_set_annotations.txt",
    "validation": "validation_set_annotations.txt",
}
VA_FOLDER = "5th ABAW Annotations/VA_Estimation_Challenge"
VA_SPLITS = {"train": "Train_Set", "validation": "Validation_Set"}
# A list of images, and a sample submission, which alone gives the images of the later editions.
TEST_LIST = {
    "mtl": "MTL_Challenge_test_set_release.txt",
    "va": "CVPR_5th_ABAW_VA_test_set_example.txt",
}
TEST_HEADER = {"mtl": "image", "va": "image_location,valence,arousal"}
TEST_FIELDS = {"mtl": "", "va": "0,0"}  # behind the image and a comma
# The organisers' headers. The multi-task one has five names for sixteen fields.
MTL_HEADER = "image,valence,arousal,expression,aus"
VA_HEADER = "valence,arousal"
NO_VALUE, NO_CLASS = -5, -1

Truth = dict[str, dict[str, np.ndarray]]  # {track: {label: noise-free values}}


def write(name: str, folder: pathlib.Path, size: Size, seed: int) -> Truth:
    """Writes a twin into an empty or new folder.

    Args:
        name: "mtl" or "va".

    Returns:
        What a perfect observer would have written. It is in no file.
    """
    sparse = name == "mtl"
    tracks = make_tracks(size, seed, sparse=sparse)
    latents = make_latents(tracks, EVERY if sparse else 1, seed)
    labelled = [latent for latent in latents if latent.track.split in LABELLED]
    annotations = annotate(labelled, seed, gaps="kinds" if sparse else "few")
    arrays = streams.extract(latents, seed)

    annotation_folder = folder / "annotations"
    annotation_folder.mkdir(parents=True)
    with_labels = [latent.track for latent in labelled]
    (_write_mtl if sparse else _write_va)(annotation_folder, with_labels, annotations)
    test = [track for track in tracks if track.split not in LABELLED]
    if test:
        _write_test_list(name, annotation_folder, test)
    _write_features(folder / "features", tracks, arrays)
    return {latent.track.name: latent.truth for latent in latents}


def references(store: Store, truth: Truth) -> dict:
    """See data_pipelines/twins/references.py."""
    from data_pipelines.twins import references as scores  # scikit-learn takes seconds

    return scores.references(store, truth)


def _write_mtl(
    folder: pathlib.Path, tracks: Sequence[Track], annotations: Sequence[Annotation]
) -> None:
    for split, file in MTL_FILES.items():
        lines = [MTL_HEADER]
        for track, annotation in zip(tracks, annotations):
            if track.split == split:
                columns = _text_columns(annotation)
                units = columns["au"]
                for i, image in enumerate(track.images):
                    fields = (columns["valence"][i], columns["arousal"][i])
                    fields += (columns["expression"][i], *units[i])
                    lines.append(f"{track.name}/{image:05d}.jpg,{','.join(fields)}")
        (folder / file).write_text("\n".join(lines) + "\n")


def _write_va(
    folder: pathlib.Path, tracks: Sequence[Track], annotations: Sequence[Annotation]
) -> None:
    for split in VA_SPLITS.values():
        (folder / VA_FOLDER / split).mkdir(parents=True)
    for track, annotation in zip(tracks, annotations):
        columns = _text_columns(annotation)
        rows = zip(columns["valence"], columns["arousal"])
        lines = [VA_HEADER, *(f"{v},{a}" for v, a in rows)]
        file = folder / VA_FOLDER / VA_SPLITS[track.split] / f"{track.name}.txt"
        file.write_text("\n".join(lines) + "\n")


def _write_test_list(name: str, folder: pathlib.Path, tracks: Sequence[Track]) -> None:
    fields = TEST_FIELDS[name]
    rows = (f"{track.name}/{image:05d}.jpg,{fields}" for track in tracks for image in track.images)
    (folder / TEST_LIST[name]).write_text("\n".join([TEST_HEADER[name], *rows]) + "\n")


def _text_columns(annotation: Annotation) -> dict[str, Sequence]:
    """Fields as they are written, the marks of missing labels included."""
    columns = {}
    for name, known in annotation.known.items():
        mark = NO_VALUE if name in ("valence", "arousal") else NO_CLASS
        # An object array keeps -5 an integer beside decimals.
        values = np.where(known, annotation.values[name].astype(object), mark)
        columns[name] = np.vectorize(str, otypes=[object])(values)
    return columns


def _write_features(
    folder: pathlib.Path, tracks: Sequence[Track], arrays: Sequence[Mapping[str, np.ndarray]]
) -> None:
    import h5py  # slow to import

    folder.mkdir()
    for name in streams.WIDTHS:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            for track, of_track in zip(tracks, arrays):
                file[f"{track.name}/feature"] = of_track[name]
        about = {"extractor": streams.ABOUT[name], "trained_on": []}
        (folder / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")
