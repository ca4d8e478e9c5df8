"""Folders of the organisers: which files are read, as what, and which are left alone."""

import pytest

from data_pipelines import labels
from data_pipelines.errors import UserError
from data_pipelines.labels.lists import MTL_HEADER
from data_pipelines.report import Report
from tests.label_files import AU_HEADER, AUS, EXPR_HEADER, row, write

pytestmark = pytest.mark.filterwarnings("error")  # a warning that no test expects


def official(root, kind="VA_Estimation_Challenge", edition="4th ABAW Annotations/"):
    """Function that writes a text of one track of one split."""
    header = {"VA": "valence,arousal", "EX": EXPR_HEADER, "AU": AU_HEADER}[kind[:2].upper()]
    return lambda split, track, *rows: write(
        root / f"{edition}{kind}" / split / f"{track}.txt", header, *rows
    )


@pytest.mark.parametrize("edition", ["", "4th ABAW Annotations/", "here/and/there/"])
@pytest.mark.parametrize(
    ("va", "expr", "au"),
    [
        ("VA_Estimation_Challenge", "EXPR_Recognition_Challenge", "AU_Detection_Challenge"),
        ("VA_Estimation_Challenge", "EXPR_Classification_Challenge", "AU_Detection_Challenge"),
        ("VA_Set", "Expression_Set", "AU_Set"),
    ],
)
def test_texts_of_every_edition_are_found_and_merged_by_track(tmp_path, edition, va, expr, au):
    official(tmp_path, va, edition)("Train_Set", "a", "0.1,0.2", "0.3,0.4")
    official(tmp_path, expr, edition)("Train_Set", "a", "5", "-1")
    official(tmp_path, au, edition)("Train_Set", "b", AUS)
    official(tmp_path, va, edition)("Validation_Set", "c", "0.1,0.2")
    splits, test = labels.read_folder(tmp_path)
    assert {split: list(tracks) for split, tracks in splits.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
    }
    assert set(splits["train"]["a"].labels) == {"valence", "arousal", "expression"}
    assert set(splits["train"]["b"].labels) == {"au"}
    assert splits["train"]["a"].labels["expression"][0].tolist() == [5, 0]
    assert test == {}


def test_a_kind_with_fewer_rows_is_missing_at_the_end_and_named(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2", "0.3,0.4", "0.5,0.6")
    official(tmp_path, "EXPR_Set")("Train_Set", "a", "5")
    report = Report()
    splits, _ = labels.read_folder(tmp_path, report=report)
    track = splits["train"]["a"]
    assert track.frames.tolist() == [1, 2, 3]
    assert track.labels["expression"][1].tolist() == [True, False, False]
    assert report.notes == ["kinds of labels differ in rows, the longest counts: a (va 3, expr 1)"]


def test_the_multi_task_lists_are_found_in_any_sub_folder(tmp_path):
    for name, track in (("training", "a"), ("validation", "b")):
        file = tmp_path / "MTL challenge" / f"{name}_set_annotations.txt"
        write(file, MTL_HEADER, row(f"{track}/00003.jpg"))
    write(tmp_path / "MTL_Challenge_test_set_release.txt", "image", "c/00001.jpg,", "c/00005.jpg,")
    splits, test = labels.read_folder(tmp_path)
    assert {split: list(tracks) for split, tracks in splits.items()} == {
        "train": ["a"],
        "validation": ["b"],
    }
    assert test["c"].frames.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("folder", "names"),
    [("MTL_Challenge", "{}_set.txt"), ("Multi-Task Learning Challenge", "{}_Set.TXT")],
)
def test_the_multi_task_lists_of_the_third_edition_are_found(tmp_path, folder, names):
    folder = tmp_path / "3rd ABAW Annotations" / folder
    for split in ("train", "validation"):
        write(folder / names.format(split), MTL_HEADER, row(f"{split}/00003.jpg"))
    write(folder / names.format("test"), "image", "c/00001.jpg,", "c/00005.jpg,")
    report = Report()
    splits, test = labels.read_folder(tmp_path, edition=3, report=report)
    assert {split: list(tracks) for split, tracks in splits.items()} == {
        "train": ["train"],
        "validation": ["validation"],
    }
    assert test["c"].frames.tolist() == [1, 5] and report.notes == []


def test_a_train_set_elsewhere_is_no_multi_task_list(tmp_path):
    write(tmp_path / "train_set.txt", MTL_HEADER, row("a/00003.jpg"))
    with pytest.raises(UserError, match=r"no training_set_annotations\.txt or VA_"):
        labels.read_folder(tmp_path)


def test_test_lists_of_other_challenges_are_left_alone(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    folder = tmp_path / "names_of_videos_in_each_test_set"
    write(folder / "Valence_Arousal_Estimation_Challenge_test_set_release.txt", "b", "c")
    write(folder / "Expression_Recognition_Challenge_test_set_release.txt", "d")
    write(folder / "Compound_Expression_Challenge_test_set_release.txt", "e")
    write(folder / "CVPR_6th_ABAW_VA_test_set_example.txt", "image_location,valence,arousal",
          "b/00001.jpg,0,0", "b/00002.jpg,0,0")  # fmt: skip
    test = labels.read_folder(tmp_path)[1]
    assert list(test) == ["b", "c"] and test["b"].frames.tolist() == [1, 2] and test["c"] is None
    official(tmp_path, "EXPR_Recognition_Challenge")("Train_Set", "a", "1")
    assert set(labels.read_folder(tmp_path)[1]) == {"b", "c", "d"}


def test_suffixes_and_names_of_lists_are_taken_in_any_case(tmp_path):
    path = official(tmp_path)("Train_Set", "a", "0.1,0.2")
    path.rename(path.with_suffix(".TXT"))
    official(tmp_path)("Train_Set", "b", "0.1,0.2")
    assert list(labels.read_folder(tmp_path)[0]["train"]) == ["a", "b"]
    write(tmp_path / "mtl" / "Training_Set_Annotations.TXT", MTL_HEADER, row("c/00003.jpg"))
    assert list(labels.read_folder(tmp_path, kinds=["mtl"])[0]["train"]) == ["c"]
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    with pytest.raises(UserError, match=r"a\.txt: beside it .*a\.TXT\. Leave one"):
        labels.read_folder(tmp_path, kinds=["va"])


def test_files_of_the_system_are_not_annotations(tmp_path):
    path = official(tmp_path)("Train_Set", "a", "0.1,0.2")
    write(tmp_path / "__MACOSX" / "VA_Set" / "Train_Set" / "._a.txt", "x")
    (path.parent / "._a.txt").write_bytes(b"\x00\x05")
    (path.parent / ".DS_Store").write_bytes(b"\x00")
    assert list(labels.read_folder(tmp_path)[0]["train"]) == ["a"]


def test_texts_that_may_be_cut_off_are_one_note(tmp_path):
    for track in "abc":
        path = official(tmp_path)("Train_Set", track, "0.1,0.2")
        path.write_bytes(path.read_bytes().rstrip())
    report = Report()
    labels.read_folder(tmp_path, report=report)
    assert len(report.notes) == 1 and report.notes[0].startswith("3 of 3 texts: ")
    assert report.notes[0].count("the file may be cut off") == 3


def test_folders_of_unknown_splits_are_named(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    official(tmp_path)("Test_Set", "b", "0.5,-0.5")
    report = Report()
    assert list(labels.read_folder(tmp_path, report=report)[0]) == ["train"]
    assert len(report.notes) == 1 and "Test_Set: not read" in report.notes[0]


def test_kinds_can_be_chosen(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    official(tmp_path, "AU_Set")("Validation_Set", "a", AUS)
    splits, _ = labels.read_folder(tmp_path, kinds=["au"])
    assert list(splits) == ["validation"] and set(splits["validation"]["a"].labels) == {"au"}
    with pytest.raises(UserError, match=r"no annotations of kind 'expr'. Known: va, au"):
        labels.read_folder(tmp_path, kinds=["expr"])
    with pytest.raises(UserError, match=r"'aus'. Did you mean 'au'"):
        labels.read_folder(tmp_path, kinds=["aus"])


def test_a_track_in_two_splits_is_refused(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    official(tmp_path, "AU_Set")("Validation_Set", "a", AUS)
    with pytest.raises(UserError, match=r"'a' is in train of va, validation of au.*--labels=va"):
        labels.read_folder(tmp_path)
    write(tmp_path / "Valence_Arousal_Estimation_Challenge_test_set_release.txt", "a")
    with pytest.raises(UserError, match="'a' is in train and in test"):
        labels.read_folder(tmp_path, kinds=["va"])


def test_two_places_for_one_thing_are_refused(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    official(tmp_path, "VA_Set")("Train_Set", "a", "0.1,0.2")
    with pytest.raises(UserError, match=r"two sources of va labels for train.*Leave one"):
        labels.read_folder(tmp_path)


def test_lists_and_texts_together_need_a_choice(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    write(tmp_path / "training_set_annotations.txt", MTL_HEADER, row("a/00003.jpg"))
    with pytest.raises(UserError, match="Give --labels=mtl or --labels=va"):
        labels.read_folder(tmp_path)
    assert labels.read_folder(tmp_path, kinds=["mtl"])[0]["train"]["a"].frames.tolist() == [3]


def test_an_empty_folder_says_what_was_expected(tmp_path):
    with pytest.raises(UserError, match=r"no training_set_annotations\.txt or VA_"):
        labels.read_folder(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        labels.read_folder(tmp_path / "annotations")


def test_an_edition_in_a_folder_name_must_be_confirmed(tmp_path):
    official(tmp_path, edition="10th ABAW Annotations/")("Train_Set", "a", "0.1,0.2")
    with pytest.raises(UserError, match=r"edition 10 by its name.*Give --edition=10"):
        labels.edition_of(tmp_path, None)
    assert labels.edition_of(tmp_path, 10) == 10
    assert labels.edition_of(tmp_path / "10th ABAW Annotations", 3) == 3


def test_the_edition_is_the_default_where_nothing_says_another(tmp_path):
    official(tmp_path)("Train_Set", "a", "0.1,0.2")
    assert labels.edition_of(tmp_path, None) == labels.DEFAULT_EDITION == 4
