from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import UserError
from data_pipelines.rows import clips, in_seconds, segments, windows
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 12), st.integers(1, 4))
def test_segments_hold_every_frame_exactly_once(lengths, length, stride):
    rows = segments(lengths, length, stride=stride)
    seen = [np.zeros(n, int) for n in lengths]
    for r in range(len(rows)):
        seen[rows.track[r]][rows.frames(r)] += 1
        assert 1 <= rows.sizes[r] <= length == rows.length
    assert all((s == 1).all() for s in seen)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(2, 12), st.data())
def test_windows_cover_every_frame_and_never_leave_the_track(lengths, length, data):
    hop = data.draw(st.integers(1, length))
    tail = data.draw(st.sampled_from(["shift", "pad"]))
    rows = windows(lengths, length, hop, tail=tail)
    seen = [np.zeros(n, int) for n in lengths]
    for r in range(len(rows)):
        seen[rows.track[r]][rows.frames(r)] += 1
    assert all((s >= 1).all() for s in seen)
    assert (rows.stop <= np.array(lengths)[rows.track]).all() and (rows.start >= 0).all()


def test_windows_that_drop_the_tail_are_all_whole():
    rows = windows([10, 3], 4, 3, tail="drop")
    assert rows.start.tolist() == [0, 3, 6, 0] and rows.stop.tolist() == [4, 7, 10, 3]


def test_the_first_row_of_each_track_and_phase_is_marked():
    assert segments([10, 3, 17], 5).first.tolist() == [1, 0, 1, 1, 0, 0, 0]
    assert segments([10], 3, stride=2).first.tolist() == [1, 0, 1, 0]


def test_a_window_shorter_than_its_hop_is_refused():
    with pytest.raises(UserError, match="hop 5 is longer than the window"):
        windows([10], 4, 5)
    with pytest.raises(UserError, match="length must be at least 1"):
        segments([10], 0)


def timed_store(path, tracks):
    """A store of one frame-wise feature; tracks are (image numbers, frames a second)."""
    with StoreWriter(path, name="timed", features={"x": dict(size=1)}, labels={}) as writer:
        for i, (images, fps) in enumerate(tracks):
            x = np.zeros((len(images), 1))
            writer.add(track=f"t{i}", split="train", features={"x": x}, frames=images, fps=fps)
    return Store(path)


def test_windows_of_seconds_hold_the_frames_shown_in_them_by_exact_rates(tmp_path):
    images = np.arange(1, 31 * 8)
    store = timed_store(tmp_path / "s", [(images, "30000/1001"), (images[::7], 25)])
    rows = in_seconds(store, Fraction(2), Fraction(1))
    for row in range(len(rows)):
        fps = store.tracks[rows.track[row]].fps
        begin = Fraction(*rows.begin[row].tolist())
        shown = store.frames[store.tracks[rows.track[row]].span]
        inside = [begin <= Fraction(int(n) - 1) / fps < begin + 2 for n in shown]
        assert rows.frames(row).tolist() == np.flatnonzero(inside).tolist()
    assert rows.length == rows.sizes.max() == 60  # 29.97 frames a second: 59 or 60
    # A whole window at each second, and one that ends with the track.
    end = Fraction(int(images[-1])) * 1001 / 30000
    begins = [Fraction(*pair) for pair in rows.begin[rows.track == 0].tolist()]
    assert begins == [*range(int(end) - 1), end - 2]


def test_rows_of_seconds_end_to_end_hold_every_frame_once(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 100), 29.97), (np.arange(1, 8) * 9, 10)])
    rows = in_seconds(store, Fraction(3, 2))
    for track, entry in enumerate(store.tracks):
        own = [r for r in range(len(rows)) if rows.track[r] == track]
        assert np.concatenate([rows.frames(r) for r in own]).tolist() == list(range(entry.frames))
    # 7.2 seconds of 9 images each: rows without a labelled frame do not exist.
    assert (rows.sizes > 0).all()


def test_rows_of_seconds_that_no_binary_number_is_begin_exactly(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 400), "24000/1001")])
    seconds = Fraction("0.123456789")
    rows = in_seconds(store, seconds, Fraction("0.1"))
    end = Fraction(399 * 1001, 24000)
    assert Fraction(*rows.begin[-1].tolist()) == end - seconds
    assert Fraction(*rows.begin[-2].tolist()) == Fraction(165, 10)


def test_rows_of_seconds_are_a_frame_apart_at_least(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 9), 30), (np.arange(1, 9), 25)])
    for seconds, hop in ((Fraction(1, 26), None), (Fraction(1), Fraction(1, 10**9))):
        with pytest.raises(UserError, match="a frame of track 't.' takes 0.0"):
            in_seconds(store, seconds, hop)
    assert (in_seconds(store, Fraction(1, 25)).sizes > 0).all()


def test_rows_of_any_number_of_seconds_are_as_long_as_the_longest_track(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 9), 30), (np.arange(1, 5), 25)])
    rows = in_seconds(store, Fraction(10) ** 300, Fraction(1))
    assert rows.length == 8 and rows.sizes.tolist() == [8, 4]


def test_rows_of_seconds_need_a_rate(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 9), None)])
    with pytest.raises(UserError, match="track 't0' has no frames per second"):
        in_seconds(store, Fraction(1))


def test_a_clip_is_a_row_of_its_own_and_begins_its_track():
    rows = clips([1, 1, 1])
    assert rows.clip and rows.length == 1 and rows.first.all() and rows.sizes.tolist() == [1, 1, 1]


def test_chosen_rows_keep_their_time(tmp_path):
    store = timed_store(tmp_path / "s", [(np.arange(1, 50), 10), (np.arange(1, 30), 10)])
    rows = in_seconds(store, Fraction(1))
    some = rows.of_tracks(np.array([1]))
    assert set(some.track) == {1} and len(some.begin) == len(some) == 3
