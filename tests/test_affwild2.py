"""Aff-Wild2 with features of any form is a store, or one line that names the file."""

import h5py
import numpy as np
import pytest

from data_pipelines import labels, prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.feature_files import find_features
from data_pipelines.report import Report
from data_pipelines.sources import affwild2
from data_pipelines.store import Store
from tests.inputs import MTL, features, save, write


def test_rows_of_features_and_labels_stay_together(affwild2_folder, store):
    affwild2.fill(affwild2_folder, store)
    made = Store(store)
    tracks = {track.name: track for track in made.tracks}
    right = tracks["10-60-1280x720_right"]
    span = slice(right.offset, right.offset + right.frames)
    assert made.label("valence")[1][span, 0].tolist() == [True, False, True, True]
    np.testing.assert_allclose(made.label("arousal")[0][span, 0], [0.2, 0, 0.4, 0.6])
    np.testing.assert_array_equal(made.feature("face")[span], features(4, 3, 1))
    np.testing.assert_array_equal(made.feature("voice")[span], features(4, 2, 1))
    assert made.frames[span].tolist() == [1, 2, 3, 4]


def test_tracks_splits_groups_and_labels_are_those_of_the_folder(affwild2_folder, store):
    affwild2.fill(affwild2_folder, store)
    made = Store(store)
    assert [(t.name, t.split, t.group, t.frames) for t in made.tracks] == [
        ("10-60-1280x720", "train", "10-60-1280x720", 4),
        ("10-60-1280x720_right", "train", "10-60-1280x720", 4),
        ("314", "train", "314", 2),
        ("video10_1_left", "train", "video10", 1),
        ("video55_left", "validation", "video55", 3),
        ("video55_right", "validation", "video55", 3),
        ("video2_left", "test", "video2", 6),
    ]
    assert list(made.labels) == ["valence", "arousal", "au"]
    assert made.labels["au"].names == labels.ACTION_UNITS
    assert not made.label("valence")[1][8:10].any() and made.label("au")[1].sum() == 24
    assert made.features["face"].extractor == "net"
    assert made.features["face"].trained_on == ("train",)
    assert made.manifest["edition"] == 4 and made.manifest["source"] == "affwild2"


def test_tracks_whose_features_are_not_finite_are_named(affwild2_folder, store, capsys):
    for track, rows in (("314", 2), ("video10_1_left", 1)):
        x = features(rows, 2)
        x[-1, 1] = np.nan
        save(affwild2_folder / "features" / "voice" / f"{track}.npy", x)
    assert (
        prepare.main(["--source=affwild2", f"--input={affwild2_folder}", f"--store={store}"]) == 0
    )
    note = "feature 'voice': tracks with NaN or infinity: 314, video10_1_left"
    assert f"note: {note}\n" in capsys.readouterr().out
    assert note in Store(store).manifest["notes"]


def test_what_is_missing_is_named_by_prepare_and_again_by_verify(affwild2_folder, store, capsys):
    assert (
        prepare.main(["--source=affwild2", f"--input={affwild2_folder}", f"--store={store}"]) == 0
    )
    said = capsys.readouterr().out
    assert "test tracks without any feature, left out: 88" in said
    assert "voice: tracks it does not have, gaps in the store: video55_right" in said
    found = verify.check(Store(store))
    assert not found.problems
    assert "feature 'voice' is missing in video55_right" in found.notes
    assert any("left out: 88" in note for note in found.notes)
    assert "split 'test' has no labels" in found.notes


def test_labels_of_one_kind_can_be_taken_alone(affwild2_folder, store):
    affwild2.fill(affwild2_folder, store, labels="au")
    made = Store(store)
    assert [t.name for t in made.tracks] == ["314"] and list(made.labels) == ["au"]
    assert any("left out: 10-60-1280x720, " in note for note in made.manifest["notes"])
    assert "splits that are not there: validation, test" in made.manifest["notes"]


def test_the_edition_given_is_recorded(affwild2_folder, store):
    affwild2.fill(affwild2_folder, store, edition=10)
    assert Store(store).manifest["edition"] == 10


def test_a_feature_of_another_length_is_refused_with_both_files_and_lengths(affwild2_folder, store):
    save(affwild2_folder / "features" / "voice" / "video55_left.npy", features(4, 2))
    with pytest.raises(UserError) as caught:
        affwild2.fill(affwild2_folder, store)
    message = str(caught.value)
    assert "voice/video55_left.npy: 4 rows, but" in message
    assert "Validation_Set/video55_left.txt has 3" in message and "\n" not in message
    assert not store.exists()


def test_test_tracks_of_unknown_length_must_agree_between_features(affwild2_folder, store):
    save(affwild2_folder / "features" / "voice" / "video2_left.npy", features(5, 2))
    with pytest.raises(
        UserError, match=r"video2_left\.npy: 5 rows, but .*face\.h5:video2_left has 6"
    ):
        affwild2.fill(affwild2_folder, store)


def test_the_multi_task_lists_make_a_store_of_sampled_frames(tmp_path, store):
    root = tmp_path / "s-affwild2"
    units, none = ",".join("10" * 6), ",".join(["-1"] * 12)
    write(root / "annotations" / "training_set_annotations.txt", MTL,
          f"b/00003.jpg,0.1,0.2,7,{units}", f"b/00009.jpg,-5,-5,-1,{none}",
          f"a/00001.jpg,-5,-5,2,{none}")  # fmt: skip
    write(root / "annotations" / "validation_set_annotations.txt", MTL,
          f"c/00002.jpg,0.5,0.5,0,{units}")  # fmt: skip
    write(root / "annotations" / "MTL_Challenge_test_set_release.txt", "image", "d/00007.jpg,")
    for track, frames in dict(a=1, b=2, c=1, d=1).items():
        save(root / "features" / "face" / f"{track}.npy", features(frames))
    affwild2.fill(root, store)
    made = Store(store)
    assert [(t.name, t.split) for t in made.tracks] == [
        ("b", "train"), ("a", "train"), ("c", "validation"), ("d", "test")]  # fmt: skip
    assert made.frames.tolist() == [3, 9, 1, 2, 7]
    assert list(made.labels) == ["valence", "arousal", "expression", "au"]
    assert made.label("expression")[1].tolist() == [True, False, True, True, False]
    assert made.label("au")[1].all(axis=1).tolist() == [True, False, False, True, False]
    assert verify.check(made).problems == []


@pytest.mark.parametrize("form", ["h5 feature", "h5 fts", "npy", "npz", "npz of several"])
def test_features_of_every_form_read_alike(tmp_path, form):
    array = features(5).astype(np.float64)
    if form.startswith("h5"):
        with h5py.File(tmp_path / "face.h5", "w") as file:
            file[f"a/{form[3:]}"], file["a/pad"] = array, np.zeros(5)
    else:
        (tmp_path / "face").mkdir()
        target = tmp_path / "face" / f"a.{form[:3]}"
        more = {"pad": np.zeros(5)} if "several" in form else {}
        np.save(target, array) if form == "npy" else np.savez(target, fts=array, **more)
    (feature,) = find_features(tmp_path, Report())
    assert (feature.name, list(feature.tracks), feature.shape("a")) == ("face", ["a"], (5, 3))
    assert feature.read("a").dtype == np.float32
    np.testing.assert_array_equal(feature.read("a"), features(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: save(p / "f/a.npy", np.zeros(3)), r"a\.npy: shape \(3,\), expected \[rows, w"),
        (lambda p: save(p / "f/a.npy", np.array([["x"]])), "values of type <U1, expected numbers"),
        (lambda p: write(p / "f/a.npy", "x"), r"a\.npy: not a readable array file"),
        (lambda p: write(p / "f/a.npz", "x"), r"a\.npz: not a readable array file"),
        (lambda p: write(p / "f.h5", "x"), r"f\.h5: not a readable HDF5 file"),
        (lambda p: write(p / "readme.txt", "x"), "no feature in it"),
        (
            lambda p: [save(p / "f/a.npy", features(1)), write(p / "g.json", "{}")],
            r"g\.json: describes no feature\. Known: f",
        ),
        (
            lambda p: [save(p / "f/a.npy", features(1)), write(p / "f.json", '{"trained": []}')],
            r"f\.json: key 'trained'\. Did you mean 'trained_on'",
        ),
        (
            lambda p: [save(p / "f/a.npy", features(1)), write(p / "f.json", "[1")],
            r"f\.json: not a JSON object",
        ),
        (
            lambda p: [save(p / "f/a.npy", features(1)), write(p / "f.json", '{"extractor": 1}')],
            r"f\.json: expected a text as extractor and a list",
        ),
        (
            lambda p: [save(p / "f/a.npy", features(1)), np.savez(p / "f/a.npz", features(1))],
            r"a\.npz: beside it .*a\.npy\. Leave one",
        ),
    ],
)  # fmt: skip
def test_unreadable_features_are_refused_by_file(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(UserError, match=message):
        find_features(tmp_path, Report())[0].shape("a")


def test_an_hdf5_group_without_a_feature_says_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["a/data"], file["b"], file["c/feature/x"] = (features(2) for _ in "abc")
    (feature,) = find_features(tmp_path, Report())
    with pytest.raises(UserError, match=r"f\.h5:a: holds data; expected one array called feature"):
        feature.shape("a")
    with pytest.raises(UserError, match=r"f\.h5:b: an array, expected a group"):
        feature.shape("b")
    with pytest.raises(UserError, match=r"f\.h5:c/feature: a group, expected an array"):
        feature.shape("c")


def test_a_sub_folder_without_arrays_is_left_out_and_named(tmp_path):
    save(tmp_path / "face" / "a.npy", features(1))
    write(tmp_path / "mean_std_on_trn" / "face.txt", "x")
    report = Report()
    assert [feature.name for feature in find_features(tmp_path, report)] == ["face"]
    assert "mean_std_on_trn: no arrays" in report.notes[0]


def test_widths_must_agree_and_some_track_must_match(affwild2_folder, store):
    save(affwild2_folder / "features" / "voice" / "314.npy", features(2, 5))
    with pytest.raises(UserError, match=r"314\.npy: width 5, but .*720\.npy has 2"):
        affwild2.fill(affwild2_folder, store)
    save(affwild2_folder / "features" / "voice" / "314.npy", features(2, 2))
    save(affwild2_folder / "features" / "odd" / "somebody.npy", features(2, 5))
    with pytest.raises(UserError, match=r"none of the annotated tracks\. Its names: somebody; th"):
        affwild2.fill(affwild2_folder, store)
