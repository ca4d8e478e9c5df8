import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.identity import TRACKS, hashes
from data_pipelines.join import open_store
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store

ABOUT = dict(features=("a", "b"), labels=("valence", "au"))
ALL = dict(trust=False, limit=1e9)


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path / "s", gaps=True)


def flip(file):
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_the_hashes_are_those_of_the_manifest_whether_read_or_trusted(store):
    found = hashes(store, **ABOUT, **ALL)
    assert found == hashes(store, **ABOUT, trust=True, limit=0)
    assert found["features/a.npy"] == store.manifest["features"]["a"]["sha256"]
    files = {"frames.npy", "features/a.npy", "features/b.npy", "features/b.mask.npy"}
    files |= {f"labels/{name}{end}" for name in ("valence", "au") for end in (".npy", ".mask.npy")}
    assert found.keys() == files | {TRACKS}


@pytest.mark.parametrize("file", ["features/b.npy", "features/b.mask.npy", "labels/au.npy"])
def test_a_flipped_bit_is_found_where_the_arrays_are_read(store, file):
    flip(store.path / file)
    with pytest.raises(UserError, match=rf"{file}: has the SHA-256 \w+, the manifest says \w+"):
        hashes(Store(store.path), **ABOUT, **ALL)
    assert file in hashes(Store(store.path), **ABOUT, trust=True, limit=1e9)


def test_arrays_without_a_hash_are_read_up_to_the_limit(store):
    expected = hashes(store, **ABOUT, **ALL)
    bare = Store(store.path)
    bare.manifest["sha256"] = {}  # of the frames and the masks
    assert hashes(bare, **ABOUT, trust=True, limit=1e9) == expected
    few = hashes(bare, **ABOUT, trust=True, limit=0)
    assert "frames.npy" not in few and "features/a.npy" in few


def test_another_split_of_a_track_is_another_table(store):
    moved = store.with_splits({"train0": "validation"})
    a, b = (hashes(s, **ABOUT, **ALL) for s in (store, moved))
    assert {key for key in a if a[key] != b[key]} == {TRACKS}


def test_a_feature_of_another_axis_or_scale_has_its_rows_and_scale_hashed(tmp_path):
    found = []
    for scale, rows in ((0.5, 3), (0.5, 4), (0.25, 3)):
        features = {"words": dict(size=1, axis="table", scale=scale)}
        with StoreWriter(tmp_path / "s", name="s", features=features, labels={}) as writer:
            for track, size in (("a", rows), ("b", 7 - rows)):
                x, spans = {"words": np.ones((size, 1))}, {"words": [[0, 1]] * size}
                writer.add(track=track, split="train", frames=[1], features=x, spans=spans)
        found.append(hashes(Store(tmp_path / "s"), ("words",), (), **ALL))
    files = {"frames.npy", "features/words.npy", "features/words.spans.npy"}
    assert found[0].keys() == files | {TRACKS, "rows and scale of words"}
    for other in found[1:]:
        assert {k for k in other if other[k] != found[0][k]} == {"rows and scale of words"}


def test_of_joined_stores_those_count_that_something_is_taken_from(store, tmp_path):
    for name in ("c", "d"):
        features = {name: dict(size=1)}
        with StoreWriter(tmp_path / name, name=name, features=features, labels={}) as writer:
            for track in store.tracks:
                numbers = store.frames[track.span]
                x = {name: np.ones((track.frames, 1))}
                writer.add(track=track.name, split=track.split, features=x, frames=numbers)
    joined = open_store(f"{store.path},{tmp_path / 'c'},{tmp_path / 'd'}")
    found = hashes(joined, features=("a", "d"), labels=("valence",), **ALL)
    assert set(found) - {TRACKS} == {
        *("1/frames.npy", "1/features/a.npy", "1/labels/valence.npy", "1/labels/valence.mask.npy"),
        *("3/frames.npy", "3/features/d.npy"),
    }
