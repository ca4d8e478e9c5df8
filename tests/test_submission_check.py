import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect_jax.submission.__main__ import SHOWN, main
from affect_jax.submission.check import Refused, check
from affect_jax.submission.formats import format_of
from affect_jax.submission.official import read_list
from data_pipelines.errors import UserError
from tests.conftest import ROOT
from tests.entries import FORMS, ONE_FILE, TEXTS, make_entry


def checked(entry) -> str:
    """The message about an entry as it lies there."""
    track, edition = (flag.partition("=")[2] for flag in entry.flags[:2])
    form = format_of(track, int(edition))
    return check(entry.path, read_list(entry.list, form, warn=pytest.fail), form)


def problems(entry, *, written=False) -> list[str]:
    """`entry:LINE: reason` of a spoilt one, or `entry/FILE:LINE: reason`."""
    if not written:
        entry.write()
    with pytest.raises(Refused) as refusal:
        checked(entry)
    return [p.replace(f"{entry.path.parent}/", "") for p in refusal.value.problems]


def only_problem(entry, line, *parts, written=False) -> None:
    """There is one, in this line of the (first) file, for this reason."""
    found = problems(entry, written=written)
    name = next(iter(entry.lines))
    assert len(found) == 1, found
    assert found[0].startswith(f"entry{'/' if name else ''}{name}:{line}: "), found
    assert all(part in found[0] for part in parts), found


def somewhere(test):
    """Runs test(entry, k) for entries of all tracks that are one file; rows k and k + 1 exist."""

    @settings(max_examples=24, deadline=None, derandomize=True)
    @given(form=st.sampled_from(ONE_FILE), seed=st.integers(0, 99), k=st.integers(1, 10))
    def run(form, seed, k):
        with tempfile.TemporaryDirectory() as folder:  # tmp_path is one for all examples
            test(make_entry(Path(folder), *form, seed=seed), k)

    run.__name__ = test.__name__
    return run


# Valid entries -----------------------------------------------------------------------------------


@given(
    form=st.sampled_from(list(FORMS)),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_valid_entries_of_every_track_and_edition_pass(form, lengths, seed):
    with tempfile.TemporaryDirectory() as folder:
        entry = make_entry(Path(folder), *form, lengths, seed)
        entry.write()
        rows = f"{sum(lengths)} row{'' if sum(lengths) == 1 else 's'}"
        assert rows in checked(entry)


def test_it_is_said_what_was_checked_and_what_could_not_be(tmp_path, capsys):
    assert main(make_entry(tmp_path, "va", 1).write()) == 0
    said = capsys.readouterr().out
    assert "valid for track va" in said and "3 files, 11 rows" in said
    assert "names only: the numbers of rows were not checked" in said


# Rows --------------------------------------------------------------------------------------------

WRONG = {
    "v": ("", "nan", "NaN", "inf", "-inf", "1.000001", "-1.5", "5", "0.5 ", "1_0", "\u0663"),
    "c": ("", "nan", "8", "1.0", "Fear", "-2", " 3", "\u0663"),
    "u": ("", "nan", "2", "0.7", "1.0", "True", "\u0661"),
}
MISSING = {"v": "-5", "c": "-1", "u": "-1"}


@pytest.mark.parametrize("form", list(FORMS), ids=str)
@given(data=st.data())
@settings(max_examples=24, deadline=None, derandomize=True)
def test_a_value_that_does_not_belong_is_refused_with_its_line(form, data):
    with tempfile.TemporaryDirectory() as folder:
        entry = make_entry(Path(folder), *form, seed=data.draw(st.integers(0, 99)))
        lines = next(iter(entry.lines.values()))
        k = data.draw(st.integers(1, len(lines) - 1))
        kinds = FORMS[form][1]
        column = data.draw(st.integers(0, len(kinds) - 1))
        kind = kinds[column]
        text = data.draw(st.sampled_from((*WRONG[kind], MISSING[kind])))
        cells = lines[k].split(",")
        cells[column - len(kinds)] = text
        lines[k] = ",".join(cells)
        if not lines[k]:  # the only field of a text
            reason = "an empty line"
        elif text == MISSING[kind]:
            reason = f"is {text}, the mark of a missing label"
        else:
            reason = f"is {text!r}, expected a "
        only_problem(entry, k + 1, reason)


@somewhere
def test_a_missing_row_is_refused_where_it_belongs(entry, k):
    row = entry.lines[""].pop(k)
    only_problem(entry, k + 1, repr(row.split(",")[0]), "is missing")


@somewhere
def test_a_file_with_too_few_rows_is_refused_where_it_ends(entry, k):
    del entry.lines[""][k + 1 :]
    only_problem(entry, k + 2, "missing")


@somewhere
def test_a_row_of_an_image_that_is_not_listed_is_refused(entry, k):
    lines = entry.lines[""]
    video = lines[k].split("/")[0]
    for image in ("nobody/00001.jpg", f"{video}/99999.jpg", lines[k].split(".")[0] + ".png"):
        lines.insert(k, ",".join([image, *lines[k].split(",")[1:]]))
        only_problem(entry, k + 1, repr(image), "is not in", "list.txt")
        del lines[k]


@somewhere
def test_a_row_that_comes_twice_is_refused_and_both_lines_named(entry, k):
    entry.lines[""].insert(k + 1, entry.lines[""][k])
    only_problem(entry, k + 2, "again", f"in line {k + 1}")


@somewhere
def test_rows_in_another_order_are_refused(entry, k):
    lines = entry.lines[""]
    lines[k], lines[k + 1] = lines[k + 1], lines[k]
    only_problem(entry, k + 2, "stands after", "has it before")


@somewhere
def test_another_separator_is_named(entry, k):
    for separator in ";\t| ":
        right = entry.lines[""][k]
        entry.lines[""][k] = right.replace(",", separator)
        only_problem(entry, k + 1, f"separated by {separator!r}, expected commas")
        entry.lines[""][k] = right


@somewhere
def test_a_row_with_a_field_too_many_or_too_few_is_refused(entry, k):
    right = entry.lines[""][k]
    width = right.count(",") + 1
    for wrong in (right + ",", right.rpartition(",")[0]):
        entry.lines[""][k] = wrong
        found = problems(entry)
        assert found[0].startswith(f"entry:{k + 1}: ") and f"expected {width}." in found[0]
    entry.lines[""][k] = right
    entry.lines[""].insert(k, "")
    only_problem(entry, k + 1, "an empty line")


# Whole files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", list(FORMS), ids=str)
def test_a_header_that_is_wrong_missing_or_of_another_track_is_refused(form, tmp_path):
    entry = make_entry(tmp_path, *form)
    lines = next(iter(entry.lines.values()))
    header = lines[0]
    for wrong in (header.swapcase(), header.replace(",", ";"), f"{header},", f" {header}", ""):
        lines[0] = wrong
        only_problem(entry, 1, f"header {wrong[:80]!r}; expected {header!r}")
    del lines[0]
    only_problem(entry, 1, f"expected {header!r}")
    other = ("au", 10) if form[0] != "au" else ("va", 5)
    lines.insert(0, FORMS[other][0])
    only_problem(entry, 1, f"that of track {other[0]}, edition 5 and later; expected {header!r}")


@pytest.mark.parametrize("form", list(FORMS), ids=str)
def test_a_file_cut_anywhere_is_refused(form, tmp_path):
    entry = make_entry(tmp_path, *form, lengths=(2, 1))
    entry.write()
    name = next(iter(entry.lines))
    file = entry.path / name if name else entry.path
    whole = file.read_bytes()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        if form in TEXTS and whole[:size].endswith(b"\n") and whole[:size].count(b"\n") > 1:
            continue  # a whole row is missing, which a list of names cannot tell
        found = problems(entry, written=True)
        last = max(1, len(whole[:size].decode().splitlines()))
        assert any(f":{n}: " in p for p in found for n in (last, last + 1)), (size, found)


@pytest.mark.parametrize("form", list(FORMS), ids=str)
def test_what_is_not_plain_utf_8_is_refused(form, tmp_path):
    entry = make_entry(tmp_path, *form)
    entry.write()
    name, lines = next(iter(entry.lines.items()))
    file = entry.path / name if name else entry.path
    whole = file.read_bytes()

    def refused(data, line, reason):
        file.write_bytes(data)
        only_problem(entry, line, reason, written=True)

    refused(b"\xef\xbb\xbf" + whole, 1, "byte order mark")
    refused(whole.decode().encode("utf-16"), 1, "byte 0xff is not UTF-8")
    refused(whole.decode().encode("utf-16-le"), 1, "zero bytes")
    refused(whole.replace(b"\n", b"\r\n"), 1, "CR LF")
    refused(whole[:-1] + b"\xe9\n", len(lines), "byte 0xe9 is not UTF-8")
    refused(b"", 1, "the file is empty")
    refused(lines[0].encode() + b"\n", 1, "a header and no rows")


def test_only_the_first_problems_are_printed_and_all_are_counted(tmp_path, capsys):
    entry = make_entry(tmp_path, "expr", 5, lengths=(30, 30))
    arguments = entry.write()
    entry.path.write_text(entry.path.read_text().replace(",", ";"))
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and len(lines) == SHOWN + 2 and f"{entry.path}:2: " in lines[1]
    assert lines[-2] == f"... and {61 - SHOWN} more"
    assert lines[-1] == f"error: {entry.path}: refused, 61 problems."


# Folders of texts --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", TEXTS, ids=str)
def test_missing_and_extra_files_are_refused(form, tmp_path):
    entry = make_entry(tmp_path, *form)
    entry.write()
    first, second, _ = entry.lines
    (entry.path / first).rename(entry.path / "video7.txt")
    (entry.path / second).rename(entry.path / f"{second}.bak")
    found = problems(entry, written=True)
    assert "Is it the list of another track or split?" in found[0] and "2 of 3 files" in found[0]
    (entry.path / f"{second}.bak").rename(entry.path / second)
    found = problems(entry, written=True)
    assert len(found) == 2
    assert found[0].startswith("entry/video7.txt: ") and "has no such video" in found[0]
    assert found[1].startswith(f"entry/{first}: is missing")
    (entry.path / first).mkdir()
    assert f"entry/{first}:1: cannot be read" in problems(entry, written=True)[1]


def test_the_rows_of_a_text_are_counted_where_the_list_has_images(tmp_path):
    entry = make_entry(tmp_path, "va", 1, lengths=(4,))
    (name,) = entry.lines
    images = [f"{name.removesuffix('.txt')}/{k:05d}.jpg" for k in range(1, 5)]
    entry.list.write_text("\n".join(images) + "\n")
    assert entry.write() and "4 rows" in checked(entry)
    last = entry.lines[name].pop()
    only_problem(entry, 4, "the file ends here, 1 row earlier")
    entry.lines[name] += [last, last]
    only_problem(entry, 6, "a row beyond the 4")
    entry.list.write_text("\n".join(images[1:]) + "\n")
    with pytest.raises(UserError, match=r"the last is 4.*row k is image k"):
        checked(entry)


# Lists -------------------------------------------------------------------------------------------


@somewhere
def test_the_list_of_another_split_is_one_problem(entry, k):
    entry.list.write_text("".join(f"other/{n:05d}.jpg\n" for n in range(1, k + 1)))
    only_problem(entry, 2, "11 of 11 rows in all are not in", "another track or split?")


def test_the_list_of_another_track_is_refused_by_name_and_by_header(tmp_path):
    entry = make_entry(tmp_path, "va", 5)
    entry.write()
    images = entry.list.read_text().partition("\n")[2]
    entry.list.write_text(f"{FORMS['au', 10][0]}\n{images}")
    with pytest.raises(UserError, match=r"list.txt:1: has the header of track au"):
        checked(entry)
    entry.list.write_text("valence,arousal\n0.1,0.2\n")
    with pytest.raises(UserError, match=r"header of track va, a text of one video"):
        checked(entry)
    entry.list = entry.list.with_name("CVPR_6th_ABAW_AU_test_set_example.txt")
    entry.list.write_text(images)
    with pytest.raises(UserError, match=r"by its name the list of track au, not of va"):
        checked(entry)


def test_a_list_of_names_does_not_say_which_images_count(tmp_path):
    entry = make_entry(tmp_path, "va", 5)
    entry.write()
    entry.list.write_text("video2\nvideo2_left\n")
    with pytest.raises(UserError, match=r"sample file says.*--edition=3"):
        checked(entry)


@pytest.mark.parametrize(("form", "what"), [(("va", 5), "one file"), (("va", 1), "a folder")])
def test_a_folder_for_a_file_and_the_other_way_round_is_refused(form, what, tmp_path):
    entry = make_entry(tmp_path, *form)
    entry.write()
    entry.path = tmp_path if form in ONE_FILE else entry.list
    with pytest.raises(UserError, match=f"expected {what}"):
        checked(entry)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a command is missing"),
        (["chek"], "Did you mean 'check'?"),
        (["check", "--trac=va", "--list=x", "y"], "Did you mean --track?"),
        (["check", "--track=vaa", "--list=x", "y"], "Did you mean 'va'?"),
        (["check", "--track=mtl", "--edition=2", "--list=x", "y"], "had no multi-task track"),
        (["check", "--track=va", "--edition=4", "--list=x", "y"], "the multi-task track only"),
        (["check", "--track=va", "--list=nowhere", "y"], "nowhere: cannot be read"),
        (["check", "--track=va", "--list=."], "required: PATH"),
        (["check", "--track=va", "--list=.", "y"], "no annotation texts"),
        (["write", "--track=va", "--list=x", "--out=y"], "required: --predictions"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.startswith("error: ") and err.count("\n") == 1


def test_a_check_is_quick_because_it_imports_no_jax(tmp_path):
    arguments = make_entry(tmp_path, "mtl", 4).write()
    command = [sys.executable, "-X", "importtime", "-m", "affect_jax.submission", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and "valid" in done.stdout
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "numpy" in imported and not imported & {"jax", "flax", "grain", "scipy"}


def test_a_list_that_repeats_an_image_counts_it_once(tmp_path):
    entry = make_entry(tmp_path, "va", 5)
    once = read_list(entry.list, format_of("va", 5), warn=pytest.fail)
    lines = entry.list.read_text().splitlines()
    entry.list.write_text("\n".join([*lines[:3], lines[2], *lines[3:], lines[1]]) + "\n")
    said = []
    twice = read_list(entry.list, format_of("va", 5), warn=said.append)
    assert len(said) == 1 and "taken once: line 4 is line 3, line " in said[0]
    assert twice.images == once.images
    assert {t: f.tolist() for t, f in twice.frames.items()} == {
        t: f.tolist() for t, f in once.frames.items()
    }
