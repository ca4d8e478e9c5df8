"""A folder replaced as a whole: the old or the new, whatever ends the process that writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from data_pipelines import replace_folder as module
from data_pipelines.errors import UserError
from data_pipelines.replace_folder import replace_folder, restore_folder
from tests.conftest import ROOT


@pytest.fixture
def path(tmp_path):
    """A folder that holds the file x with the text "old"."""
    path = tmp_path / "here" / "mine"
    path.mkdir(parents=True)
    (path / "x").write_text("old")
    return path


def write(path, text="new"):
    with replace_folder(path) as folder:
        (folder / "x").write_text(text)


def beside(path):
    return sorted(p.name for p in path.parent.iterdir())


@pytest.fixture(params=["in one step", "in two renames"])
def way(request, monkeypatch):
    """Both ways to put a folder in another's place."""
    if request.param == "in two renames":
        monkeypatch.setattr(module, "_exchange", lambda *_: False)


def test_the_new_folder_takes_the_place_of_the_old_one(path, way):
    (path / "of the old one").write_text("")
    write(path)
    assert [p.name for p in path.iterdir()] == ["x"] and (path / "x").read_text() == "new"
    assert beside(path) == ["mine"]


def test_a_folder_and_its_parents_are_made(tmp_path):
    write(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c" / "x").read_text() == "new"
    assert beside(tmp_path / "a" / "b" / "c") == ["c"]


def test_an_exception_leaves_what_was_there_and_nothing_else(path, tmp_path):
    for target in (path, tmp_path / "a" / "b"):
        with pytest.raises(KeyboardInterrupt), replace_folder(target) as folder:
            (folder / "x").write_text("half")
            raise KeyboardInterrupt
    assert (path / "x").read_text() == "old" and beside(path) == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


def test_a_move_that_fails_leaves_what_was_there(path, way):
    with pytest.raises(FileNotFoundError), replace_folder(path) as folder:
        folder.rmdir()
    assert (path / "x").read_text() == "old" and beside(path) == ["mine"]


def test_of_two_that_make_a_folder_the_last_stays(path, way, monkeypatch):
    new, looks, exists = path.parent / "new", [], type(path).exists

    def late(some):  # the first two looks come before the other has made it
        looks.append(some)
        return exists(some) and (some != new or looks.count(new) > 2)

    monkeypatch.setattr(type(path), "exists", late)
    with replace_folder(new) as folder:
        (folder / "x").write_text("last")
        new.mkdir()
        (new / "x").write_text("first")
    assert looks.count(new) >= 2
    assert (new / "x").read_text() == "last" and beside(new) == ["mine", "new"]


def test_a_link_stays_a_link_and_its_target_is_replaced(path, tmp_path):
    for name, target in (("link", path), ("dangling", tmp_path / "later" / "yours")):
        (tmp_path / name).symlink_to(target)
        write(tmp_path / name)
        assert (tmp_path / name).is_symlink() and (target / "x").read_text() == "new"
        assert beside(target) == [target.name]


def test_a_file_is_not_replaced(path):
    for target in (path / "x", "/"):
        with pytest.raises(UserError, match="no folder that can be written"):
            write(target)


KILLED = """
import os, pathlib, sys
from data_pipelines import replace_folder as module
module._exchange = lambda *_: False
rename, calls = pathlib.Path.rename, []
def killed_at(path, target):
    calls.append(path)
    if len(calls) == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    return rename(path, target)
pathlib.Path.rename = killed_at
with module.replace_folder(sys.argv[1]) as folder:
    (folder / "x").write_text("new")
    if sys.argv[2] == "0":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("renames", ["0", "1", "2"])
def test_whenever_it_is_killed_the_old_folder_is_there_or_put_back(path, renames):
    command = [sys.executable, "-c", KILLED, str(path), renames]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert path.exists() == (renames != "2") and len(beside(path)) == 2 - (renames == "2")
    restore_folder(path)
    assert (path / "x").read_text() == "old"
    write(path)
    assert (path / "x").read_text() == "new" and beside(path) == ["mine"]


def test_what_a_living_process_writes_is_left_alone(path):
    with replace_folder(path) as first:
        write(path, "faster")
        restore_folder(path)
        (first / "x").write_text("slower")
    assert (path / "x").read_text() == "slower" and beside(path) == ["mine"]


def test_folders_of_others_with_similar_names_are_left_alone(path):
    others = ["mine.old", "mine.old-1", "mine.writing", "yours.writing-12345678"]
    for name in others:
        (path.parent / name).mkdir()
    write(path)
    assert beside(path) == sorted(["mine", *others])


def test_where_nothing_was_left_nothing_is_restored(path):
    os.rename(path, path.parent / "away")
    restore_folder(path)
    restore_folder("/")
    restore_folder("x" * 5000)
    assert not path.exists()
