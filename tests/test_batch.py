import copy
import dataclasses

import numpy as np
import pytest

from data_pipelines.batch import Source, Statistics, assemble
from data_pipelines.errors import UserError
from data_pipelines.plan import FILLING, segments
from data_pipelines.store import Store
from data_pipelines.stream import stream
from tests.stores import LABELS, small_store

TASKS = tuple(LABELS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s", gaps=True)


def rows_of(store, length=5):
    return segments([t.frames for t in store.tracks], length)


def test_a_batch_holds_its_rows_and_zeros_elsewhere(store):
    rows = rows_of(store)
    source = Source(store, ("a", "b"), TASKS)
    batch = assemble(source, rows, np.array([2, FILLING, 5]))
    assert batch["inputs"]["a"].shape == (3, 5, 5) and batch["labels"]["au"].shape == (3, 5, 12)
    assert batch["row"].tolist() == [2, FILLING, 5]
    for b, row in ((0, 2), (2, 5)):
        track, n = store.tracks[rows.track[row]], rows.sizes[row]
        where = track.offset + rows.frames(row)
        np.testing.assert_array_equal(batch["inputs"]["a"][b, :n], store.feature("a")[where])
        np.testing.assert_array_equal(batch["label_mask"]["au"][b, :n], store.label("au")[1][where])
        assert batch["mask"][b].tolist() == [True] * n + [False] * (5 - n)
        assert not batch["inputs"]["a"][b, n:].any() and not batch["label_mask"]["au"][b, n:].any()
        assert batch["start"][b] == rows.first[row]
    assert not batch["mask"][1].any() and not batch["inputs"]["a"][1].any()


def test_only_features_with_gaps_have_a_mask_and_their_gaps_are_zero(store):
    rows = rows_of(store)
    source = Source(store, ("a", "b"), normalise="track")
    batch = assemble(source, rows, np.arange(len(rows)))
    assert list(batch["inputs_mask"]) == ["b"]
    gap = batch["mask"] & ~batch["inputs_mask"]["b"]
    assert gap.any() and not batch["inputs"]["b"][gap].any()


def test_training_statistics_equal_those_of_the_joined_frames(store):
    tracks = store.split("train")
    statistics = Statistics.of(store, ["a", "b"], tracks)
    mask = store.feature_mask("b")
    rows = np.concatenate(
        [np.arange(t.offset, t.offset + t.frames) for t in (store.tracks[i] for i in tracks)]
    )
    b = np.float64(store.feature("b")[rows])[mask[rows]]
    np.testing.assert_allclose(statistics.mean["b"], b.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.std["b"], b.std(0), rtol=1e-6)


def test_normalising_by_track_gives_each_track_mean_0_and_deviation_1(store):
    x = Source(store, ("a",), normalise="track").feature("a", 2, slice(None))
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(0), 1, atol=1e-5)


def test_a_delay_reads_features_earlier_and_the_first_frame_before_the_start(store):
    track = next(t for t in store.tracks if t.fps)
    index = store.tracks.index(track)
    number = store.frames[track.offset : track.offset + track.frames]
    source = Source(store, ("a", "b"), delay=3 / track.fps)
    x = source.feature("a", index, slice(None))
    for i, own in enumerate(number):
        earlier = [j for j in range(track.frames) if number[j] <= own - 3] or [0]
        np.testing.assert_array_equal(x[i], store.feature("a")[track.offset + earlier[-1]])
        exists = store.feature_mask("b")[track.offset + earlier[-1]]
        assert source.feature_mask("b", index, np.array([i])) == exists


def test_a_delay_in_seconds_needs_a_rate(store):
    slow = dataclasses.replace(store.tracks[0], fps=None)
    other = copy.copy(store)
    other.tracks = [slow, *store.tracks[1:]]
    with pytest.raises(UserError, match=f"{slow.name!r} has no frames per second"):
        Source(other, ("a",), delay=0.5)


def test_a_store_with_another_feature_width_is_refused(store, tmp_path):
    statistics = Statistics({"a": np.zeros(7)}, {"a": np.ones(7)})
    with pytest.raises(UserError, match="feature 'a' has 5 columns, the run was trained with 7"):
        Source(store, ("a",), (), "train", statistics)


@pytest.mark.parametrize(
    "file", ["frames", "features/a", "features/b", "features/b.mask", "labels/au", "labels/au.mask"]
)
def test_a_damaged_file_is_found_before_the_first_batch(tmp_path, file):
    path = small_store(tmp_path / "s", gaps=True).path / f"{file}.npy"
    np.save(path, np.load(path)[1:])
    with pytest.raises(UserError, match=rf"{file}\.npy: .* expected "):
        Source(Store(tmp_path / "s"), ("a", "b"), TASKS)


def test_nothing_is_normalised_by_a_row_that_is_not_finite(tmp_path):
    store = small_store(tmp_path / "s", gaps=True)
    mask, x = store.feature_mask("b"), np.load(store.path / "features" / "b.npy")
    gap = int(np.argmin(mask))
    x[gap] = np.nan  # not there, so it does not matter
    np.save(store.path / "features" / "b.npy", x)
    tracks = store.split("train")
    Statistics.of(Store(store.path), ["b"], tracks)
    track = store.tracks[tracks[-1]]
    bad = track.offset + int(np.flatnonzero(mask[track.offset :])[1])
    x[bad, 1] = np.inf
    np.save(store.path / "features" / "b.npy", x)
    image = store.frames[bad]
    with pytest.raises(UserError, match=f"'b' of track '{track.name}', image {image}: not finite"):
        Statistics.of(Store(store.path), ["b"], tracks)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_streamed_batches_are_the_assembled_ones_in_order(store, workers):
    rows, table = rows_of(store), np.array([[3, 1], [0, FILLING], [7, 5]], np.int32)
    source = Source(store, ("a", "b"), TASKS, "track")
    batches = list(stream(source, rows, table, workers=workers))
    assert len(batches) == 3
    for ids, got in zip(table, batches, strict=True):
        expected = assemble(source, rows, ids)
        for kind in ("inputs", "labels", "label_mask", "inputs_mask"):
            for name in expected[kind]:
                np.testing.assert_array_equal(got[kind][name], expected[kind][name])
        np.testing.assert_array_equal(got["row"], ids)
