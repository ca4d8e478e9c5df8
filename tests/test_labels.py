import json
import tracemalloc
import warnings

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines import labels
from data_pipelines.errors import UserError
from data_pipelines.labels.lists import MTL_HEADER
from data_pipelines.report import Report

EXPR_HEADER = ",".join(labels.EXPRESSIONS)
AU_HEADER = ",".join(labels.ACTION_UNITS)
AUS = ",".join("01" * 6)
NO_AUS = ",".join(["-1"] * 12)


@pytest.fixture(autouse=True)
def _no_silent_warnings():
    """A warning that a test does not expect is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def write(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((end.join(lines) + end).encode())
    return path


@pytest.fixture
def text(tmp_path):
    return lambda *lines, **more: write(tmp_path / "video10_1_left.txt", *lines, **more)


# Texts of one track ------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "a.txt"


@pytest.mark.parametrize("kind", ["va", "mtl", "test"])
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
def test_whatever_a_file_holds_it_is_read_or_refused_in_one_line(fuzzed, kind, data):
    good = {
        "va": ["valence,arousal", "0.1,0.2", "-5,-5"],
        "mtl": [MTL_HEADER, row("a/00001.jpg"), row("a/00002.jpg", -5, -5)],
        "test": ["image", "a/00001.jpg,", "a/00002.jpg,"],
    }[kind]
    content = bytearray("\n".join(good).encode() + b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        cut = data.draw(st.integers(0, 3))
        text = st.sampled_from(
            ["", ",", "\n", "\r", "-", "_", "e9", "\u0663", "\x0c", "/", "1", " "]
        )
        content[at : at + cut] = data.draw(text).encode() or data.draw(st.binary(max_size=2))
    fuzzed.write_bytes(bytes(content))
    read = {
        "va": lambda: labels.read_text(fuzzed, "va", warn=str),
        "mtl": lambda: labels.read_mtl(fuzzed, warn=str),
        "test": lambda: labels.read_test_list(fuzzed, warn=str),
    }[kind]
    try:
        assert read() is not None
    except UserError as error:
        assert str(error).startswith(str(fuzzed)) and "\n" not in str(error)


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("track", "group"),
    [
        ("314", "314"),
        ("video69", "video69"),
        ("10-60-1280x720", "10-60-1280x720"),
        ("10-60-1280x720_right", "10-60-1280x720"),
        ("video59_right", "video59"),
        ("video10_1_left", "video10"),
        ("video86_3", "video86"),
        ("122-60-1920x1080-2", "122-60-1920x1080-2"),
        ("my_left_hand", "my_left_hand"),
        ("speaker_1", "speaker_1"),
    ],
)
def test_people_and_parts_of_one_video_are_one_group(track, group):
    assert labels.group_of(track) == group


def test_groups_equal_those_listed_with_the_real_tracks(shared):
    file = shared / "data" / "affwild2_va" / "manifest.json"
    entries = [e for split in json.loads(file.read_text())["tracks"].values() for e in split]
    assert len(entries) == 151
    for entry in entries:
        assert labels.group_of(entry["track"]) == entry["video_group"]


# The multi-task list -----------------------------------------------------------------------------


def row(image, valence=0.1, arousal=0.2, expression=3, aus=AUS):
    return f"{image},{valence},{arousal},{expression},{aus}"


def test_each_task_of_the_multi_task_list_is_missing_for_itself(text):
    tracks = labels.read_mtl(
        text(
            MTL_HEADER,
            row("video10_1_left/00002.jpg"),
            row("video10_1_left/00007.jpg", -5, -5),
            row("video10_1_left/00031.jpg", expression=-1),
            row("314/00001.jpg", -5, -5, -1),
            row("314/00004.jpg", aus=NO_AUS),
            row("314/00005.jpg", aus="-1" + ",1" * 11),
        )
    )
    assert list(tracks) == ["video10_1_left", "314"]
    a, b = tracks.values()
    assert a.frames.tolist() == [2, 7, 31] and b.frames.tolist() == [1, 4, 5]
    assert a.labels["valence"][1][:, 0].tolist() == [True, False, True]
    assert a.labels["arousal"][0][:, 0].tolist() == [np.float32(0.2), 0.0, np.float32(0.2)]
    assert a.labels["expression"][1].tolist() == [True, True, False]
    assert a.labels["expression"][0].tolist() == [3, 3, 0]
    assert b.labels["expression"][1].tolist() == [False, True, True]
    assert b.labels["au"][1].sum(axis=1).tolist() == [12, 0, 11]
    assert b.labels["au"][0].sum(axis=1).tolist() == [6, 0, 11]


@pytest.mark.parametrize("header", ["image,valence,arousal,expression," + AU_HEADER, "x"])
def test_another_first_line_is_skipped_with_a_warning(text, header):
    with pytest.warns(UserWarning, match=r":1: skipped as the header") as caught:
        assert list(labels.read_mtl(text(header, row("a/00001.jpg")))) == ["a"]
    assert "row" not in str(caught[0].message)


def test_a_row_in_place_of_the_header_is_named_as_lost(text):
    with pytest.warns(UserWarning, match="looks like a row, which is lost"):
        tracks = labels.read_mtl(text(row("a/00001.jpg"), row("a/00002.jpg")))
    assert tracks["a"].frames.tolist() == [2]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "a header and no rows"),
        (
            [row("a/00001.jpg"), row("a/00001.jpg", 0.3)],
            ":3: image 1 of 'a' comes twice, in line 2 with other labels",
        ),
        ([row("a/00005.jpg"), row("a/00003.jpg")], ":3: image 3 of 'a' comes after image 5"),
        (
            [row("a/00001.jpg"), row("b/00001.jpg"), row("a/00002.jpg")],
            r":4: rows of 'a' go on after another video's \(they began in line 2\)",
        ),
        ([row("a/00000.jpg")], ":2: image number 0, the first image is 1"),
        ([row("a_00001.jpg")], r":2: image 'a_00001.jpg', expected <video>/<frame number>\.jpg"),
        ([row("../00001.jpg")], r":2: video '\.\.': the name is a folder's"),
        ([row("a\x1b/00001.jpg")], r":2: video 'a\\x1b': the name holds"),
        ([row("a/00001.jpg").replace(",", "\t")], ":2: image .*separated by tabs; commas are"),
        ([row("cropped/a/00001.jpg")], ":2: image 'cropped/a/00001.jpg'"),
        ([row("a/00001.jpg"), ""], None),
        ([row("a/00001.jpg"), "", row("a/00002.jpg")], ":3: image ''"),
        ([row("a/00001.jpg", -5, 0.1)], ":2: only one of valence and arousal is -5"),
        ([row("a/00001.jpg", 2)], ":2: valence is 2"),
        ([row("a/00001.jpg", expression=8)], ":2: expression is 8, expected 0 to 7"),
        ([row("a/00001.jpg", aus=AUS[:-1] + "3")], ":2: AU26 is 3"),
        (
            [row("a/00001.jpg"), "a/00002.jpg,0,0,3,1,0"],
            r":3: 5 fields after the image .* expected 15: valence,arousal,...,AU26",
        ),
        ([row("a/00001.jpg"), "a/00002.jpg"], ":3: nothing after the image, expected 15"),
    ],
)
def test_a_malformed_multi_task_list_is_refused_with_its_line(text, lines, message):
    path = text(MTL_HEADER, *lines)
    if message is None:
        assert list(labels.read_mtl(path)) == ["a"]
        return
    with pytest.raises(UserError, match=message):
        labels.read_mtl(path)


def test_a_row_that_comes_twice_is_taken_once_and_said(text):
    rows = [row("a/00001.jpg"), row("a/00002.jpg", 0.3), row("a/2.jpg", "0.30"), row("a/00005.jpg")]
    rows += [row("b/00003.jpg"), row("a/00001.jpg"), row("b/00004.jpg")]
    with pytest.warns(UserWarning, match="taken once: line 4 is line 3, line 7 is line 2"):
        tracks = labels.read_mtl(text(MTL_HEADER, *rows))
    assert tracks["a"].frames.tolist() == [1, 2, 5] and tracks["a"].again == (2, 4)
    assert tracks["b"].frames.tolist() == [3, 4] and tracks["b"].again == ()
    assert tracks["a"].labels["valence"][0][:, 0].tolist() == [
        np.float32(x) for x in (0.1, 0.3, 0.1)
    ]


def test_a_list_that_comes_twice_is_taken_once(text):
    rows = [row(f"{video}/{k:05d}.jpg", k / 10) for video in "ab" for k in range(1, 5)]
    with pytest.warns(UserWarning, match="taken once: line 10 is line 2, line 11 is line 3"):
        tracks = labels.read_mtl(text(MTL_HEADER, *rows, *rows))
    assert [track.frames.tolist() for track in tracks.values()] == [[1, 2, 3, 4]] * 2
    assert tracks["b"].again == (4, 5, 6, 7)
    with pytest.raises(UserError, match=":11: image 2 of 'a' comes twice, in line 3 with other"):
        labels.read_mtl(text(MTL_HEADER, *rows, rows[0], row("a/00002.jpg", 0.9)))
    with pytest.raises(UserError, match=r":11: rows of 'a' go on .* began in line 2"):
        labels.read_mtl(text(MTL_HEADER, *rows, rows[0], row("a/00005.jpg")))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_list_of_any_line_ends_is_read_line_by_line(tmp_path, end):
    lines = [MTL_HEADER, row("a/1.jpg"), row("a/2.jpg"), row("b/1.jpg"), "", " "]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbf" + end.join(lines).encode())
    tracks = labels.read_mtl(tmp_path / "list.txt")
    assert {name: track.frames.tolist() for name, track in tracks.items()} == {
        "a": [1, 2],
        "b": [1],
    }


def test_memory_does_not_grow_with_a_list(text):
    """Bytes a row more that reading takes at its peak: image numbers, and little else."""
    peaks = []
    for videos in (5, 25):
        lines = [row(f"{video}/{k:05d}.jpg") for video in range(videos) for k in range(1, 201)]
        path = text(MTL_HEADER, *lines)
        del lines
        tracemalloc.start()
        labels.read_mtl(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (20 * 200) < 30


def test_names_with_accents_apart_are_composed_and_said(text):
    with pytest.warns(UserWarning, match=r"accents apart \(NFD\)"):
        assert list(labels.read_mtl(text(MTL_HEADER, row("u\u0308/00001.jpg")))) == ["\xfc"]


# Test lists --------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [["image"], ["image_location,valence,arousal"], []])
@pytest.mark.parametrize("tail", ["", ",", ",0.5,-0.5"])
def test_a_list_of_images_gives_the_images_of_each_track(text, header, tail):
    images = ["a/00001.jpg", "a/00004.jpg", "video10_1_left/00002.jpg"]
    listed = labels.read_test_list(text(*header, *(image + tail for image in images)))
    assert {track: frames.tolist() for track, frames in listed.items()} == {
        "a": [1, 4],
        "video10_1_left": [2],
    }


@pytest.mark.parametrize("header", [["video"], []])
def test_a_list_of_names_gives_tracks_of_unknown_length(text, header):
    assert labels.read_test_list(text(*header, "314", "video2_left,")) == {
        "314": None,
        "video2_left": None,
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a;0", "b;1"], ":1: 'a;0', .* by semicolons; commas"),
        (["a/2.jpg", "a/01.jpg"], ":2: image 1 of 'a' comes after image 2"),
        (["a", "", "b"], ":2: '', expected the name of a video"),
        (["a", "b/00001.jpg"], ":2: 'b/00001.jpg', expected the name of a video"),
        (["a/00001.jpg", "b"], ":2: image 'b', expected <video>"),
        (["image"], "a header and no rows"),
    ],
)
def test_a_malformed_test_list_is_refused_with_its_line(text, lines, message):
    with pytest.raises(UserError, match=message):
        labels.read_test_list(text(*lines))


@pytest.mark.parametrize("name", ["a", "a/00001.jpg,"])
def test_what_a_list_names_twice_is_taken_once_and_said(text, name):
    with pytest.warns(UserWarning, match="taken once: line 3 is line 2"):
        assert list(labels.read_test_list(text("image", name, name))) == ["a"]


# Folders -----------------------------------------------------------------------------------------


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
