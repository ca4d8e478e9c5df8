"""Folders as users have them: what lies in one is read, or named, or refused in one line."""

import json
import zipfile

import h5py
import numpy as np
import pytest

from data_pipelines import files, prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.feature_files import find_features
from data_pipelines.report import Report
from data_pipelines.sources import affwild2, affwild2_mouth, avec2019, mosi
from data_pipelines.store import Store
from tests.test_avec2019 import recording
from tests.test_prepare import MTL, VA, features, save, utterances, write

UNITS = ",".join("01" * 6)
TRAIN = "annotations/VA_Estimation_Challenge/Train_Set"


@pytest.fixture
def root(tmp_path):
    """Aff-Wild2 with two tracks of two frames, a and b, and one feature."""
    for track in "ab":
        write(tmp_path / "in" / TRAIN / f"{track}.txt", VA, "0.1,0.2", "0.3,0.4")
        save(tmp_path / "in" / "features" / "face" / f"{track}.npy", features(2))
    return tmp_path / "in"


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


# Suffixes, links, leftovers ----------------------------------------------------------------------


def test_suffixes_of_features_are_taken_in_any_case(root):
    folder = root / "features"
    for track, suffix in (("a", "NPY"), ("b", "Npz")):
        (folder / "face" / f"{track}.npy").unlink()
        with open(folder / "face" / f"{track}.{suffix}", "wb") as file:
            np.save(file, features(2)) if track == "a" else np.savez(file, features(2))
    with h5py.File(folder / "voice.HDF5", "w") as file:
        file["a/fts"], file["b/feature"] = features(2), features(2)
    write(folder / "voice.JSON", '{"extractor": "net"}')
    store, _ = fill(root)
    assert list(store.features) == ["face", "voice"]
    assert store.features["voice"].extractor == "net" and not store.features["face"].gaps


def test_links_that_point_nowhere_are_named_and_their_tracks_left_out(root):
    (root / TRAIN / "c.txt").symlink_to("../.git/annex/objects/c")
    (root / "features" / "face" / "b.npy").unlink()
    (root / "features" / "face" / "b.npy").symlink_to("/nowhere")
    (root / "features" / "voice.h5").symlink_to("/nowhere")
    write(root / "features" / "voice.json", "{}")
    store, notes = fill(root)
    assert [t.name for t in store.tracks] == ["a", "b"] and list(store.features) == ["face"]
    assert store.feature_mask("face").tolist() == [True, True, False, False]
    lost = f"{TRAIN}/c.txt, features/face/b.npy, features/voice.h5"
    assert f"links that point nowhere, without what they stand for: {lost}" in notes


def test_a_split_of_links_that_point_nowhere_is_left_out_and_one_must_remain(root):
    for track in "ab":
        (root / TRAIN / f"{track}.txt").unlink()
        (root / TRAIN / f"{track}.txt").symlink_to("/nowhere")
    folder = TRAIN.removeprefix("annotations/")
    assert f"links that point nowhere: {folder}/a.txt, {folder}/b.txt." in refused(root)
    validation = root / "annotations" / "VA_Estimation_Challenge" / "Validation_Set"
    write(validation / "c.txt", VA, "0.1,0.2")
    save(root / "features" / "face" / "c.npy", features(1))
    store, notes = fill(root)
    assert [t.name for t in store.tracks] == [
        "c"
    ] and "splits that are not there: train, test" in notes
    assert f"without what they stand for: {TRAIN}/a.txt, {TRAIN}/b.txt" in notes[0]


def test_lists_that_point_nowhere_are_named(root):
    (root / "annotations" / "VA_Estimation_Challenge").rename(root / "old")
    (root / "annotations" / "training_set_annotations.txt").symlink_to("/nowhere")
    assert "links that point nowhere: training_set_annotations.txt." in refused(root)


def test_pointers_of_git_lfs_are_named_as_such(root):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9"
    write(root / "features" / "face" / "b.npy", pointer)
    assert "b.npy: a pointer to a file that is not here" in refused(root)


def test_what_no_reader_knows_is_named_in_one_note(root):
    write(root / TRAIN / "c.csv", "x")
    write(root / "annotations" / "CE_Challenge_test_set_release.txt", "c")
    write(root / "features" / "face" / "a.pt", "x")
    write(root / "features" / "voice.zip", "x")
    write(root / "cropped_aligned" / "a" / "00001.jpg", "x")
    write(root / "README.md", "x")
    _, notes = fill(root)
    assert notes[0] == (
        "not read, of no known kind or place: annotations/CE_Challenge_test_set_release.txt, "
        f"{TRAIN}/c.csv, cropped_aligned/, features/face/a.pt, features/voice.zip"
    )


def test_kinds_that_nobody_asked_for_are_not_called_unknown(root):
    write(root / "annotations" / "AU_Set" / "Train_Set" / "a.txt", "x")
    _, notes = fill(root, labels="va")
    assert notes == ["splits that are not there: validation, test"]


@pytest.mark.parametrize("source", [mosi, avec2019, affwild2_mouth])
def test_every_source_names_what_it_does_not_know(tmp_path, source):
    root = tmp_path / "in"
    root.mkdir()
    if source is mosi:
        utterances(root / "train.NPZ")
    elif source is avec2019:
        recording(root / "DE_01.npz")
        (root / "DE_01.npz").rename(root / "DE_01.NPZ")
    else:
        write(root / "annotations" / "train" / "a.TXT", VA, "0.1,0.2")
        (root / "mouth").mkdir()
        np.savez(root / "mouth" / "train.npz", **{"a/state": [1], "a/area_e6": [9]})
        (root / "mouth" / "train.npz").rename(root / "mouth" / "train.NPZ")
        write(root / "segments" / "x.csv.gz", "x")
    write(root / "odd.csv", "x")
    write(root / "__MACOSX" / "._odd.csv", "x")
    (root / "gone.npz").symlink_to("/nowhere")
    store, notes = fill(root, source)
    assert len(store.tracks) > 0
    assert "links that point nowhere, without what they stand for: gone.npz" in notes
    assert "files of a system (__MACOSX, ._* and the like) skipped: 1" in notes
    assert "not read, of no known kind or place: odd.csv" in notes


# Names -------------------------------------------------------------------------------------------

APART, COMPOSED = "u\u0308ber", "\xfcber"  # one name on the screen


@pytest.mark.parametrize(("ours", "theirs"), [(APART, COMPOSED), (COMPOSED, APART), (APART, APART)])
@pytest.mark.parametrize("form", ["npy", "h5"])
def test_names_that_look_alike_are_matched_and_said(root, ours, theirs, form):
    write(root / TRAIN / f"{ours}.txt", VA, "0.1,0.2")
    if form == "npy":
        save(root / "features" / "face" / f"{theirs}.npy", features(1))
    else:
        with h5py.File(root / "features" / "voice.h5", "w") as file:
            file[f"{theirs}/fts"] = features(1)
    store, notes = fill(root)
    assert [t.name for t in store.tracks] == ["a", "b", COMPOSED]
    assert store.feature_mask("face" if form == "npy" else "voice") is None or form == "h5"
    said = [note for note in notes if "accents apart (NFD)" in note]
    assert len(said) == (ours == APART) + (theirs == APART)


def test_kinds_of_labels_and_test_lists_are_matched_by_composed_names(root):
    write(root / TRAIN / f"{APART}.txt", VA, "0.1,0.2")
    units = ",".join(["AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24"])
    path = root / "annotations" / "AU_Detection_Challenge" / "Train_Set" / f"{COMPOSED}.txt"
    write(path, f"{units},AU25,AU26", UNITS)
    save(root / "features" / "face" / f"{APART}.npy", features(1))
    store, _ = fill(root)
    assert [t.name for t in store.tracks] == ["a", "b", COMPOSED]
    write(root / "annotations" / "VA_Challenge_test_set_release.txt", APART)
    with pytest.raises(UserError, match="is in train and in test"):
        affwild2.fill(root, root.parent / "other")


def test_two_names_of_an_hdf5_file_that_look_alike_are_refused(root):
    with h5py.File(root / "features" / "voice.h5", "w") as file:
        file[f"{APART}/fts"], file[f"{COMPOSED}/fts"] = features(1), features(1)
    assert r"'u\u0308ber' and '\xfcber' are one name" in refused(root)


@pytest.mark.parametrize("name", ["a\\b", "a\x1b[31m", "a" * 245, "a\nb"])
def test_files_whose_names_are_no_names_are_refused(root, name):
    write(root / TRAIN / f"{name}.txt", VA, "0.1,0.2")
    assert ": the name has" in (said := refused(root)) or ": the name holds" in said


@pytest.mark.parametrize("name", ["..", "../x", "", "a/b", "a\0b", "x" * 300])
def test_names_in_data_files_that_are_paths_are_refused(tmp_path, name):
    utterances(tmp_path / "in" / "train.npz", videos=np.array([name, "y"], dtype="<U300"))
    assert (
        refused(tmp_path / "in", mosi).startswith(f"{tmp_path}/in/train.npz: video ")
        or "\0" in name
    )


# Lists -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [3, 4])
def test_features_follow_a_list_that_repeats_a_row_by_image_or_by_row(tmp_path, rows):
    root, line = tmp_path / "in", "a/{:05d}.jpg,0.1,0.2,3," + UNITS
    lines = [line.format(k) for k in (1, 2, 2, 5)]
    write(root / "annotations" / "training_set_annotations.txt", MTL, *lines)
    write(root / "annotations" / "MTL_Challenge_test_set_release.txt", "b/1.jpg", "b/1.jpg,")
    x, test = features(4), features(2)
    save(root / "features" / "face" / "a.npy", x[:rows])
    save(root / "features" / "face" / "b.npy", test[: rows - 2])
    store, notes = fill(root)
    assert store.frames.tolist() == [1, 2, 5, 1]
    expected = [*x[[0, 1, 3] if rows == 4 else [0, 1, 2]], test[0]]
    np.testing.assert_array_equal(store.feature("face"), expected)
    assert "rows that come twice, taken once: line 4 is line 3" in notes[0]


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
    with pytest.raises(UserError, match="holds 000, 001, .* and 294 more; expected") as error:
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


# The cases of shared -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "flags", "code", "said"),
    [
        ("abaw3_mtl", ["--edition=3"], 0, "train: 1 tracks, 4 frames"),
        ("blank_space", [], 0, "train: 1 tracks, 6 frames"),
        ("h5_extlink", [], 2, "face.h5:314: a link to part_314.h5:/, which is gone"),
        ("h5_softlink", [], 2, "face.h5:314: a link to /nowhere, which is gone"),
        ("h5_vds_missing", [], 2, "its rows lie in gone.h5:314/feature, which is gone"),
        ("macosx", [], 0, "skipped: 2"),
        ("mosi_scalar", [], 2, "video_index has shape ()"),
        ("mtl_dup", [], 0, "taken once: line 4 is line 3"),
        ("nfd_names", [], 0, "train: 1 tracks, 6 frames"),
        ("upper_h5", [], 0, "face [4], mae [4]"),
        ("upper_txt", [], 0, "train: 2 tracks, 12 frames"),
        ("all_missing", [], 0, "validation: 1 tracks, 6 frames"),
    ],
)
def test_the_cases_found_by_trials_end_as_they_should(
    shared, tmp_path, capsys, case, flags, code, said
):
    (root,) = (path for path in (shared / "cases" / case).iterdir() if path.is_dir())
    source = "mosi" if case == "mosi_scalar" else "affwild2"
    arguments = [f"--source={source}", f"--input={root}", f"--store={tmp_path / 'store'}", *flags]
    assert prepare.main(arguments) == code
    out = capsys.readouterr()
    assert said in (out.err if code else out.out)
    assert (tmp_path / "store").exists() == (code == 0)
    if code == 0:
        assert verify.check(Store(tmp_path / "store")).problems == []
