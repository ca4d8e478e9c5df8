"""The FER2013 source: whichever form is there, and training pictures told apart in the others."""

import re
import zipfile

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.report import Report
from data_pipelines.sources import fer2013
from data_pipelines.store import Store
from tests import pictures

GREY = np.stack([pictures.pixels(i, grey=True) for i in range(8)])
ROWS = (  # emotion, picture, Usage
    (0, 0, "Training"),
    (3, 1, "Training"),
    (6, 2, "Training"),
    (4, 2, "Training"),
    (3, 1, "PublicTest"),
    (5, 3, "PublicTest"),
    (2, 0, "PrivateTest"),
    (1, 4, "PrivateTest"),
)


def text(number):
    return " ".join(map(str, GREY[number].flat))


def write_table(folder, name="fer2013.csv", rows=ROWS, header="emotion,pixels,Usage"):
    folder.mkdir(exist_ok=True)
    lines = [header, *(f"{emotion},{text(i)},{usage}" for emotion, i, usage in rows)]
    (folder / name).write_text("".join(f"{line}\n" for line in lines))
    return folder / name


def filled(folder, **flags):
    report = Report()
    fer2013.fill(folder, folder.parent / "store", report, **flags)
    return Store(folder.parent / "store"), report.notes


def contents(store):
    """[(split, class, number of the picture)] of every track."""
    numbers = {picture.tobytes(): i for i, picture in enumerate(GREY)}
    labels, mask = store.label("expression")
    return [
        (t.split, int(labels[i]) if mask[i] else None, numbers[store.feature("face")[i].tobytes()])
        for i, t in enumerate(store.tracks)
    ]


WANTED = [
    ("train", 0, 0),
    ("train", 3, 1),
    ("train", 6, 2),
    ("train", 4, 2),
    ("private_test", 1, 4),
    ("private_test_seen", 2, 0),
    ("public_test", 5, 3),
    ("public_test_seen", 3, 1),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "fer").mkdir()
    return tmp_path / "fer"


def test_a_row_is_a_track_and_pictures_that_training_has_are_splits_of_their_own(folder):
    write_table(folder)
    store, notes = filled(folder)
    assert contents(store) == WANTED
    names = [track.name for track in store.tracks]
    assert names[0] == "train_00000" and names[-1] == "public_test_00004"  # rows of the file
    groups = [track.group for track in store.tracks]
    assert groups[0] == groups[5] and groups[2] == groups[3] and len(set(groups)) == 5
    assert store.labels["expression"].names == EXPRESSIONS
    assert store.feature("face").shape == (8, 48, 48)
    assert notes[1:] == [
        "groups of identical pictures: 3, of 6 pictures; with different labels: 2 groups",
        "pictures of private_test that training has too, in the split private_test_seen: 1",
        "pictures of public_test that training has too, in the split public_test_seen: 1",
    ]
    found = verify.check(store)
    assert not found.problems
    assert any("groups in several splits: 2 (pictures that" in note for note in found.notes)


def test_columns_may_stand_in_any_order_with_spaces_and_quotes(folder):
    lines = ["emotion, Usage, pixels"]
    lines += [f'{emotion},{usage},"{text(i)}"' for emotion, i, usage in ROWS]
    (folder / "icml_face_data.csv").write_text("\r\n".join(lines) + "\r\n")
    assert contents(filled(folder)[0]) == WANTED


def test_the_contest_files_have_no_usage_and_those_of_test_no_label(folder):
    write_table(folder, "train.csv", [row[:2] + ("",) for row in ROWS[:4]])
    rows = (folder / "train.csv").read_text().replace(",Usage", "").replace(",\n", "\n")
    (folder / "train.csv").write_text(rows)
    (folder / "test.csv").write_text(f"pixels\n{text(1)}\n{text(5)}\n")
    store, notes = filled(folder)
    unlabelled = [note for note in notes if "no column emotion, so none of its" in note]
    assert [note.partition(":")[0] for note in unlabelled] == [str(folder / "test.csv")]
    assert contents(store)[4:] == [("test", None, 5), ("test_seen", None, 1)]
    assert contents(store)[:4] == WANTED[:4]


def write_arrays(folder, split, numbers, labels, ids, **more):
    arrays = dict(images=GREY[list(numbers)], labels=np.uint8(labels), ids=np.int32(ids), **more)
    path = folder / f"{split}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    return path


def test_npz_files_are_read_as_far_as_they_are_there_and_ids_may_come_twice(folder):
    write_arrays(folder, "public_test", (1, 3), (3, 5), (7, 8), flat=np.zeros(2, bool))
    store, notes = filled(folder)
    assert contents(store) == [("public_test", 3, 1), ("public_test", 5, 3)]
    assert any("no training pictures, so none of the others can be told" in n for n in notes)
    write_arrays(folder, "train", (0, 1, 2), (0, 3, 6), (10, 11, 10))
    store, notes = filled(folder)
    assert [t.name for t in store.tracks] == [
        *("train_00010", "train_00011", "train_00010_2", "public_test_00008", "public_test_00007")
    ]
    assert store.tracks[-1].split == "public_test_seen"
    assert "names of pictures that come again, with a number behind them: train_00010" in notes


def test_pictures_are_in_folders_of_splits_and_classes_or_named_by_usage(folder):
    pictures.save(folder / "images" / "Train" / "angry" / "1.png", GREY[0])
    pictures.save(folder / "images" / "train" / "Happy" / "1.png", GREY[1])
    pictures.save(folder / "test" / "surprise" / "PrivateTest_12.png", GREY[3])
    pictures.save(folder / "test" / "sad" / "13.png", GREY[4])
    pictures.save(folder / "PublicTest_5.png", np.stack([GREY[5]] * 3, 2))
    pictures.save(folder / "figure.png", GREY[6])
    store, notes = filled(folder)
    assert sorted(contents(store)) == [
        ("private_test", 5, 3),
        ("public_test", None, 5),
        ("test", 4, 4),
        ("train", 0, 0),
        ("train", 3, 1),
    ]
    names = {track.name for track in store.tracks}
    assert names == {"train_1", "train_1_2", "private_test_12", "test_13", "public_test_5"}
    assert any("not read, of no known kind or place: figure.png" in note for note in notes)
    pictures.save(folder / "train" / "angri" / "2.png", GREY[2])
    with pytest.raises(UserError, match=r"2\.png: class 'angri'. Did you mean 'anger'"):
        filled(folder)


def test_a_split_that_is_there_in_two_forms_is_read_once(folder):
    path = write_table(folder, rows=ROWS[:4])
    write_arrays(folder, "train", (5,), (0,), (1,))
    write_arrays(folder, "public_test", (3,), (5,), (1,))
    store, notes = filled(folder)
    assert [t.split for t in store.tracks] == ["train"] * 4 + ["public_test"]
    assert f"{path.with_name('train.npz')}: already read from another file: train" in notes


def test_pictures_are_stored_in_the_size_that_is_asked_for_and_groups_are_those_of_48(folder):
    write_table(folder)
    groups = [track.group for track in filled(folder)[0].tracks]
    store, _ = filled(folder, size=24)
    assert store.feature("face").shape == (8, 24, 24)
    assert [track.group for track in store.tracks] == groups


def test_blank_pictures_are_counted(folder, monkeypatch):
    monkeypatch.setitem(globals(), "GREY", np.concatenate([GREY, np.full((1, 48, 48), 9, "u1")]))
    write_table(folder, rows=[*ROWS, (0, 8, "Training")])
    assert "blank pictures, of one grey: 1" in filled(folder)[1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("emotion,pixels,Usage\n", "", "csv:1: '0, "),
        ("emotion,pixels,Usage", "emotion,pixels", "csv:1: no column Usage, which says what"),
        ("emotion,pixels,Usage", "emotion;pixels;Usage", "Fields are separated by semicolons; com"),
        ("emotion,pixels,Usage", "pixels,pixels,Usage", "csv:1: the column 'pixels' comes twice"),
        ("\n6,", "\n7,", "csv:4: emotion '7', expected 0 to 6"),
        ("\n6,", "\nhappy,", "csv:4: emotion 'happy', expected 0 to 6"),
        (text(2), text(2)[:200], "pixels, expected 48 x 48"),
        (text(2), "256 " + text(2)[3:], "csv:4: pixel '256', expected 0 to 255"),
        (text(2), "x " + text(2)[3:], "csv:4: pixel 'x', expected 0 to 255"),
        (text(2), "1_0 " + text(2)[3:], "csv:4: pixel '1_0', expected 0 to 255"),
        ("PublicTest", "Publictset", "csv:6: Usage 'Publictset'. Did you mean 'PublicTest'"),
        (",Training\n6", "\n6", "csv:3: 2 fields, expected 3: emotion,pixels,usage"),
        ("\n6,", '\n"6,', "csv:"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_with_its_row(folder, old, new, message):
    path = write_table(folder)
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))
    with pytest.raises(UserError, match=re.escape(message)) as error:
        filled(folder)
    assert str(error.value).startswith(str(path)) and not (folder.parent / "store").exists()


def test_what_is_wrong_in_npz_files_is_named(folder):
    path = write_arrays(folder, "train", (0, 1), (0, 9), (1, 2))
    with pytest.raises(UserError, match=re.escape(f"{path}: labels[1] is 9, expected 0 to 6.")):
        filled(folder)
    write_arrays(folder, "train", (0, 1), (0,), (1, 2))
    with pytest.raises(UserError, match=r"train.npz: labels has shape \(1,\), expected \[2\]"):
        filled(folder)
    np.savez(path, images=GREY.astype(np.float32))
    with pytest.raises(UserError, match=r"train.npz: images is of type float32"):
        filled(folder)
    np.savez(path, pictures=GREY)
    with pytest.raises(UserError, match=r"no array images. It has pictures\."):
        filled(folder)
    whole = write_arrays(folder, "train", (0, 1), (0, 1), (1, 2)).read_bytes()
    path.write_bytes(whole[:300] + bytes(200) + whole[500:])
    with pytest.raises(UserError, match=r"train.npz: not a readable npz file"):
        filled(folder)


def test_a_folder_of_another_data_set_is_refused_in_one_line(folder, tmp_path, capsys):
    pictures.save(folder / "angry" / "1.png", GREY[0])
    arguments = ["--source=fer2013", f"--input={folder}", f"--store={tmp_path / 'store'}"]
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no form of FER2013 in it" in line and "--source=folders" in line


@pytest.mark.slow
def test_the_handed_out_part_is_read_whole(shared, tmp_path):
    report = Report()
    fer2013.fill(shared / "data" / "fer2013", tmp_path / "store", report)
    store = Store(tmp_path / "store")
    splits = [track.split for track in store.tracks]
    assert splits.count("train") == 12_000 and splits.count("public_test") == 3589 - 124
    assert splits.count("public_test_seen") == 124
    labels, mask = store.label("expression")
    counts = np.bincount(labels[store.split("train")]).tolist()
    assert mask.all() and counts == [1667, 185, 1744, 2996, 1990, 1315, 2103]
    assert "blank pictures, of one grey: 7" in report.notes
