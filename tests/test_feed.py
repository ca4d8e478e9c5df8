import itertools
from fractions import Fraction

import jax
import numpy as np
import pytest

from affect_jax import feed, sharding
from affect_jax.feed import Resident, Streamed, feeder, resident_bytes
from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.plan import Plan
from data_pipelines.rows import clips, in_seconds, segments, windows
from data_pipelines.source import Source, draws
from data_pipelines.store_writer import StoreWriter
from tests.stores import LABELS, small_store
from tests.streams import FEATURES, clips_store, tracks_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    small_store(folder / "small", gaps=True)
    tracks_store(folder / "tracks")
    clips_store(folder / "clips")
    return folder


def sequences(folder):
    """Sources of tracks, with every kind of stream and every way to feed it."""
    small = open_store(str(folder / "small"))
    yield Source(small, ("a", "b"), tuple(LABELS))
    yield Source(small, ("b",), (), by_track=True, delay=0.1)
    tracks = open_store(str(folder / "tracks"))
    yield Source(tracks, tuple(FEATURES), ("valence", "kind"), times=True)
    spread = {"words": "mean"}
    yield Source(tracks, ("words", "x", "quiet"), ("kind",), by_track=True, spread=spread)
    yield Source(tracks, ("words", "face"), spread={"words": "nearest"}, gap=0.2, delay=0.0)


def row_rules(store):
    """Tables of rows of every kind, and whether they may be fed from elsewhere."""
    lengths = [t.frames for t in store.tracks]
    yield segments(lengths, 5), False
    yield segments(lengths, 5), True
    yield segments(lengths, 4, stride=3).of_tracks(store.split("validation")), False
    yield windows(lengths, 6, 2), True
    yield in_seconds(store, Fraction(1, 3), Fraction(1, 7)), False
    yield in_seconds(store, Fraction("0.4")), False


def batches(made, table, bounds, starts):
    fetch = jax.jit(lambda data, xs, k: made.fetch(data, jax.tree.map(lambda x: x[k], xs)))
    if made.name == "streamed":
        fetch = lambda data, xs, k: jax.tree.map(lambda x: x[k], xs)  # noqa: E731 - nothing to compile
    for xs in made.chunks(table, bounds, starts):
        for k in range(jax.tree.leaves(xs)[0].shape[0]):
            yield jax.device_get(fetch(made.data, xs, k))


def assert_same(source, rows, moved):
    mesh, starts = sharding.mesh(), draws(5, 3, len(rows)) if moved else None
    shape = source.shape(rows, moved=moved)
    lanes = not moved and len(rows) % 2 == 0
    table = Plan(rows, 4, seed=1, shuffle=True, lanes=lanes).epoch(3)
    bounds = sorted({0, min(2, len(table)), len(table)})
    resident = batches(Resident(source, rows, shape, mesh), table, bounds, starts)
    streamed = batches(Streamed(source, rows, shape, mesh), table, bounds, starts)
    for ids, a, b in zip(table, resident, streamed, strict=True):
        assert jax.tree.structure(a) == jax.tree.structure(b)
        jax.tree.map(np.testing.assert_array_equal, a, b)
        assert [x.dtype for x in jax.tree.leaves(a)] == [x.dtype for x in jax.tree.leaves(b)]
        assert a["row"].tolist() == ids.tolist()


@pytest.mark.parametrize("number", range(5))
def test_both_feeders_give_the_same_batches_of_every_kind_of_stream_and_row(folder, number):
    source = next(itertools.islice(sequences(folder), number, None))
    # Every rule with all streams at once, two with each of the other sources.
    rules = list(row_rules(source.store))
    for rows, moved in rules if number == 2 else (rules[number], rules[-1 - number]):
        assert_same(source, rows, moved)


@pytest.mark.parametrize("seconds", [None, Fraction(2, 5)])
def test_both_feeders_give_the_same_clips(folder, seconds):
    store = open_store(str(folder / "clips"))
    rows = clips([1] * len(store.tracks), seconds)
    for source in (
        Source(store, tuple(FEATURES), ("valence", "kind")),
        Source(store, ("x", "audio"), (), by_track=True),
        Source(store, ("words", "face"), ("kind",), spread={"words": "mean"}),
    ):
        assert_same(source, rows, moved=False)
        assert_same(source, rows.of_tracks(store.split("train")), moved=seconds is not None)


def test_a_label_may_be_called_as_a_stream_with_rows_of_its_own(tmp_path):
    features = {"level": dict(shape=(), axis="rate", rate_hz=10)}
    labels = {"level": dict(kind="values", size=1)}
    with StoreWriter(tmp_path / "s", name="same", features=features, labels=labels) as writer:
        for name, frames, samples in (("a", 3, 1), ("b", 5, 20)):
            writer.add(
                track=name,
                split="train",
                features={"level": np.arange(samples) + 0.5},
                labels={"level": np.arange(frames) / 10},
                fps=5,
            )
    source = Source(open_store(str(tmp_path / "s")), ("level",), ("level",))
    rows = segments([3, 5], 4)
    assert_same(source, rows, moved=False)
    assert resident_bytes(source, rows) == 21 * 4 + 8 * (4 + 1)


def test_streams_keep_their_dtype_in_a_batch(folder):
    source = Source(open_store(str(folder / "tracks")), tuple(FEATURES))
    rows = segments([t.frames for t in source.store.tracks], 5)
    batch = source.batch(rows, source.shape(rows), np.array([0, -1]))
    dtypes = {name: x.dtype.name for name, x in batch["inputs"].items()}
    assert dtypes == {name: FEATURES[name].get("dtype", "float32") for name in FEATURES}


def test_auto_is_resident_where_it_fits(folder):
    source = Source(open_store(str(folder / "small")), ("a", "b"))
    rows = segments([t.frames for t in source.store.tracks], 5)
    frames = sum(t.frames for t in source.store.tracks)
    assert resident_bytes(source, rows) == frames * (4 * 8 + 1)  # with the mask of b
    for gib, name in ((1.0, "resident"), (1e-9, "streamed")):
        shape = source.shape(rows)
        made = feeder(source, rows, shape, sharding.mesh(), how="auto", resident_gib=gib, workers=0)
        assert made.name == name


def test_a_stream_of_more_rows_than_a_device_counts_is_streamed(folder, monkeypatch):
    source = Source(open_store(str(folder / "tracks")), ("audio",))
    rows = segments([t.frames for t in source.store.tracks], 5)
    arguments = source, rows, source.shape(rows), sharding.mesh()
    longest = int(source.tracks["audio"][1].sum())
    monkeypatch.setattr(feed, "LARGEST_INDEX", longest - 1)
    assert feeder(*arguments, how="auto", resident_gib=4, workers=0).name == "streamed"
    with pytest.raises(UserError, match="rows of one stream are more than a device counts"):
        feeder(*arguments, how="resident", resident_gib=4, workers=0)


def test_streamed_chunks_are_bounded_in_bytes(folder, monkeypatch):
    source = Source(open_store(str(folder / "tracks")), ("face",))
    rows = segments([t.frames for t in source.store.tracks], 5)
    shape = source.shape(rows)
    size = feed.batch_bytes(source, rows, shape, 8)
    assert size == 8 * (5 * 12 + 5 + 4 + 1)  # pictures, mask, row, start
    monkeypatch.setattr(feed, "CHUNK_BYTES", 3 * size)
    streamed = Streamed(source, rows, shape, sharding.mesh())
    assert [streamed.most_steps(width) for width in (8, 24, 25, 1000)] == [3, 1, 1, 1]
