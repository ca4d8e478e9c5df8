import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.folds import cut, deal, names
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter


def make(folder, *, videos=30, pairs=6, order=1):
    """Videos of 1 to 400 frames; the first `pairs` of them with a person to each side."""
    rng = np.random.default_rng(3)
    tracks = []
    for i in range(videos):
        video = f"video{i}_1"
        for track in (f"{video}_left", f"{video}_right") if i < pairs else (video,):
            n = int(np.exp(rng.uniform(0, 6)))
            valence = np.where(rng.random(n) < rng.random(), np.nan, 0.5)
            tracks.append((track, video, n, valence))
    features, labels = {"a": dict(size=1)}, dict(valence=dict(size=1))
    labels["valence"]["kind"] = "values"
    with StoreWriter(folder, name="Aff-Wild2", features=features, labels=labels) as writer:
        for track, group, n, valence in tracks[::order]:
            x = {"a": np.zeros((n, 1))}
            writer.add(
                track=track, split="train", group=group, features=x, labels={"valence": valence}
            )
        writer.add(track="v", split="validation", features={"a": np.zeros((5, 1))})
    return Store(folder)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make(tmp_path_factory.mktemp("store") / "s")


def test_folds_share_no_video_and_hold_left_and_right_together(store):
    view = cut(store, "train", 5, seed=0)
    assert view.splits == tuple(dict.fromkeys(t.split for t in view.tracks))
    assert set(view.splits) == {*names(5), "validation"}
    videos = [{view.tracks[i].group for i in view.split(name)} for name in names(5)]
    assert sum(map(len, videos)) == len(set.union(*videos)) == 30
    fold_of = {track.name: track.split for track in view.tracks}
    for i in range(6):
        assert fold_of[f"video{i}_1_left"] == fold_of[f"video{i}_1_right"]
    assert [t.offset for t in view.tracks] == [t.offset for t in store.tracks]
    assert store.splits == ("train", "validation")


def test_folds_have_as_many_videos_frames_and_labels(store):
    mask = store.label("valence")[1][:, 0]
    for seed in range(4):
        fold = deal(store, "train", 5, seed)
        assert np.bincount(list(fold.values())).tolist() == [6] * 5
        frames, labelled = np.zeros(5), np.zeros(5)
        for i in store.split("train"):
            track = store.tracks[i]
            frames[fold[track.group]] += track.frames
            labelled[fold[track.group]] += mask[track.span].sum()
        for part in (frames, labelled):
            assert np.ptp(part) < 0.2 * part.mean()


def test_the_deal_follows_from_groups_and_seed_alone(store, tmp_path):
    first = deal(store, "train", 5, seed=0)
    assert deal(store, "train", 5, seed=0) == first != deal(store, "train", 5, seed=1)
    assert deal(make(tmp_path / "s", order=-1), "train", 5, seed=0) == first


def test_a_split_that_was_cut_is_all_of_its_folds(store):
    view = cut(store, "train", 3, 0)
    assert "train" not in view.splits
    np.testing.assert_array_equal(view.split("train"), store.split("train"))
    np.testing.assert_array_equal(view.split("train+fold1+validation"), range(len(view.tracks)))
    with pytest.raises(UserError, match="no split 'fold4'. .* made of the split config.folds.cut"):
        view.split("fold4")


def test_a_store_without_the_split_stays_as_it_is(store):
    assert cut(store, "", 5, 0) is store and cut(store, "train+test", 5, 0) is store
