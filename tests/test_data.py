import pytest

from affect_jax.check import check
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.tiny import tiny_system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s")


def longest(store):
    return max(track.frames for track in store.tracks)


@pytest.mark.parametrize("stride", [1, 3])
def test_a_row_is_never_longer_than_the_longest_track_needs(store, stride):
    system = tiny_system(store.path, data__length=100_000, data__stride=stride)
    for split in store.splits:
        rows = system.data.rows(split)
        assert rows.length == -(-longest(store) // stride)
        assert rows.sizes.max() <= rows.length and rows.sizes.sum() == sum(
            store.tracks[t].frames for t in store.split(split)
        )
        # One row a track and phase: none continues another, so that nothing is carried.
        assert rows.first.all()
    assert system.data.example(2)["mask"].shape == (2, rows.length)


def test_rows_that_the_longest_track_fills_keep_their_length(store):
    assert tiny_system(store.path).data.rows("train").length == 4
    exact = tiny_system(store.path, data__length=longest(store)).data.rows("validation")
    assert exact.length == longest(store)


def test_windows_longer_than_all_tracks_are_one_a_track(store):
    rows = tiny_system(store.path, data__length=5000, data__hop=4000).data.rows("train")
    assert rows.length == longest(store) and len(rows) == len(store.split("train"))
    with pytest.raises(UserError, match=r"config.data.hop = 9: is longer than .*length = 8"):
        tiny_system(store.path, data__length=8, data__hop=9).data.rows("train")


def test_a_system_without_tasks_or_losses_of_its_own_is_refused(store):
    with pytest.raises(UserError, match="config.tasks is empty: name what is predicted. Known: "):
        check(tiny_system(store.path, tasks=""))


@pytest.mark.parametrize("key", ["batch_size", "eval_batch_size"])
def test_a_batch_that_no_machine_holds_is_refused_before_its_plan_is_made(store, key):
    system = tiny_system(store.path, **{f"data__{key}": 1_000_000_000})
    with pytest.raises(UserError, match=rf"config.data.{key} = 1000000000: a batch of rows of 4"):
        if key == "batch_size":
            system.data.training_plan(carries=False)
        else:
            system.data.evaluation_plan(system.data.rows("train"), carries=False)
