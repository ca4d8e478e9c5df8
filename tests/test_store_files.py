"""The files of a store while it is written: memory, tracks that fail, and masks that begin late."""

import tracemalloc

import numpy as np
import pytest

from data_pipelines import store_files, verify
from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

PICTURES = {"face": dict(shape=(64, 64), dtype="uint8")}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def writer(path, features=PICTURES, labels=None):
    return StoreWriter(path, name="toy", features=features, labels=labels or {})


def pieces(number, then=None):
    for i in range(number):
        yield np.full((16, 64, 64), i, np.uint8)
    if then is not None:
        raise then


def test_a_track_in_pieces_takes_the_memory_of_one(path):
    with writer(path) as into:
        into.add(track="small", split="train", features={"face": pieces(1)})
        tracemalloc.start()
        into.add(track="large", split="train", features={"face": pieces(64)})
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 * 16 * 64 * 64  # of 64 pieces
    rows = Store(path).feature("face")[16:]
    np.testing.assert_array_equal(rows[:, 5, 7], np.repeat(np.arange(64), 16))


@pytest.mark.parametrize("error", [UserError("damaged"), KeyboardInterrupt(), OSError("full")])
def test_a_track_that_fails_in_the_middle_leaves_nothing_of_itself(path, error):
    features = {"voice": dict(size=1), **PICTURES, "words": dict(size=1, axis="table")}
    labels = {"valence": dict(kind="values", size=1)}

    def add(into, track, rows, face, **more):
        x = {"voice": np.ones(rows), "face": face, "words": np.ones((2, 1))}
        given = dict(features=x, labels={"valence": np.zeros(rows)}, spans={"words": [[0, 1]] * 2})
        into.add(track=track, split="train", **{**given, **more})

    with writer(path, features, labels) as into:
        add(into, "a", 32, pieces(2))
        with pytest.raises(type(error)):
            add(into, "b", 48, pieces(2, error), feature_masks={
                "voice": np.arange(48) > 3, "face": np.arange(48) > 3})  # fmt: skip
        add(into, "b", 16, pieces(1), feature_masks={"voice": np.arange(16) > 3})
    store = Store(path)
    assert [(t.name, t.frames, t.rows["words"]) for t in store.tracks] == [
        ("a", 32, (0, 2)),
        ("b", 16, (2, 2)),
    ]
    assert store.feature_mask("face") is None and not (path / "features/face.mask.npy").exists()
    assert store.feature_mask("voice").tolist() == [True] * 32 + [False] * 4 + [True] * 12
    np.testing.assert_array_equal(store.feature("face")[:, 0, 0], np.repeat([0, 1, 0], 16))
    assert verify.check(store).problems == []


@pytest.mark.parametrize("at_once", [3, 1 << 20])
def test_a_mask_begins_with_the_first_gap_and_not_before(path, monkeypatch, at_once):
    monkeypatch.setattr(store_files, "_AT_ONCE", at_once)
    features = {"voice": dict(size=1), "face": dict(size=1)}
    with writer(path, features) as into:
        masks = [path.parent.glob("*/new/features/*.mask.npy") for _ in range(3)]
        for track in "ab":
            x = {"voice": np.ones(4), "face": np.ones(4)}
            into.add(track=track, split="train", features=x,
                     feature_masks={"voice": np.ones(4)})  # fmt: skip
        assert not list(masks[0])
        into.add(track="c", split="train", features={"face": np.ones(4), "voice": iter(
            np.ones((4, 1)))}, feature_masks={"voice": [1, 1, 0, 1]})  # fmt: skip
        assert [file.name for file in masks[1]] == ["voice.mask.npy"]
        into.add(track="d", split="train", features={"voice": np.ones(4)})
    store = Store(path)
    assert store.feature_mask("voice").tolist() == [True] * 10 + [False] + [True] * 5
    assert store.feature_mask("face").tolist() == [True] * 12 + [False] * 4
    assert verify.check(store).notes[0] == "feature 'voice' has gaps in c (1 of 4)"
