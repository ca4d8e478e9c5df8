import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from benchmarks import ridge_mouth
from data_pipelines import labels, prepare, sources, verify
from data_pipelines import mouth as mouth_numbers
from data_pipelines.errors import UserError, listed
from data_pipelines.feature_files import find_features
from data_pipelines.report import Report
from data_pipelines.sources import affwild2, affwild2_mouth, mosi
from data_pipelines.store import Store
from tests.conftest import ROOT

VA, AU = "valence,arousal", ",".join(labels.ACTION_UNITS)
MTL = "image,valence,arousal,expression,aus"


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def features(frames, width=3, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, width)).astype(np.float32)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


# Aff-Wild2 ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Tracks with every trap of the real names and labels; one feature in HDF5, one in npy."""
    root = tmp_path / "affwild2"
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


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


def test_rows_of_features_and_labels_stay_together(folder, store):
    affwild2.fill(folder, store)
    made = Store(store)
    tracks = {track.name: track for track in made.tracks}
    right = tracks["10-60-1280x720_right"]
    span = slice(right.offset, right.offset + right.frames)
    assert made.label("valence")[1][span, 0].tolist() == [True, False, True, True]
    np.testing.assert_allclose(made.label("arousal")[0][span, 0], [0.2, 0, 0.4, 0.6])
    np.testing.assert_array_equal(made.feature("face")[span], features(4, 3, 1))
    np.testing.assert_array_equal(made.feature("voice")[span], features(4, 2, 1))
    assert made.frames[span].tolist() == [1, 2, 3, 4]


def test_tracks_splits_groups_and_labels_are_those_of_the_folder(folder, store):
    affwild2.fill(folder, store)
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


def test_tracks_whose_features_are_not_finite_are_named(folder, store, capsys):
    for track, rows in (("314", 2), ("video10_1_left", 1)):
        x = features(rows, 2)
        x[-1, 1] = np.nan
        save(folder / "features" / "voice" / f"{track}.npy", x)
    assert prepare.main(["--source=affwild2", f"--input={folder}", f"--store={store}"]) == 0
    note = "feature 'voice': tracks with NaN or infinity: 314, video10_1_left"
    assert f"note: {note}\n" in capsys.readouterr().out
    assert note in Store(store).manifest["notes"]


def test_what_is_missing_is_named_by_prepare_and_again_by_verify(folder, store, capsys):
    assert prepare.main(["--source=affwild2", f"--input={folder}", f"--store={store}"]) == 0
    said = capsys.readouterr().out
    assert "test tracks without any feature, left out: 88" in said
    assert "voice: tracks it does not have, gaps in the store: video55_right" in said
    found = verify.check(Store(store))
    assert not found.problems
    assert "feature 'voice' is missing in video55_right" in found.notes
    assert any("left out: 88" in note for note in found.notes)
    assert "split 'test' has no labels" in found.notes


def test_labels_of_one_kind_can_be_taken_alone(folder, store):
    affwild2.fill(folder, store, labels="au")
    made = Store(store)
    assert [t.name for t in made.tracks] == ["314"] and list(made.labels) == ["au"]
    assert any("left out: 10-60-1280x720, " in note for note in made.manifest["notes"])
    assert "splits that are not there: validation, test" in made.manifest["notes"]


def test_the_edition_given_is_recorded(folder, store):
    affwild2.fill(folder, store, edition=10)
    assert Store(store).manifest["edition"] == 10


def test_a_feature_of_another_length_is_refused_with_both_files_and_lengths(folder, store):
    save(folder / "features" / "voice" / "video55_left.npy", features(4, 2))
    with pytest.raises(UserError) as caught:
        affwild2.fill(folder, store)
    message = str(caught.value)
    assert "voice/video55_left.npy: 4 rows, but" in message
    assert "Validation_Set/video55_left.txt has 3" in message and "\n" not in message
    assert not store.exists()


def test_test_tracks_of_unknown_length_must_agree_between_features(folder, store):
    save(folder / "features" / "voice" / "video2_left.npy", features(5, 2))
    with pytest.raises(
        UserError, match=r"video2_left\.npy: 5 rows, but .*face\.h5:video2_left has 6"
    ):
        affwild2.fill(folder, store)


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


def test_widths_must_agree_and_some_track_must_match(folder, store):
    save(folder / "features" / "voice" / "314.npy", features(2, 5))
    with pytest.raises(UserError, match=r"314\.npy: width 5, but .*720\.npy has 2"):
        affwild2.fill(folder, store)
    save(folder / "features" / "voice" / "314.npy", features(2, 2))
    save(folder / "features" / "odd" / "somebody.npy", features(2, 5))
    with pytest.raises(UserError, match=r"none of the annotated tracks\. Its names: somebody; th"):
        affwild2.fill(folder, store)


# Mouth slice -------------------------------------------------------------------------------------


@pytest.fixture
def mouth(tmp_path):
    """Three tracks in two splits; arrays longer, as long and shorter than the annotation."""
    root = tmp_path / "slice"
    rng = np.random.default_rng(0)
    for split, tracks in {
        "train": {"1": (5, 7)},
        "hidden": {"2": (4, 4), "3_left": (6, 3)},
    }.items():
        arrays = {}
        for track, (frames, mouths) in tracks.items():
            write(root / "annotations" / split / f"{track}.txt", VA, *["0.5,-0.5"] * frames)
            arrays[f"{track}/area_e6"] = rng.integers(100, 3000, mouths).astype(np.uint16)
            arrays[f"{track}/state"] = np.arange(mouths).astype(np.uint8) % 3
        (root / "mouth").mkdir(exist_ok=True)
        np.savez(root / "mouth" / f"{split}.npz", **arrays)
    entries = {"train": [{"track": "1", "video_group": "one", "fps": 25.0, "frames": 5}]}
    write(root / "manifest.json", json.dumps({"tracks": entries}))
    return root


def test_mouth_features_follow_their_definition():
    got = mouth_numbers.mouth_features(
        np.array([0, 2000, 9, 500], np.uint16), np.array([0, 2, 0, 1], np.uint8)
    )
    np.testing.assert_allclose(
        got,
        [
            [0, 0, 0, 0, 0],
            [1, 1, np.log(0.003), 0.2, 1],
            [0, 0, 0, 0, 1],
            [1, 0, np.log(0.0015), 0.05, 0],
        ],
        rtol=1e-6,
    )


def mouth_of_90_frames(seed):
    """Features of a face that is gone after 60 frames, and now and then before."""
    rng = np.random.default_rng(seed)
    state = rng.integers(0, 3, 90) * (np.arange(90) < 60)
    return mouth_numbers.mouth_features(rng.integers(50, 4000, 90), state)


@pytest.mark.parametrize("fps", [30.0, 2.0, 0.3])
def test_mouth_context_equals_the_windows_taken_one_by_one(fps):
    mouth = mouth_of_90_frames(seed=1)
    got = mouth_numbers.mouth_context(mouth, fps)
    padded = np.pad(mouth.astype(np.float64), ((3000, 3000), (0, 0)), mode="edge")
    for name, seconds in mouth_numbers.SCALES.items():
        for i in range(90):
            width = max(1, round((seconds or 0) * fps))
            start = 3000 + i - width // 2
            window = mouth if seconds is None else padded[start : start + width]
            window = window.astype(np.float64)
            seen = window[:, 0] > 0
            expected = np.zeros(6)
            if seen.mean() >= 1e-3:
                face = window[seen]
                expected[:4] = (
                    face[:, 2].mean(),
                    face[:, 2].std(),
                    face[:, 3].mean(),
                    face[:, 1].mean(),
                )
                expected[4] = window[:, 4].mean()
            expected[5] = seen.mean()
            np.testing.assert_allclose(got[name][i], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fps", [30.0, 7.0, 0.3])
def test_mouth_quantiles_are_those_of_the_windows_taken_one_by_one(fps):
    mouth = mouth_of_90_frames(seed=2)
    got = mouth_numbers.mouth_quantiles(mouth, fps)
    padded = np.pad(mouth[:, 3].astype(np.float64) / 100, 500, mode="edge")
    for name, seconds in mouth_numbers.QUANTILE_SCALES.items():
        width = max(1, round(seconds * fps))
        for i in range(90):
            window = np.sort(padded[500 + i - width // 2 :][:width])
            low, middle, high = got[name][i]
            # The value with a tenth, half and nine tenths of the window below it.
            for value, share in ((low, 0.1), (middle, 0.5), (high, 0.9)):
                assert value == np.float32(np.log(window[int(share * width)] + 0.01))


def test_splits_of_any_name_are_taken_and_the_missing_named(mouth, store):
    report = Report()
    affwild2_mouth.fill(mouth, store, report)
    made = Store(store)
    assert [(t.name, t.split, t.group, t.fps, t.frames) for t in made.tracks] == [
        ("1", "train", "one", 25.0, 5),
        ("2", "hidden", "2", 30.0, 4),
        ("3_left", "hidden", "3", 30.0, 6),
    ]
    assert made.feature("mouth").shape == (15, 5) and made.feature("mouth_4s").shape == (15, 6)
    assert report.notes == [
        "splits that are not there: validation",
        "tracks without a known rate, taken as 30 frames/s: 2, 3_left",
        f"{mouth}/mouth/hidden.npz: arrays shorter than the annotation, no face in the rest: "
        "3_left (3 of 6)",
    ]
    assert verify.check(made).problems == []


def test_arrays_are_cut_or_filled_up_to_the_annotation(mouth, store):
    affwild2_mouth.fill(mouth, store)
    face = Store(store).feature("mouth")[:, 0]
    assert face.tolist() == [0, 1, 1, 0, 1] + [0, 1, 1, 0] + [0, 1, 1, 0, 0, 0]


def test_a_slice_without_manifest_needs_none(mouth, store):
    (mouth / "manifest.json").unlink()
    affwild2_mouth.fill(mouth, store)
    assert [t.fps for t in Store(store).tracks] == [30.0] * 3


def test_references_belong_to_the_published_slice_alone(mouth, store):
    affwild2_mouth.fill(mouth, store)
    assert not (store / "references.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update({"2/state": np.zeros(3, np.uint8)}), "has 4 values, 2/state 3"),
        (lambda a: a.update({"2/state": np.full(4, 3, np.uint8)}), r"2/state\[0\] is 3, expected"),
        (lambda a: a.pop("2/state"), "2/state is missing"),
        (lambda a: a.update({"2/area_e6": np.zeros(4)}), "2/area_e6 is float64"),
    ],
)  # fmt: skip
def test_mouth_tables_that_contradict_themselves_are_refused(mouth, store, change, message):
    file = mouth / "mouth" / "hidden.npz"
    arrays = dict(np.load(file))
    change(arrays)
    np.savez(file, **arrays)
    with pytest.raises(UserError, match=message):
        affwild2_mouth.fill(mouth, store)


def test_a_track_without_a_table_has_no_face_and_is_named(mouth, store):
    file = mouth / "mouth" / "hidden.npz"
    arrays = {k: v for k, v in np.load(file).items() if not k.startswith("2/")}
    np.savez(file, **arrays, **{"9/area_e6": np.zeros(2, int), "9/state": np.zeros(2, int)})
    report = Report()
    affwild2_mouth.fill(mouth, store, report)
    assert not Store(store).feature("mouth")[5:9].any()
    assert f"{file}: tracks without arrays, no face in any frame: 2" in report.notes
    assert f"{file}: arrays without an annotation, left out: 9" in report.notes


def test_a_split_without_its_table_is_refused(mouth, store):
    (mouth / "mouth" / "hidden.npz").unlink()
    with pytest.raises(UserError, match=r"mouth: no hidden\.npz in it"):
        affwild2_mouth.fill(mouth, store)


def test_the_real_slice_has_the_sizes_of_its_description(shared, store):
    folder = shared / "data" / "affwild2_va"
    assert prepare.main(["--source=affwild2_mouth", f"--input={folder}", f"--store={store}"]) == 0
    made = Store(store)
    mask = made.label("valence")[1][:, 0]
    entries = json.loads((folder / "manifest.json").read_text())["tracks"]
    expected = {"train": (94, 94, 387_735, 387_735), "validation": (57, 53, 255_770, 254_240)}
    for split, sizes in expected.items():
        tracks = [made.tracks[i] for i in made.split(split)]
        rows = np.concatenate([np.arange(t.offset, t.offset + t.frames) for t in tracks])
        groups = len({t.group for t in tracks})
        assert (len(tracks), groups, len(rows), mask[rows].sum()) == sizes
        faces = sum(e["mouth_frames"] - e["mouth_rows_beyond_annotation"] for e in entries[split])
        assert made.feature("mouth")[rows, 0].sum() == faces
    assert made.references("validation")["ridge, matched"]["arousal/ccc"] == 0.425
    assert verify.check(made) == verify.Findings()


@pytest.mark.slow
def test_the_ridge_on_the_real_slice_scores_as_published(shared, store):
    affwild2_mouth.fill(shared / "data" / "affwild2_va", store)
    made = Store(store)
    scores = ridge_mouth.baseline(made)
    for form, published in made.references("validation").items():
        for score, value in published.items():
            assert abs(scores[form][score.removesuffix("/ccc")]["ccc"] - value) <= 0.0005


# CMU-MOSI ----------------------------------------------------------------------------------------


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


def test_a_video_is_a_track_and_its_utterances_are_the_frames(tmp_path, store):
    arrays = utterances(tmp_path / "in" / "test.npz")
    report = Report()
    mosi.fill(tmp_path / "in", store, report)
    made = Store(store)
    assert [(t.name, t.split, t.group, t.frames) for t in made.tracks] == [
        ("x", "test", "x", 3),
        ("y", "test", "y", 2),
    ]
    assert made.frames.tolist() == [1, 2, 3, 1, 2]
    assert made.label("sentiment")[0][:, 0].tolist() == [1, 0, 1, 1, 0]
    for name in ("text", "audio", "video"):
        np.testing.assert_array_equal(made.feature(name), arrays[name])
        assert made.features[name].trained_on == ("train",)
    assert report.notes == ["splits that are not there: train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(utterance=np.array([2, 1, 3, 1, 2])), "rows must be sorted by video_index, then utt"),
        (dict(video_index=np.array([0, 1, 0, 1, 1])), "rows must be sorted"),
        (dict(video_index=np.array([0, 0, 0, 1, 2])), "video_index leaves 0 to 1"),
        (dict(label=np.array([0, 1, 2, 0, 0])), r"label\[2\] is 2, expected 0 or 1"),
        (dict(text=np.zeros((4, 3))), r"text has shape \(4, 3\), expected \[5, width\]"),
        (dict(text=np.zeros(5)), r"text has shape \(5,\)"),
    ],
)
def test_malformed_utterance_files_are_refused(tmp_path, store, changes, message):
    utterances(tmp_path / "in" / "train.npz", **changes)
    with pytest.raises(UserError, match=message):
        mosi.fill(tmp_path / "in", store)


def test_an_utterance_file_that_lacks_an_array_names_it(tmp_path, store):
    np.savez(tmp_path / "train.npz", videos=np.array(["x"]))
    with pytest.raises(UserError, match="has no 'video_index', only videos"):
        mosi.fill(tmp_path, store)
    with pytest.raises(UserError, match=r"no <split>\.npz in it"):
        mosi.fill(store.parent / "elsewhere", store)


def test_the_real_utterances_have_the_sizes_of_their_description(shared, store):
    folder = shared / "data" / "mosi"
    assert prepare.main(["--source=mosi", f"--input={folder}", f"--store={store}"]) == 0
    made = Store(store)
    assert (len(made.tracks), made.frames_total) == (62, 1447)
    assert [f.size for f in made.features.values()] == [100, 73, 100]
    assert made.label("sentiment")[0].sum() == 709 and made.label("sentiment")[1].all()
    assert verify.check(made).problems == []


# The command -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sources.names())
def test_every_source_has_a_description_and_fills(name):
    module = sources.load(name)
    assert module.__doc__.splitlines()[0].endswith(".")
    assert callable(module.fill)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source=affwild", "--input=.", "--store=x"], "Did you mean 'affwild2'?"),
        (["--source=", "--input=.", "--store=x"], "no such source. Known: affwild2"),
        (["--source=mosi", "--input=.", "--store=x", "--edition=3"], "unknown argument '--edition"),
        (["--source=affwild2", "--imput=.", "--store=x"], "Did you mean --input?"),
        (["--source=affwild2", "--store=x"], "required: --input"),
        (["--source=mosi", "--input=.", "--store=x", "--stor=y"], "Did you mean --store?"),
        (["--source=mosi", "--input=nowhere", "--store=x"], "--input=nowhere: no such folder"),
        (["--input=.", "--store=x"], "required: --source"),
        (["--source=affwild2", "--input=.", "--store=x", "--edition=x"], "invalid int value: 'x'"),
        (["--source=affwild2", "--input=.", "--store=x", "--edition=12"], "edition 12: the ABAW"),
        (["--source=affwild2", "--input=.", "--store=x"], "annotations: no such folder"),
        (["--source=affwild2", "--input=.", "--store=/"], "/ exists and is no store"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert prepare.main(arguments) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.count("\n") == 1 and message in out.err
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_written_is_one_line_that_names_it(folder, tmp_path, capsys):
    blocker = write(tmp_path / "file", "x")
    code = prepare.main(["--source=affwild2", f"--input={folder}", f"--store={blocker}/store"])
    assert code == 2
    assert str(blocker) in capsys.readouterr().err.splitlines()[-1]


ENDED = """
import os, resource, signal, sys
from data_pipelines import prepare, store_writer
how, *arguments = sys.argv[1:]
add = store_writer.StoreWriter.add
def ending(self, **track):
    add(self, **track)
    if how == "disk":  # as a full one: no file may grow
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    elif len(self._tracks) == 2:
        os.kill(os.getpid(), getattr(signal, how))
if how != "nothing":
    store_writer.StoreWriter.add = ending
sys.exit(prepare.main(arguments))
"""


@pytest.mark.parametrize(
    ("how", "code", "last"),
    [
        ("SIGTERM", 143, "stopped"),
        ("SIGHUP", 129, "stopped"),
        ("SIGINT", 130, "stopped"),
        ("disk", 2, "error: "),
        ("SIGKILL", -9, ""),
    ],
)
def test_however_a_preparation_ends_the_old_store_stays_and_the_same_command_goes_on(
    folder, store, how, code, last
):
    command = ["--source=affwild2", f"--input={folder}", f"--store={store}"]
    assert prepare.main(command) == 0
    before = (store / "manifest.json").read_bytes()

    def run(how):
        return subprocess.run(
            [sys.executable, "-c", ENDED, how, *command], capture_output=True, text=True, cwd=ROOT
        )

    ended = run(how)
    assert ended.returncode == code
    lines = ended.stderr.splitlines()
    assert len(lines) == bool(last) and "".join(lines).startswith(last)
    assert (store / "manifest.json").read_bytes() == before
    beside = {path.name for path in store.parent.iterdir()} - {folder.name}
    assert (beside == {store.name}) == (how != "SIGKILL")
    assert run("nothing").returncode == 0
    assert {path.name for path in store.parent.iterdir()} - {folder.name} == {store.name}


@pytest.mark.parametrize("module", ["prepare", "verify"])
def test_help_ends_with_0_and_imports_nothing_slow(module):
    code = (
        f"import sys; from data_pipelines import {module}\n"
        f"try: {module}.main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "print('slow:', sorted({'scipy', 'h5py', 'jax', 'grain'} & set(sys.modules)), code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "--store" in result.stdout and not result.stderr
    assert result.stdout.splitlines()[-1] == "slow: [] 0"


def test_help_about_a_source_shows_its_flags(capsys):
    with pytest.raises(SystemExit) as caught:
        prepare.main(["--source=affwild2", "--help"])
    assert caught.value.code == 0 and "--edition" in capsys.readouterr().out


def test_notes_show_some_names_and_keep_all(capsys):
    report = Report(sys.stdout)
    report.note("gone", [str(i) for i in range(9)])
    assert report.notes == ["gone: 0, 1, 2, 3, 4, 5, 6, 7, 8"]
    assert capsys.readouterr().out == "note: gone: 0, 1, 2, 3, 4, 5, ... (9 in all)\n"
    assert listed("ab") == "a, b"
