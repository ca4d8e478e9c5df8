"""The source of class folders: classes and splits by the folders in which pictures lie."""

import re

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.report import Report
from data_pipelines.sources import folders
from data_pipelines.store import Store
from tests import pictures


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def write(folder, *paths):
    for i, path in enumerate(paths):
        pictures.save(folder / path, pictures.pixels(i))


def filled(folder, **flags):
    report = Report()
    folders.fill(folder, folder.parent / "store", report, **{"size": 48, **flags})
    return Store(folder.parent / "store"), report.notes


def test_any_spelling_of_the_seven_gives_the_seven_in_their_order(folder):
    write(folder, "Train/Happy/a.png", "train/0_angry/b.png", "val/neutral/c.PNG", "test/sad/d.png")
    store, _ = filled(folder)
    assert store.labels["expression"].names == EXPRESSIONS
    labels = store.label("expression")[0].tolist()
    assert dict(zip((t.name for t in store.tracks), labels)) == {
        "Train_Happy_a": 3,
        "train_0_angry_b": 0,
        "val_neutral_c": 6,
        "test_sad_d": 4,
    }
    assert store.splits == ("train", "validation", "test")
    assert store.tracks[0].group != store.tracks[1].group
    np.testing.assert_array_equal(store.feature("face")[0], pictures.pixels(0))
    assert not verify.check(store).problems


def test_other_classes_are_the_folders_names_in_alphabetical_order(folder):
    write(folder, "set/smile/a.png", "set/angry/b.png", "set/frown/b.png", "own.png")
    store, notes = filled(folder, label="look", grey=True, size=20)
    assert store.labels["look"].names == ("angry", "frown", "smile")
    labels, mask = store.label("look")
    assert [(t.name, t.split) for t in store.tracks] == [
        ("set_angry_b", "train"),
        ("set_frown_b", "train"),
        ("set_smile_a", "train"),
        ("own", "test"),
    ]
    assert labels[:3].tolist() == [0, 1, 2] and mask.tolist() == [True, True, True, False]
    assert store.feature("face").shape == (4, 20, 20)
    assert notes == ["pictures in no folder of a class, without a label: 1"]


def test_pictures_alone_have_no_labels_and_can_be_predicted_on(folder):
    write(folder, "a.png", "test/b.png")
    store, _ = filled(folder)
    assert store.splits == ("test",) and not store.label("expression")[1].any()
    assert store.labels["expression"].names == EXPRESSIONS


def test_pictures_are_stretched_or_keep_their_proportions(folder):
    pictures.save(folder / "a.png", np.full((10, 20), 255, np.uint8))
    assert filled(folder, grey=True, size=16)[0].feature("face")[0].all()
    there = filled(folder, grey=True, size=16, letterbox=True)[0].feature("face")[0].any(1)
    assert there.tolist() == [False] * 4 + [True] * 8 + [False] * 4


@pytest.mark.parametrize(
    ("paths", "flags", "message"),
    [
        ((), {}, "no picture (*.jpg, *.jpeg, "),
        (("a/b_c.png", "a_b/c.png"), {}, "would be a_b_c, too. Rename or leave one"),
        (("a/b.png", "a/b.bmp"), {}, "would be a_b, too"),
        (("a/b.png",), {"label": "x/y"}, "the name holds '/'"),
    ],
)
def test_what_does_not_fit_is_named(folder, paths, flags, message):
    write(folder, *paths)
    with pytest.raises(UserError, match=re.escape(message)):
        filled(folder, **flags)


def test_broken_pictures_are_refused_or_left_out_by_the_command(folder, capsys):
    write(folder, "happy/a.png", "sad/b.png", "sad/c.png")
    (folder / "sad" / "c.png").write_bytes((folder / "sad" / "b.png").read_bytes()[:900])
    (folder / "sad" / "notes.txt").write_text("x")
    store = folder.parent / "store"
    arguments = ["--source=folders", f"--input={folder}", f"--store={store}"]
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "c.png: not a readable picture" in line and "--skip-bad" in line
    assert not store.exists()
    assert prepare.main([*arguments, "--skip-bad"]) == 0
    assert [track.name for track in Store(store).tracks] == ["happy_a", "sad_b"]
    assert "not read, of no known kind or place: sad/notes.txt" in capsys.readouterr().out
    with_size = [*arguments, "--size=4"]
    assert prepare.main(with_size) == 2
    assert "expected a whole number from 8 to 1024" in capsys.readouterr().err
