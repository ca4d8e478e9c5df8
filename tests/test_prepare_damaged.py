"""Damaged files of every kind, through the fill of every source: read, or refused in one line."""

import json

import h5py
import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.sources import affwild2, affwild2_mouth, avec2019, mosi
from tests.inputs import MTL, VA, features, save, utterances, write
from tests.test_avec2019 import recording

TEXT = "annotations/VA_Set/Train_Set/a.txt"


def _affwild2(root):
    write(root / TEXT, VA, "0.1,0.2", "0.3,0.4")
    save(root / "features" / "face" / "a.npy", features(2))
    (root / "features" / "voice").mkdir()
    np.savez_compressed(root / "features" / "voice" / "a.npz", feature=features(2), pad=np.ones(2))
    write(root / "features" / "face.json", '{"extractor": "net", "trained_on": ["train"]}')
    with h5py.File(root / "features" / "text.h5", "w") as file:
        file.create_dataset("a/fts", data=features(2), compression="gzip")
        file["b"] = h5py.SoftLink("/a")


def _lists(root):
    row = ",0.1,0.2,3," + ",".join("01" * 6)
    lines = [f"a/{k:05}.jpg{row}" for k in (1, 2)]
    write(root / "annotations" / "training_set_annotations.txt", MTL, *lines)
    write(root / "annotations" / "MTL_Challenge_test_set_release.txt", "image", "b/1.jpg")
    for track, rows in (("a", 2), ("b", 1)):
        save(root / "features" / "face" / f"{track}.npy", features(rows))


def _mouth(root):
    write(root / "annotations" / "train" / "a.txt", VA, "0.1,0.2", "0.3,0.4")
    (root / "mouth").mkdir()
    arrays = {"a/state": np.array([1, 2], np.uint8), "a/area_e6": np.array([9, 900], np.uint16)}
    np.savez_compressed(root / "mouth" / "train.npz", **arrays)
    entry = {"track": "a", "video_group": "a", "fps": 25.0}
    write(root / "manifest.json", json.dumps({"tracks": {"train": [entry]}}))


KINDS = {
    "text": (affwild2, _affwild2, TEXT),
    "npy": (affwild2, _affwild2, "features/face/a.npy"),
    "npz": (affwild2, _affwild2, "features/voice/a.npz"),
    "json": (affwild2, _affwild2, "features/face.json"),
    "hdf5": (affwild2, _affwild2, "features/text.h5"),
    "list": (affwild2, _lists, "annotations/training_set_annotations.txt"),
    "test list": (affwild2, _lists, "annotations/MTL_Challenge_test_set_release.txt"),
    "mouth": (affwild2_mouth, _mouth, "mouth/train.npz"),
    "manifest": (affwild2_mouth, _mouth, "manifest.json"),
    "mosi": (mosi, lambda root: utterances(root / "train.npz"), "train.npz"),
    "avec": (avec2019, lambda root: recording(root / "DE_01.npz", frames=2), "DE_01.npz"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """{kind: (source, its folder, the file to damage, that file's bytes)}."""
    made = {}
    for kind, (source, make, name) in KINDS.items():
        root = tmp_path_factory.mktemp("whole") / "in"
        root.mkdir()
        make(root)
        source.fill(root, root.parent / "store")
        made[kind] = source, root, root / name, (root / name).read_bytes()
    return made


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=25, deadline=None, derandomize=True)
def test_a_damaged_file_is_read_or_refused_in_one_line(whole, kind, data):
    source, root, path, content = whole[kind]
    damaged = bytearray(content)
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.none() | st.integers(0, len(content)))
    # Another file each time: HDF5 remembers those that are open.
    path.unlink()
    path.write_bytes(damaged[:cut])
    try:
        source.fill(root, root.parent / "store")
    except UserError as error:
        assert str(root) in str(error) and "\n" not in str(error)
