"""The RAF-DB source: its list, and the pictures in the order of its splits."""

import re

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.report import Report
from data_pipelines.sources import rafdb
from data_pipelines.store import Store
from tests import pictures

NAMES = tuple(f"train_{i:05}" for i in range(1, 11)) + ("test_0001", "test_0002")
CLASSES = (5, 1, 2, 3, 4, 6, 7, 5, 5, 5, 1, 7)


@pytest.fixture
def folder(tmp_path):
    """RAF-DB in its official layout, of twelve pictures of 20 x 20."""
    folder = tmp_path / "basic"
    for i, name in enumerate(NAMES):
        picture = pictures.pixels(i, (20, 20))
        pictures.save(folder / "Image" / "aligned" / f"{name}_aligned.png", picture)
    write_list(folder, [f"{name}.jpg {c}" for name, c in zip(NAMES, CLASSES)])
    return folder


def write_list(folder, lines):
    path = folder / "EmoLabel" / "list_patition_label.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def filled(folder, **flags):
    report = Report()
    rafdb.fill(folder, folder.parent / "store", report, **{"size": 20, **flags})
    return Store(folder.parent / "store"), report.notes


def test_a_picture_is_a_track_and_classes_are_in_the_order_of_the_tables(folder):
    store, notes = filled(folder, validation=0)
    assert [track.name for track in store.tracks] == list(NAMES)
    assert store.splits == ("train", "test")
    labels, mask = store.label("expression")
    assert store.labels["expression"].names == EXPRESSIONS and mask.all()
    assert [rafdb.CLASSES[c - 1] for c in CLASSES] == [EXPRESSIONS[i] for i in labels]
    assert rafdb.CLASSES[4] == "sadness" and labels[0] == 4
    np.testing.assert_array_equal(store.feature("face")[3], pictures.pixels(3, (20, 20)))
    assert store.feature("face").shape == (12, 20, 20, 3)
    assert notes == [
        "pictures of the published set that are there: train: 10 of 12,271, test: 2 of 3,068"
    ]
    assert not verify.check(store).problems


def test_validation_is_cut_from_training_and_identical_pictures_stay_together(folder):
    same = folder / "Image" / "aligned"
    for name in NAMES[8:10]:
        (same / f"{name}_aligned.png").write_bytes((same / f"{NAMES[7]}_aligned.png").read_bytes())
    for seed in range(4):
        store, notes = filled(folder, validation=3, seed=seed)
        splits = [track.split for track in store.tracks]
        assert splits == ["train"] * 7 + ["validation"] * 3 + ["test"] * 2
        of = {track.name: track for track in store.tracks}
        assert len({(of[name].split, of[name].group) for name in NAMES[7:10]}) == 1
    assert any("groups of identical pictures: 1, of 3 pictures" in note for note in notes)
    assert len(Store(folder.parent / "store").split("validation")) == 3
    store, _ = filled(folder)
    assert len(store.split("validation")) == 2  # a fifth


def test_pictures_are_aligned_ones_where_they_are_and_grey_or_smaller_as_asked(folder):
    pictures.save(folder / "Image" / "original" / "train_00001.jpg", pictures.pixels(99, (40, 40)))
    (folder / "Image" / "aligned" / "train_00002_aligned.png").rename(folder / "train_00002.PNG")
    (folder / "Image" / "aligned" / "train_90000_aligned.png").write_bytes(b"never read")
    store, notes = filled(folder, validation=0, grey=True, size=10)
    assert store.feature("face").shape == (12, 10, 10)
    assert "pictures that are there without _aligned alone: 1" in notes
    spare = "pictures that list_patition_label.txt does not list, left out: train_90000_aligned"
    assert spare in notes
    store, _ = filled(folder, validation=0)
    np.testing.assert_array_equal(store.feature("face")[0], pictures.pixels(0, (20, 20)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00001.jpg 8", ":13: class '8', expected 1 to 7 (surprise, fear, disgust,"),
        ("train_00001.jpg 0", ":13: class '0', expected 1 to 7"),
        ("train_00001.jpg happy", ":13: class 'happy', expected 1 to 7"),
        ("train_00001.jpg", ":13: 'train_00001.jpg', expected such as \"train_00001.jpg 5\""),
        ("train_00001.jpg 5", ":13: train_00001 stands in line 1 too"),
        ("valid_00001.jpg 5", ":13: 'valid_00001.jpg', expected such as train_00001.jpg"),
        ("train_00077.jpg 5", ":13: train_00077: the picture is not there. Fetch it, or leave"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_with_it_and_nothing_is_written(folder, line, message):
    lines = [f"{name}.jpg {c}" for name, c in zip(NAMES, CLASSES)]
    path = write_list(folder, [*lines, line])
    with pytest.raises(UserError, match=re.escape(f"{path}{message}")):
        filled(folder)
    assert not (folder.parent / "store").exists()


def test_missing_double_and_broken_pictures_are_named_or_left_out_by_the_command(folder, capsys):
    aligned, store = folder / "Image" / "aligned", folder.parent / "store"
    arguments = ["--source=rafdb", f"--input={folder}", f"--store={store}", "--validation=0"]
    (aligned / "train_00003_aligned.png").write_bytes(b"<html>gone</html>")
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    where = f"{folder}/EmoLabel/list_patition_label.txt:3: {aligned}/train_00003_aligned.png"
    assert f"{where}: not a readable picture (it is a page of the web)" in line
    assert not store.exists()
    (aligned / "train_00004_aligned.png").unlink()
    assert prepare.main([*arguments, "--skip-bad"]) == 0
    assert [t.name for t in Store(store).tracks] == [*NAMES[:2], *NAMES[4:]]
    assert "rows without a picture, left out" in capsys.readouterr().out
    pictures.save(folder / "Image" / "train_00001_aligned.jpg", pictures.pixels(0))
    with pytest.raises(UserError, match=r"txt:1: two pictures are called train_00001: .*Leave one"):
        filled(folder, skip_bad=True)


def test_without_a_list_or_pictures_or_with_two_lists_it_says_so(folder, tmp_path):
    compound = tmp_path / "basic" / "compound" / "list_patition_label.txt"
    compound.parent.mkdir()
    compound.write_text("train_00001.jpg 1\n")
    with pytest.raises(UserError, match=r"several lists of pictures .*Name the folder of one"):
        filled(folder)
    compound.rename(tmp_path / "list_patition_label.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no list_patition_label.txt in it"):
        filled(tmp_path / "empty")
    write_list(tmp_path / "empty", ["train_00001.jpg 1", "test_0001.jpg 1"])
    with pytest.raises(UserError, match=r":1: train_00001: none of the 2 pictures is in"):
        filled(tmp_path / "empty", skip_bad=True)
