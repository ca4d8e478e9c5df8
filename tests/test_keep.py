import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.keep import kept_rows, write_kept
from data_pipelines.rows import clips, segments, windows
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Tracks "a", "b, c" and "d" of 9, 7 and 1 images, every second of which is there."""
    path = tmp_path_factory.mktemp("store") / "s"
    with StoreWriter(path, name="named", features={"x": dict(size=1)}, labels={}) as writer:
        for name, frames in (("a", 9), ("b, c", 7), ("d", 1)):
            images = 2 * np.arange(frames) + 1
            x = np.zeros((frames, 1))
            writer.add(track=name, split="train", features={"x": x}, frames=images)
    return Store(path)


def kept(folder, store, text, **rule):
    file = folder / "keep.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    rows = segments([track.frames for track in store.tracks], 4, **rule)
    chosen = rows.chosen(kept_rows(str(file), store, rows))
    return list(zip(chosen.track.tolist(), chosen.start.tolist(), strict=True))


def test_rows_of_named_tracks_are_kept_and_rows_that_hold_a_named_image(tmp_path, store):
    assert kept(tmp_path, store, "a\n") == [(0, 0), (0, 4), (0, 8)]
    assert kept(tmp_path, store, "a,9\nd\n") == [(0, 4), (2, 0)]
    assert kept(tmp_path, store, "a,7\na,9\na,7\na,17") == [(0, 0), (0, 4), (0, 8)]
    assert kept(tmp_path, store, "a\na,1\n") == [(0, 0), (0, 4), (0, 8)]


def test_a_row_is_kept_for_its_first_and_last_image_and_others_that_share_them_are_not(
    tmp_path, store
):
    assert kept(tmp_path, store, "a,1,7\nb, c, 9 ,13\n") == [(0, 0), (1, 4)]
    assert kept(tmp_path, store, "a,5,17\n", stride=3) == [(0, 2)]  # the images 5, 11 and 17
    rows = windows([9, 7, 1], 4, 2)
    (tmp_path / "keep.txt").write_text("a,5,11\nd,1,1\n")
    chosen = rows.chosen(kept_rows(str(tmp_path / "keep.txt"), store, rows))
    assert [(t, *x) for t, *x in zip(chosen.track, chosen.start, chosen.stop)] == [
        (0, 2, 6),
        (2, 0, 1),
    ]


def test_a_stretch_of_a_track_that_has_no_rows_here_is_passed_over(tmp_path, store):
    rows = segments([9, 7, 1], 4).of_tracks(np.array([0]))
    (tmp_path / "keep.txt").write_text("b, c,2,99\na,9,15\n")
    assert kept_rows(str(tmp_path / "keep.txt"), store, rows).tolist() == [1]


def test_a_row_that_skips_frames_is_kept_for_those_that_it_feeds(tmp_path, store):
    # Phases of every third frame: the images 1, 7, 13; 3, 9, 15; 5, 11, 17.
    assert kept(tmp_path, store, "a,9\n", stride=3) == [(0, 1)]
    assert kept(tmp_path, store, "a,17\n", stride=3) == [(0, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "b, c\r\n\r\nd\r\n",
        b"\xef\xbb\xbfb, c\nd",
        "\n\n b, c \n\nd\n\n",
        "b, c\nd\nb, c\n",
        "b, c,1\nb, c, 13 \nd,1\n",
    ],
)
def test_line_ends_marks_blank_lines_and_commas_in_names_do_not_matter(tmp_path, store, text):
    assert kept(tmp_path, store, text) == [(1, 0), (1, 4), (2, 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\nb\n", ":2: 'b' is no track, or track,frame, or track,start,stop. "),
        ("a,1,2,3\n", ":1: 'a,1,2,3' is no track"),
        ("aa,1,7\n", "stop. Did you mean 'a'?"),
        ("a\na,1,5\n", ":2: no row of track 'a' is images 1 to 5. Its rows are 1 to 7, 9 to 15, "),
        ("track,frame\na\n", ":1: 'track,frame' is no track"),
        ("a\n\na,1\na,2\n", ":4: track 'a' has no image 2."),
        ("a,0\n", ":1: track 'a' has no image 0."),
        ("a,99\n", ":1: track 'a' has no image 99."),
        ("a,1.0\n", ":1: 'a,1.0' is no track"),
        ("a," + "9" * 5000, ":1: 'a,9999"),
    ],
)
def test_a_line_that_names_nothing_is_told_by_its_number(tmp_path, store, text, said):
    with pytest.raises(UserError, match="keep.txt.*") as error:
        kept(tmp_path, store, text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_list_without_a_row_of_the_training_is_refused(tmp_path, store):
    rows = segments([track.frames for track in store.tracks], 4).of_tracks(np.array([0, 1]))
    (tmp_path / "keep.txt").write_text("d\n")
    with pytest.raises(UserError, match="keeps no row of the training split"):
        kept_rows(str(tmp_path / "keep.txt"), store, rows)


@pytest.mark.parametrize("rule", [dict(length=1), dict(length=4), dict(length=2, stride=3)])
def test_a_list_that_is_written_keeps_the_same_rows(tmp_path, store, rule):
    rows = segments([track.frames for track in store.tracks], **rule)
    rng = np.random.default_rng(0)
    for count in (1, 3, len(rows)):
        chosen = np.sort(rng.choice(len(rows), count, replace=False))
        write_kept(tmp_path / "keep.txt", store, rows, chosen)
        np.testing.assert_array_equal(kept_rows(str(tmp_path / "keep.txt"), store, rows), chosen)
        write_kept(tmp_path / "mask.txt", store, rows, np.isin(np.arange(len(rows)), chosen))
        assert (tmp_path / "mask.txt").read_bytes() == (tmp_path / "keep.txt").read_bytes()


def test_a_list_of_no_row_is_an_empty_file_that_nothing_is_trained_on(tmp_path, store):
    rows = segments([9, 7, 1], 4)
    write_kept(tmp_path / "keep.txt", store, rows, np.zeros(len(rows), bool))
    assert (tmp_path / "keep.txt").read_bytes() == b""
    with pytest.raises(UserError, match="keep.txt: is empty, as a selector that retains no row"):
        kept_rows(str(tmp_path / "keep.txt"), store, rows)


def test_rows_that_overlap_are_listed_by_their_first_and_last_image(tmp_path, store):
    rows = windows([9, 7, 1], 4, 3)
    for chosen in ([1], [0, 2, 5], [*range(6)]):
        write_kept(tmp_path / "keep.txt", store, rows, np.array(chosen))
        np.testing.assert_array_equal(kept_rows(str(tmp_path / "keep.txt"), store, rows), chosen)
    assert (tmp_path / "keep.txt").read_text() == (
        "a,1,7\na,7,13\na,11,17\nb, c,1,7\nb, c,7,13\nd\n"
    )


def test_a_track_of_one_row_is_listed_by_its_name_alone(tmp_path, store):
    write_kept(tmp_path / "keep.txt", store, segments([9, 7, 1], 8), np.array([0, 2, 3]))
    assert (tmp_path / "keep.txt").read_text() == "a,1\nb, c\nd\n"


def test_names_that_no_line_can_hold_are_refused_and_nothing_is_left(tmp_path):
    with StoreWriter(tmp_path / "s", name="odd", features={}, labels={}) as writer:
        for name, frames in (("a", 2), ("a,1", 1)):
            writer.add(track=name, split="train", features={}, frames=np.arange(frames) + 1)
    odd, rows = Store(tmp_path / "s"), segments([2, 1], 1)
    write_kept(tmp_path / "keep.txt", odd, rows, np.array([1, 2]))
    with pytest.raises(UserError, match=r"tracks cannot be listed one a line.*: a,1. Rename"):
        write_kept(tmp_path / "odd.txt", odd, rows, np.array([0]))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keep.txt", "s"]


def test_spaces_around_a_name_are_a_part_of_it(tmp_path):
    names = ("b", " b", "b ", " c ")
    with StoreWriter(tmp_path / "s", name="odd", features={}, labels={}) as writer:
        for name in names:
            writer.add(track=name, split="train", features={}, frames=np.array([1, 2]))
    odd = Store(tmp_path / "s")
    for rows in (clips([2] * 4), segments([2] * 4, 1)):
        for row in range(len(rows)):
            write_kept(tmp_path / "keep.txt", odd, rows, np.array([row]))
            assert kept_rows(str(tmp_path / "keep.txt"), odd, rows).tolist() == [row]
