"""A text of one track is labels with masks, or one line with its file and number."""

import numpy as np
import pytest

from data_pipelines import labels
from data_pipelines.errors import UserError
from tests.label_files import AU_HEADER, AUS, EXPR_HEADER, write

pytestmark = pytest.mark.filterwarnings("error")  # a warning that no test expects


@pytest.fixture
def text(tmp_path):
    return lambda *lines, **more: write(tmp_path / "video10_1_left.txt", *lines, **more)


def test_a_valence_arousal_text_gives_values_masks_and_image_numbers(text):
    track = labels.read_text(text("valence,arousal", "0.5,-0.25", "-5,-5", "-1,1"), "va")
    values, mask = track.labels["valence"]
    assert values.dtype == np.float32 and values.tolist() == [[0.5], [0.0], [-1.0]]
    assert mask.dtype == bool and mask.tolist() == [[True], [False], [True]]
    assert track.labels["arousal"][0].tolist() == [[-0.25], [0.0], [1.0]]
    assert track.frames.dtype == np.int32 and track.frames.tolist() == [1, 2, 3]


@pytest.mark.parametrize("start", [0, 4, 7])
def test_a_block_without_labels_is_masked_wherever_it_lies(text, start):
    rows = ["0.1,0.2"] * 10
    rows[start : start + 3] = ["-5,-5"] * 3
    for values, mask in labels.read_text(text("valence,arousal", *rows), "va").labels.values():
        expected = ~np.isin(np.arange(10), np.arange(start, start + 3))
        np.testing.assert_array_equal(mask[:, 0], expected)
        assert (values[~mask] == 0).all()


def test_an_expression_text_gives_classes_in_header_order(text):
    track = labels.read_text(text(EXPR_HEADER, "0", "-1", "7"), "expr")
    values, mask = track.labels["expression"]
    assert values.dtype == np.int32 and values.tolist() == [0, 0, 7]
    assert mask.tolist() == [True, False, True]


def test_an_action_unit_is_missing_for_itself(text):
    values, mask = labels.read_text(text(AU_HEADER, AUS, "-1,1" + ",0" * 10), "au").labels["au"]
    assert values.dtype == np.int8 and values.shape == (2, 12)
    assert values[0].tolist() == [0, 1] * 6 and values[1].tolist() == [0, 1] + [0] * 10
    assert mask[0].all() and mask[1].tolist() == [False] + [True] * 11


def test_a_text_of_one_row_is_a_track_of_one_frame(text):
    track = labels.read_text(text("valence,arousal", "0.1,0.2"), "va")
    assert track.frames.tolist() == [1] and track.labels["valence"][0].shape == (1, 1)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_line_ends_blank_ends_and_a_byte_order_mark_do_not_matter(text, end):
    path = text("\ufeffvalence,arousal", "0.1,0.2", "-5.0, -5", "", "", end=end)
    assert labels.read_text(path, "va").labels["arousal"][1].tolist() == [[True], [False]]


@pytest.mark.parametrize("end", ["  \n", "\t\n \n", "  ", "\n\n"])
def test_last_lines_of_blanks_are_no_rows(text, end):
    path = text("valence,arousal", "0.1,0.2", end, end="\n")
    path.write_text("valence,arousal\n0.1,0.2\n" + end)
    assert len(labels.read_text(path, "va").frames) == 1


def test_fifteen_digits_are_read_as_numbers(text):
    path = text("valence,arousal", "0.123456789012345,-1.0")
    assert labels.read_text(path, "va").labels["valence"][0][0, 0] == np.float32(0.123456789012345)


def test_a_file_without_a_last_line_end_is_named_as_possibly_cut(text, tmp_path):
    path = tmp_path / "cut.txt"
    path.write_text("valence,arousal\n0.1,0.2\n0.1,0.")
    with pytest.warns(UserWarning, match=r"cut\.txt: no line end after the last line"):
        assert len(labels.read_text(path, "va").frames) == 2


@pytest.mark.parametrize(
    ("kind", "lines", "message"),
    [
        ("va", ["arousal,valence", "0,0"], r":1: header 'arousal,valence', expected 'valence,ar"),
        ("va", ["0.1,0.2", "0.1,0.2"], ":1: header '0.1,0.2'"),
        ("va", ["valence,arousal"], "a header and no rows"),
        ("va", [""], "the file is empty"),
        ("va", ["valence,arousal", "0,0", "0"], r":3: 1 fields \('0'\), expected 2: valence,aro"),
        ("va", ["valence,arousal", "0,0,0"], ":2: 3 fields"),
        ("va", ["valence,arousal", "0,0", "", "0,0"], ":3: nothing, expected 2: valence,arousal"),
        ("va", ["valence,arousal", "0,0", "0,x"], ":3: arousal is 'x', expected a number"),
        ("va", ["valence,arousal", "0,0", "0,"], ":3: arousal is '', expected a number"),
        ("va", ["valence,arousal", "nan,0"], ":2: valence is 'nan', expected a number"),
        ("va", ["valence,arousal", "0,inf"], ":2: arousal is 'inf', expected a number"),
        ("va", ["valence,arousal", "0,0", "-5,0.5"], r":3: only one of .* is -5 \(-5, 0.5\)"),
        ("va", ["valence,arousal", "0.5,-5"], ":2: only one of valence and arousal"),
        ("va", ["valence,arousal", "1.01,0"], ":2: valence is 1.01, expected -1 to 1"),
        ("va", ["valence,arousal", "1.0000001,0"], ":2: valence is 1.0000001, expected -1 to 1"),
        ("va", ["valence,arousal", "-5,-5.0000001"], r"is -5 \(-5, -5.0000001\)"),
        ("va", ["valence;arousal", "0;0"], ":1: header .*separated by semicolons; commas are"),
        ("va", ["valence\tarousal", "0\t0"], ":1: header .*separated by tabs; commas are"),
        ("va", ["valence,arousal", "0\t0"], ":2: 1 fields .*separated by tabs; commas are"),
        ("va", ["valence,arousal", "0,5;0,3"], ":2: 3 fields .*separated by semicolons; commas"),
        ("va", ["version https://git-lfs.github.com/spec/v1"], "a pointer to a file that is not"),
        ("va", ["/annex/objects/SHA256E-s5--0.txt"], "a pointer to a file that is not here"),
        ("va", ["valence,arousal", "0,0", "0,-4.9"], ":3: arousal is -4.9, expected -1 to 1"),
        ("expr", [EXPR_HEADER, "3", "8"], ":3: expression is 8, expected 0 to 7"),
        ("expr", [EXPR_HEADER, "-2"], ":2: expression is -2, expected 0 to 7, or -1"),
        ("expr", [EXPR_HEADER, "1.5"], ":2: expression is 1.5, expected 0 to 7"),
        ("au", [AU_HEADER, AUS, "2" + ",0" * 11], ":3: AU1 is 2, expected 0 or 1, or -1"),
        ("au", [AU_HEADER, "0," * 11 + "-2"], ":2: AU26 is -2"),
        ("expr", [EXPR_HEADER, "2.0000001"], ":2: expression is 2.0000001, expected 0 to 7"),
        ("au", [AU_HEADER, "0" + ",0" * 10], ":2: 11 fields .*expected 12: AU1,AU2,...,AU26"),
    ],
)
def test_a_malformed_text_is_refused_with_file_and_line(text, kind, lines, message):
    with pytest.raises(UserError, match=rf"video10_1_left\.txt:?.*{message}"):
        labels.read_text(text(*lines), kind)


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"valence,arousal\n0.1,0.2\n\xff\xd8\n")
    with pytest.raises(UserError, match=r"a\.txt:3: byte 0xff is not UTF-8"):
        labels.read_text(path, "va")


def test_utf_16_is_named_as_the_cause(tmp_path):
    (tmp_path / "a.txt").write_text("valence,arousal\n0,0\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"a\.txt: is UTF-16 text\. Save it as UTF-8"):
        labels.read_text(tmp_path / "a.txt", "va")


def test_a_file_that_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        labels.read_text(tmp_path / "a.txt", "va")


@pytest.mark.parametrize(
    ("edition", "classes", "units"), [(1, 7, 8), (2, 7, 12), (3, 8, 12), (10, 8, 12)]
)
def test_the_edition_decides_classes_and_action_units(tmp_path, edition, classes, units):
    spec = labels.definitions(edition)
    assert (spec["expression"]["size"], spec["au"]["size"]) == (classes, units)
    expr = write(tmp_path / "e.txt", ",".join(spec["expression"]["names"]), str(classes - 1))
    au = write(tmp_path / "a.txt", ",".join(spec["au"]["names"]), ",".join(["1"] * units))
    assert labels.read_text(expr, "expr", edition=edition).labels["expression"][0] == classes - 1
    assert labels.read_text(au, "au", edition=edition).labels["au"][0].shape == (1, units)


def test_the_header_of_another_edition_says_which(text):
    path = text(",".join(labels.EXPRESSIONS[:7]), "1")
    with pytest.raises(UserError, match="in edition 4; this is the header of edition 1"):
        labels.read_text(path, "expr")


def test_an_edition_that_never_was_is_refused(text):
    with pytest.raises(UserError, match=r"edition 12: .* 1 to 11"):
        labels.read_text(text(AU_HEADER, AUS), "au", edition=12)
