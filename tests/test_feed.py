import jax
import numpy as np
import pytest

from affect_jax import sharding
from affect_jax.feed import Resident, Streamed, feeder, resident_bytes
from data_pipelines.batch import Source, Statistics
from data_pipelines.plan import Plan, segments, windows
from tests.stores import LABELS, small_store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return small_store(tmp_path_factory.mktemp("store") / "s", gaps=True)


def sources(store):
    statistics = Statistics.of(store, ["a", "b"], store.split("train"))
    yield Source(store, ("a", "b"), tuple(LABELS))
    yield Source(store, ("b",), ("au",), "train", statistics)
    yield Source(store, ("a", "b"), (), "track", delay=0.1)


def tables(store):
    lengths = [t.frames for t in store.tracks]
    for rows in (
        segments(lengths, 5),
        segments(lengths, 4, tracks=store.split("validation"), stride=3),
        windows(lengths, 6, 2),
    ):
        yield rows, Plan(rows, 4, seed=1, shuffle=True, lanes=len(rows) % 2 == 0).epoch(3)


def batches(feed, table, bounds):
    fetch = jax.jit(lambda data, xs, k: feed.fetch(data, jax.tree.map(lambda x: x[k], xs)))
    for xs in feed.chunks(table, bounds):
        for k in range(jax.tree.leaves(xs)[0].shape[0]):
            yield jax.device_get(fetch(feed.data, xs, k))


def test_both_feeders_give_the_same_batches_in_the_same_order(store):
    mesh = sharding.mesh()
    for source in sources(store):
        for rows, table in tables(store):
            bounds = [0, 2, len(table)]
            resident = batches(Resident(source, rows, mesh), table, bounds)
            streamed = batches(Streamed(source, rows, mesh), table, bounds)
            for a, b in zip(resident, streamed, strict=True):
                assert jax.tree.structure(a) == jax.tree.structure(b)
                jax.tree.map(np.testing.assert_array_equal, a, b)
                assert [x.dtype for x in jax.tree.leaves(a)] == [
                    x.dtype for x in jax.tree.leaves(b)
                ]


def test_auto_is_resident_where_it_fits(store):
    rows, source = segments([t.frames for t in store.tracks], 5), Source(store, ("a", "b"))
    frames = sum(t.frames for t in store.tracks)
    assert resident_bytes(source, rows) == frames * 4 * 8
    for gib, name in ((1.0, "resident"), (1e-9, "streamed")):
        feed = feeder(source, rows, sharding.mesh(), how="auto", resident_gib=gib, workers=0)
        assert feed.name == name
