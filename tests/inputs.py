"""Folders of Aff-Wild2 and MOSI, and what a source makes of one: a store and notes, or one line."""

import h5py
import numpy as np
import pytest

from data_pipelines import labels
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import affwild2
from data_pipelines.store import Store

VA, AU = "valence,arousal", ",".join(labels.ACTION_UNITS)
MTL = "image,valence,arousal,expression,aus"
UNITS = ",".join("01" * 6)
APART, COMPOSED = "u\u0308ber", "\xfcber"  # one name on the screen
TRAIN = "annotations/VA_Estimation_Challenge/Train_Set"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def features(frames, width=3, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def small_folder(root):
    """Writes Aff-Wild2 with two tracks of two frames, a and b, and one feature."""
    for track in "ab":
        write(root / TRAIN / f"{track}.txt", VA, "0.1,0.2", "0.3,0.4")
        save(root / "features" / "face" / f"{track}.npy", features(2))
    return root


def fill(root, source=affwild2, **flags):
    """(store, notes) of a source's fill."""
    report = Report()
    source.fill(root, root.parent / "store", report, **flags)
    store = Store(root.parent / "store")
    assert store.manifest["notes"] == report.notes
    return store, [note.replace(f"{root}: ", "") for note in report.notes]


def refused(root, source=affwild2, **flags):
    """The one line of a fill that is refused; no store is left."""
    with pytest.raises(UserError) as error:
        source.fill(root, root.parent / "store", **flags)
    assert not (root.parent / "store").exists() and "\n" not in str(error.value)
    return str(error.value)


def real_names(root):
    """Writes tracks with every trap of real names and labels; a feature in HDF5 and one in npy."""
    rows = {
        "10-60-1280x720": ["-5,-5", "-5,-5", "0.1,0.2", "0.3,0.4"],
        "10-60-1280x720_right": ["0.1,0.2", "-5,-5", "0.3,0.4", "0.5,0.6"],
        "video55_left": ["0.1,0.2", "0.3,0.4", "-5,-5"],
        "video55_right": ["0.1,0.2", "0.3,0.4", "0.5,0.6"],
        "video10_1_left": ["0.7,-0.7"],
    }
    splits = dict.fromkeys(rows, "Train_Set") | {"video55_left": "Validation_Set"}
    splits["video55_right"] = "Validation_Set"
    base = root / "annotations" / "4th ABAW Annotations"
    for track, lines in rows.items():
        write(base / "VA_Estimation_Challenge" / splits[track] / f"{track}.txt", VA, *lines)
    units = ",".join(["1", "0"] * 6)
    write(base / "AU_Detection_Challenge" / "Train_Set" / "314.txt", AU, units, units)
    write(base / "Valence_Arousal_Estimation_Challenge_test_set_release.txt", "video2_left", "88")
    lengths = {track: len(lines) for track, lines in rows.items()} | {"314": 2, "video2_left": 6}
    (root / "features").mkdir()
    with h5py.File(root / "features" / "face.h5", "w") as file:
        for seed, (track, frames) in enumerate(lengths.items()):
            file[f"{track}/{('feature', 'fts')[seed % 2]}"] = features(frames, 3, seed)
    for seed, (track, frames) in enumerate(lengths.items()):
        if track != "video55_right":
            save(root / "features" / "voice" / f"{track}.npy", features(frames, 2, seed))
    write(root / "features" / "face.json", '{"extractor": "net", "trained_on": ["train"]}')
    return root


def utterances(path, **changes):
    rng = np.random.default_rng(0)
    arrays = dict(
        videos=np.array(["x", "y"]),
        video_index=np.array([0, 0, 0, 1, 1], np.int32),
        utterance=np.array([1, 2, 5, 1, 2], np.int32),
        label=np.array([1, 0, 1, 1, 0], np.int8),
        **{name: rng.normal(size=(5, d)).astype(np.float32)
           for name, d in dict(text=4, audio=3, video=2).items()},
    )  # fmt: skip
    arrays.update(changes)
    path.parent.mkdir(exist_ok=True, parents=True)
    np.savez(path, **arrays)
    return arrays
