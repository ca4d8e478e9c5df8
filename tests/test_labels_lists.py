"""Lists of the multi-task challenge and of test splits, and what any file may hold."""

import tracemalloc

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines import labels
from data_pipelines.errors import UserError
from data_pipelines.labels.lists import MTL_HEADER
from tests.label_files import AU_HEADER, AUS, NO_AUS, row, write

pytestmark = pytest.mark.filterwarnings("error")  # a warning that no test expects


@pytest.fixture
def text(tmp_path):
    return lambda *lines, **more: write(tmp_path / "video10_1_left.txt", *lines, **more)


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
