import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.errors import UserError
from data_pipelines.plan import FILLING, Plan, reconstruct, segments, windows

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


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(1, 6), st.booleans(), st.integers(0, 3))
def test_an_epoch_feeds_every_row_once(lengths, batch, lanes, epoch):
    plan = Plan(segments(lengths, 7), batch, seed=3, shuffle=True, lanes=lanes, multiple_of=4)
    table = plan.epoch(epoch)
    assert table.shape[1] % 4 == 0 and table.shape[1] >= batch
    assert sorted(table[table != FILLING]) == list(range(len(plan.rows)))


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(1, 5))
def test_a_lane_goes_on_in_its_track_until_the_track_ends(lengths, batch):
    rows = segments(lengths, 4)
    table = Plan(rows, batch, shuffle=True, lanes=True).epoch(0)
    for lane in table.T:
        lane = lane[lane != FILLING]
        for before, after in zip(lane, lane[1:], strict=False):
            assert after == before + 1 if not rows.first[after] else True
            assert rows.first[after] or rows.track[after] == rows.track[before]


def test_the_order_follows_from_seed_and_epoch_alone():
    plan = Plan(segments([50, 40], 4), 3, seed=1, shuffle=True)
    assert (plan.epoch(5) == plan.epoch(5)).all()
    assert (plan.epoch(5) != plan.epoch(6)).any()
    other = Plan(plan.rows, 3, seed=2, shuffle=True)
    assert (plan.epoch(5) != other.epoch(5)).any()


@pytest.mark.parametrize("stride", [1, 3])
def test_segments_are_put_together_again(stride):
    track = np.random.default_rng(0).normal(size=(23, 2)).astype(np.float32)
    rows = segments([5, 23], 4, tracks=np.array([1]), stride=stride)
    outputs = np.full((len(rows), 4, 2), np.nan, np.float32)
    for r in range(len(rows)):
        outputs[r, : rows.sizes[r]] = track[rows.frames(r)]
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(reconstruct(rows, order, outputs[order], 23), track)


def test_a_frame_in_several_windows_gets_their_mean():
    rows = windows([6], 4, 2)
    outputs = np.array([[0.0, 0, 0, 0], [1, 1, 2, 2]])
    assert reconstruct(rows, np.arange(2), outputs, 6).tolist() == [0, 0, 0.5, 0.5, 2, 2]


def test_a_window_shorter_than_its_hop_is_refused():
    with pytest.raises(UserError, match="hop 5 is longer than the window"):
        windows([10], 4, 5)
    with pytest.raises(UserError, match="length must be at least 1"):
        segments([10], 0)
