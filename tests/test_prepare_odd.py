"""Folders as users have them: what lies in one is read, or named, or refused in one line."""

import h5py
import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.sources import affwild2, affwild2_mouth, avec2019, mosi
from data_pipelines.store import Store
from tests.inputs import (
    APART,
    COMPOSED,
    MTL,
    TRAIN,
    UNITS,
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
