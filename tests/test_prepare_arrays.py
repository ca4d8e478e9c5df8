"""Arrays and JSON as users have them: odd kinds, shapes and sizes are refused in one line."""

import json
import zipfile

import h5py
import numpy as np
import pytest

from data_pipelines import files
from data_pipelines.errors import UserError
from data_pipelines.feature_files import find_features
from data_pipelines.report import Report
from data_pipelines.sources import affwild2_mouth, avec2019, mosi
from tests.inputs import (
    APART,
    COMPOSED,
    VA,
    features,
    fill,
    refused,
    save,
    small_folder,
    utterances,
    write,
)
from tests.test_avec2019 import recording


@pytest.fixture
def root(tmp_path):
    return small_folder(tmp_path / "in")


# Arrays ------------------------------------------------------------------------------------------


def npz(path, rows):
    """A deflated npz of an array of `rows` rows of three zeros."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as file,
    ):
        np.lib.format.write_array(file, np.zeros((rows, 3), np.float32))


def test_a_deflated_array_of_another_length_is_refused_without_unpacking_it(root, monkeypatch):
    (root / "features" / "face" / "a.npy").unlink()
    npz(root / "features" / "face" / "a.npz", 100_000)
    monkeypatch.setattr(files.Npz, "__getitem__", lambda *_: pytest.fail("unpacked"))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_: pytest.fail("unpacked"))
    assert "a.npz: 100000 rows, but" in refused(root)


def test_an_array_that_needs_more_memory_than_there_is_is_refused(root):
    write(root / "annotations" / "VA_Challenge_test_set_release.txt", "c")
    with h5py.File(root / "features" / "voice.h5", "w") as file:
        file["a/fts"] = features(2)
        file.create_dataset("c/fts", (2**40, 4), "f4", chunks=(2**10, 4))
    assert "voice.h5:c: not an array that fits (it needs 16,384.0 GiB" in refused(root)


def test_numbers_too_large_for_float32_are_named_as_not_finite(root):
    save(root / "features" / "face" / "a.npy", np.full((2, 3), 1e300))
    assert "feature 'face': tracks with NaN or infinity: a" in fill(root)[1]


@pytest.mark.parametrize(
    "array", [np.float32(1), np.array("x"), np.ones((2, 3), complex), np.ones((2, 3), bool),
              np.array([[b"x"] * 3] * 2), np.zeros((2, 0))]
)  # fmt: skip
@pytest.mark.parametrize("form", ["npy", "npz", "h5"])
def test_arrays_of_other_kinds_are_refused(root, array, form):
    (root / "features" / "face" / "a.npy").unlink()
    if form == "h5":
        (root / "features" / "face" / "b.npy").unlink()
        with h5py.File(root / "features" / "face.h5", "w") as file:
            file["a/fts"] = array.astype("S") if array.dtype.kind == "U" else array
    elif form == "npy":
        np.save(root / "features" / "face" / "a.npy", array)
    else:
        np.savez(root / "features" / "face" / "a.npz", array)
    assert ": shape " in (said := refused(root)) or "expected numbers" in said


def test_an_empty_hdf5_data_set_and_many_names_are_short_lines(root):
    with h5py.File(root / "features" / "voice.h5", "w") as file:
        file["a/fts"] = h5py.Empty("f4")
        for k in range(300):
            file[f"b/{k:03}"] = 0
    assert "voice.h5:a/fts: an empty data set" in refused(root)
    (feature,) = (f for f in find_features(root / "features", Report()) if f.name == "voice")
    with pytest.raises(UserError, match=r"holds 000, 001, .* \(300 in all\); expected") as error:
        feature.shape("b")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("text", ["[" * 200_000, "[]", '{"trained_on": 1}', "\udcff", "3"])
def test_odd_json_beside_a_feature_is_one_line(root, text):
    (root / "features" / "face.json").write_text(text, errors="surrogateescape")
    assert "face.json: " in refused(root)


# CMU-MOSI, AVEC 2019 and the mouth slice ---------------------------------------------------------


def test_names_of_bytes_are_decoded(tmp_path):
    utterances(tmp_path / "in" / "train.npz", videos=np.array(["x\xfc".encode(), b"y"]))
    assert [t.name for t in fill(tmp_path / "in", mosi)[0].tracks] == ["x\xfc", "y"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(video_index=np.int32(0)), r"video_index has shape \(\), expected \[rows\]"),
        (dict(label=np.float32(0)), r"label has shape \(\), expected \[5\]"),
        (dict(videos=np.array("x")), r"videos has shape \(\), expected \[videos\]"),
        (dict(videos=np.array([1, 2])), "videos is of type int64, expected names"),
        (dict(videos=np.array([b"\xff", b"y"])), r"video b'.xff': the name is not UTF-8"),
        (dict(text=np.array([["x"]] * 5)), "text is of type <U1, expected numbers"),
        (dict(text=np.ones((5, 2), complex)), "text is of type complex128, expected numbers"),
        (dict(text=np.ones((5, 0))), r"text has shape \(5, 0\), expected \[5, width\]"),
        (dict(video_index=np.zeros(5)), "video_index is of type float64, expected integers"),
        (dict(utterance=np.array(list("abcde"))), "utterance is of type <U1, expected integers"),
        (dict(utterance=np.array([2, 1, 3, 1, 2], np.uint8)), "rows must be sorted"),
        (dict(label=np.array(list("01010"))), "label is of type <U1, expected 0 or 1"),
    ],
)
def test_odd_arrays_of_utterances_are_refused(tmp_path, changes, message):
    utterances(tmp_path / "in" / "train.npz", **changes)
    with pytest.raises(UserError, match=message):
        mosi.fill(tmp_path / "in", tmp_path / "store")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.float32(0)}, r"labels has shape \(\), expected \[rows, 3\]"),
        ({"labels": np.array([["x"] * 3] * 6)}, "labels is of type <U1, expected numbers"),
        ({"predictions": np.full((6, 9, 3), "x")}, "predictions is of type <U1, expected numbers"),
        ({"predictions": np.full((6, 9, 3), 1e300)}, "predictions of row 0 are not finite"),
        ({"labels": np.full((6, 3), 1e300)}, "inf, expected a finite number"),
    ],
)
def test_odd_arrays_of_a_recording_are_refused(tmp_path, changes, message):
    recording(tmp_path / "DE_01.npz", **changes)
    with pytest.raises(UserError, match=message):
        avec2019.fill(tmp_path, tmp_path / "store")


def slice_with(tmp_path, manifest):
    root = tmp_path / "in"
    write(root / "annotations" / "train" / "a.txt", VA, "0.1,0.2")
    (root / "mouth").mkdir()
    np.savez(root / "mouth" / "train.npz", **{"a/state": [1], "a/area_e6": [9]})
    (root / "Manifest.JSON").write_text(manifest)
    return root


def test_names_of_mouth_tables_are_composed(tmp_path):
    root = slice_with(tmp_path, '{"tracks": {}}')
    (root / "annotations" / "train" / "a.txt").rename(
        root / "annotations" / "train" / f"{COMPOSED}.txt"
    )
    arrays = {f"{APART}/state": [1], f"{APART}/area_e6": [9]}
    np.savez(root / "mouth" / "train.npz", **arrays)
    store, _ = fill(root, affwild2_mouth)
    assert [t.name for t in store.tracks] == [COMPOSED] and store.feature("mouth")[0, 0] == 1
    np.savez(root / "mouth" / "train.npz", **arrays, **{f"{COMPOSED}/state": [1]})
    with pytest.raises(UserError, match=r"are one name\. Leave one"):
        affwild2_mouth.fill(root, tmp_path / "other")


def test_a_mouth_table_of_another_length_is_refused_without_unpacking_it(tmp_path, monkeypatch):
    root = slice_with(tmp_path, '{"tracks": {}}')
    arrays = dict.fromkeys(("a/state", "a/area_e6"), np.zeros(10_000, np.uint8))
    np.savez_compressed(root / "mouth" / "train.npz", **arrays)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_: pytest.fail("unpacked"))
    said = refused(root, affwild2_mouth)
    assert "a/area_e6 has 10,000 values, the annotation 1 rows" in said


@pytest.mark.parametrize(
    "entry",
    [{"fps": "x"}, {"fps": 0}, {"fps": -1}, {"fps": 1e12}, {"fps": 10**400}, {"fps": [25]},
     {"fps": True}, {"fps": float("nan")}, {"fps": float("inf")}, {"video_group": "../x"},
     {"video_group": 7}, {"video_group": ""}, {"track": 7}, {"track": "../a"}, {"track": None}],
)  # fmt: skip
def test_odd_entries_of_a_manifest_are_refused(tmp_path, entry):
    text = json.dumps({"tracks": {"train": [{"track": "a"} | entry]}})
    said = refused(slice_with(tmp_path, text), affwild2_mouth)
    assert "Manifest.JSON: " in said and len(said) < 300


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, "{}", "3", '{"tracks": [1]}', '{"tracks": {"a": 1}}',
     '{"tracks": {"a": [{}]}}', '{"tracks": {"a": ["x"]}}'],
)  # fmt: skip
def test_a_manifest_of_another_form_is_refused(tmp_path, text):
    said = refused(slice_with(tmp_path, text), affwild2_mouth)
    assert "Manifest.JSON: not a" in said
