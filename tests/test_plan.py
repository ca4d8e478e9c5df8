import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.plan import FILLING, Plan
from data_pipelines.rows import segments

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


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


def test_a_subset_is_fed_alone_in_an_order_of_its_own():
    rows = segments([50, 40], 4)
    plan, some = Plan(rows, 4, seed=1, shuffle=True), np.array([7, 2, 11, 20, 3])
    table = plan.epoch(0, some)
    assert table.shape == (2, 4) and sorted(table[table >= 0]) == sorted(some)
    assert (table != plan.epoch(1, some)).any()
    in_order = Plan(rows, 4).epoch(0, some)
    assert in_order[in_order >= 0].tolist() == some.tolist()
    assert Plan(rows, 4).epoch(0, some[:0]).shape == (0, 4)
    with pytest.raises(ValueError, match="lanes"):
        Plan(rows, 4, lanes=True).epoch(0, some)


def test_a_last_batch_that_is_not_full_is_left_out_where_that_is_asked_for():
    plan = Plan(segments([50, 41], 4), 4, shuffle=True, drop_last=True)
    table = plan.epoch(3)
    assert len(plan.rows) == 24 and table.shape == (6, 4)
    table = plan.epoch(3, np.arange(23))
    assert table.shape == (5, 4) and (table >= 0).all() and len(np.unique(table)) == 20
