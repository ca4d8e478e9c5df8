import numpy as np
import pytest

from affect_jax.check import check
from affect_jax.data import Data
from data_pipelines.errors import UserError
from data_pipelines.statistics import Statistics
from tests.stores import small_store
from tests.streams import clips_store, tracks_store
from tests.tiny import tiny_config, tiny_system


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s")


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    return tracks_store(tmp_path_factory.mktemp("store") / "t")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return clips_store(tmp_path_factory.mktemp("store") / "c")


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


def test_a_rule_for_rows_that_overlap_needs_such_rows(store):
    with pytest.raises(UserError, match="overlap = 'midle': .*Known: mean, center_weighted"):
        tiny_system(store.path, data__hop=2, data__overlap="midle").data.rows("train")
    with pytest.raises(UserError, match="overlap = 'last': rows overlap with config.data.hop or"):
        tiny_system(store.path, data__overlap="last").data.rows("train")


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


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (dict(hop_seconds=0.5, seconds=1), "hop_seconds and config.data.clips exclude each other"),
        (dict(stride=2), "stride and config.data.clips exclude each other"),
        (dict(lanes=True), "lanes and config.data.clips exclude each other"),
        (dict(random_start=True), "random_start: clips are fed whole"),
        (dict(normalise="track"), "normalise = 'track': feature 'x' has one row in each clip"),
    ],
)
def test_keys_that_would_do_nothing_to_clips_are_refused(clips, keys, said):
    config = tiny_config(clips.path, data__clips=True, model__features="x,audio")
    config.data.update(keys)
    with pytest.raises(UserError, match=said):
        Data(config, ()).rows("train")


def test_too_large_a_batch_of_clips_is_made_smaller_by_shorter_clips(clips):
    config = tiny_config(clips.path, data__clips=True, data__seconds=0.5, model__features="audio")
    config.data.eval_batch_size = 1_000_000_000
    data = Data(config, ())
    with pytest.raises(UserError, match=r"a batch of clips takes .*: config.data.seconds = 0.5\."):
        data.evaluation_plan(data.rows("train"), carries=False)


def test_a_table_is_spread_once(streams):
    config = tiny_config(streams.path, tasks="valence", data__spread="words:mean,words:nearest")
    config.model.features = ("words",)
    with pytest.raises(UserError, match="names a table twice"):
        Data(config, ()).source()


def test_a_model_of_frames_refuses_clips_and_streams_with_rows_of_their_own(streams, clips):
    for features, said in (
        ("x,audio", "'audio' has rows of its own.* 'multitask' reads features of frames. Leave"),
        ("x,words", "'words' has rows of its own.*data.spread=words:nearest"),
    ):
        with pytest.raises(UserError, match=said):
            tiny_system(streams.path, tasks="valence", model__features=features)
    tiny_system(streams.path, tasks="valence", model__features="x,words", data__spread="words:mean")
    with pytest.raises(UserError, match="data.clips: config.model.name = 'multitask' reads frames"):
        tiny_system(clips.path, tasks="valence", model__features="x", data__clips=True)


def test_statistics_of_a_run_are_of_the_streams_that_are_floats(streams):
    config = tiny_config(streams.path, model__features="x,quiet,face,audio")
    data = Data(config, ())
    assert set(data.statistics.mean) == {"x", "quiet"}
    assert Data(config, (), data.statistics).statistics is data.statistics
    mean, std = dict(data.statistics.mean), dict(data.statistics.std)
    for name, value, said in (
        ("x", np.zeros(4), r"'x' is floats \[3\], the run was trained on floats \[4\]"),
        ("face", np.zeros((4, 3, 1)), "'face' is integers, the run was trained on floats"),
        ("quiet", None, r"'quiet' is floats \[\], the run was trained on integers"),
    ):
        changed = {k: v for k, v in (mean | {name: value}).items() if v is not None}
        with pytest.raises(UserError, match=said):
            Data(config, (), Statistics(changed, std))
