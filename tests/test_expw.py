"""The ExpW source: faces cut out of pictures by the boxes of label.lst."""

import collections
import re

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import expw
from data_pipelines.store import Store
from tests import pictures


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures of 32 x 24, the first four with two faces."""
    folder = tmp_path / "expw"
    lines = []
    for i in range(20):
        pictures.save(folder / "image" / f"p_{i}.png", pictures.pixels(i, (24, 32)))
        lines += [f"p_{i}.png 0 4 2 14 20 87.5 {i % 2 * 3}"]  # top 4, left 2, right 14, bottom 20
        lines += [f"p_{i}.png 7 -5 20 40 12 10 {i % 2 * 3}"] * (i < 4)
    write_list(folder, lines)
    return folder


def write_list(folder, lines):
    (folder / "label.lst").write_text("".join(f"{line}\n" for line in lines))


def filled(folder, **flags):
    report = Report()
    expw.fill(folder, folder.parent / "store", report, **{"size": 12, **flags})
    return Store(folder.parent / "store"), report.notes


def test_a_face_is_the_box_of_its_picture_and_ends_at_its_edge(folder):
    store, notes = filled(folder)
    of = {track.name: i for i, track in enumerate(store.tracks)}
    assert len(of) == 24 and store.tracks[of["p_3_7"]].group == "p_3"
    assert store.label("expression")[0][of["p_3_0"]] == 3
    write_list(folder, ["p_0.png 0 4 2 14 16 87.5 0", "p_1.png 7 -5 20 40 12 10 6"] + ROWS)
    store, _ = filled(folder)
    of = {track.name: i for i, track in enumerate(store.tracks)}
    face = store.feature("face")
    np.testing.assert_array_equal(face[of["p_0_0"]], pictures.pixels(0, (24, 32))[4:16, 2:14])
    np.testing.assert_array_equal(face[of["p_1_7"]], pictures.pixels(1, (24, 32))[:12, 20:])
    assert notes == ["pictures of the published set that are there: faces: 24 of 91,793"]
    assert not verify.check(store).problems


ROWS = [f"p_{i}.png 0 4 2 14 20 87.5 {i % 2 * 3}" for i in range(2, 20)]


def test_a_tenth_is_test_and_a_tenth_validation_and_faces_of_one_picture_stay_together(folder):
    for seed in range(3):
        store, _ = filled(folder, seed=seed)
        counts = collections.Counter(track.split for track in store.tracks)
        assert counts == {"train": 18, "validation": 3, "test": 3}
        splits = collections.defaultdict(set)
        for track in store.tracks:
            splits[track.group].add(track.split)
        assert all(len(one) == 1 for one in splits.values())


def test_lines_of_other_columns_are_passed_over_and_counted(folder):
    path = folder / "label.lst"
    path.write_text("header\n" + path.read_text() + "p_0.png 1 2 3\n\n")
    store, notes = filled(folder)
    assert len(store.tracks) == 24
    assert "label.lst: lines without 8 columns, passed over: 2" in notes


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p_1.png 5 4 2 14 20 87.5 7", "class '7', expected 0 to 6 (anger, disgust,"),
        ("p_1.png 5 4 2 14.5 20 87.5 1", "'14.5', expected a whole number of pixels"),
        ("p_1.png 0 4 2 14 20 87.5 1", "face 0 of p_1.png comes twice"),
        ("gone.png 0 4 2 14 20 87.5 1", "gone.png: the picture is not there"),
        ("p_1.png 5 4 2 6 20 87.5 1", "left 2, top 4, right 6, bottom 20 is no part of 32 x 24"),
    ],
)
def test_what_is_wrong_with_a_line_is_named_with_it(folder, line, message):
    path = folder / "label.lst"
    lines = path.read_text().splitlines()
    write_list(folder, [*lines, line])
    with pytest.raises(UserError, match=re.escape(message)) as error:
        filled(folder)
    assert str(error.value).startswith(f"{path}:25: ")
    assert not (folder.parent / "store").exists()


def test_faces_without_a_picture_or_a_box_in_it_are_left_out_on_request(folder, capsys):
    (folder / "image" / "p_9.png").unlink()
    write_list(folder, [*ROWS, "p_2.png 9 90 90 99 99 1 1"])
    store = folder.parent / "store"
    arguments = ["--source=expw", f"--input={folder}", f"--store={store}", "--size=8"]
    assert prepare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "label.lst:8: p_9.png: the picture is not there" in line
    assert prepare.main([*arguments, "--skip-bad", "--grey"]) == 0
    read = Store(store)
    assert len(read.tracks) == 17 and read.feature("face").shape == (17, 8, 8)
    out = capsys.readouterr().out
    assert "pictures that label.lst does not list, left out: p_0.png, p_1.png" in out


def test_two_pictures_of_one_name_are_refused(folder):
    pictures.save(folder / "more" / "p_5.png", pictures.pixels(0))
    with pytest.raises(UserError, match=r"two pictures are called p_5.png: .* and .*Leave one"):
        filled(folder)
    write_list(folder, ["nothing here"])
    with pytest.raises(UserError, match="no line of 8 columns"):
        filled(folder)
