"""Folders of others: each thing in one is read, or named in one of three notes."""

import pytest

from data_pipelines import folder
from data_pipelines.errors import UserError
from data_pipelines.report import Report

APART, COMPOSED = "u\u0308ber", "\xfcber"  # one name on the screen


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def rest(root, *used):
    report = Report()
    report.use(*(root / name for name in used))
    folder.note_rest(root, report)
    return [note.removeprefix(f"{root}: ") for note in report.notes]


def test_files_are_found_by_suffix_in_any_case(tmp_path):
    touch(tmp_path, "b.TXT", "a.txt", "c.Txt", "d.npy", "._e.txt", "f.txt/x")
    (tmp_path / "g.txt").symlink_to("nowhere")
    assert [p.name for p in folder.files(tmp_path, ".txt")] == ["a.txt", "b.TXT", "c.Txt"]
    assert [p.name for p in folder.gone(tmp_path)] == ["g.txt"]


def test_folders_are_walked_once_each_wherever_links_lead(tmp_path):
    touch(tmp_path, "a/b/x", "__MACOSX/a/x", ".git/x")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to(tmp_path / "a" / "b")
    assert [str(p.relative_to(tmp_path)) for p in folder.folders(tmp_path)] == [".", "a", "a/b"]


def test_what_nobody_used_is_one_note_with_folders_as_a_whole(tmp_path):
    touch(tmp_path, "a/used.txt", "a/odd.csv", "b/c/1.jpg", "b/c/2.jpg", "e.pkl", "README.md")
    assert rest(tmp_path, "a/used.txt") == [
        "not read, of no known kind or place: a/odd.csv, b/, e.pkl"
    ]
    assert rest(tmp_path, "a", "b", "e.pkl") == []


def test_the_note_of_what_nobody_used_is_short(tmp_path):
    touch(tmp_path, *(f"{i:04}.jpg" for i in range(300)))
    (note,) = rest(tmp_path)
    assert note.endswith("0019.jpg, ... (300 in all)")


def test_links_that_point_nowhere_are_all_named(tmp_path):
    touch(tmp_path, "a/x.txt")
    for name in ("a/314.txt", "face.h5", "a/loop"):
        (tmp_path / name).symlink_to(".git/annex/objects/1" if "loop" not in name else "loop")
    assert rest(tmp_path, "a/x.txt") == [
        "links that point nowhere, without what they stand for: a/314.txt, a/loop, face.h5"
    ]


def test_files_of_a_system_are_counted_in_one_line(tmp_path):
    touch(tmp_path, "__MACOSX/a/._1.txt", "__MACOSX/._2", "a/._1.txt", "a/1.txt", ".DS_Store")
    touch(tmp_path, "Thumbs.db", ".git/a", ".git/b")
    (note,) = rest(tmp_path, "a/1.txt")
    assert note == "files of a system (__MACOSX, ._* and the like) skipped: 6"


def test_names_are_composed_and_checked(tmp_path):
    touch(tmp_path, f"{APART}.txt")
    assert list(folder.by_name(folder.files(tmp_path, ".txt"))) == [COMPOSED]
    with pytest.raises(UserError, match=r"track 'a\\\\b': the name holds"):
        folder.plain_name("a\\b", "track")
    with pytest.raises(UserError, match="track 7: int"):
        folder.plain_name(7, "track")


def test_two_files_of_one_name_are_refused_so_that_the_difference_is_seen(tmp_path):
    touch(tmp_path, f"{APART}.txt", f"{COMPOSED}.txt")
    with pytest.raises(UserError) as error:
        folder.by_name(folder.files(tmp_path, ".txt"))
    assert r"u\u0308ber.txt" in str(error.value) and r"\xfcber.txt" in str(error.value)


def test_a_name_that_cannot_be_shown_does_not_break_a_note(tmp_path, capsysbinary):
    touch(tmp_path, "a\nb", "c\udcff")
    report = Report()
    folder.note_rest(tmp_path, report)
    assert report.notes[0].endswith(r"a\nb, c\udcff")
