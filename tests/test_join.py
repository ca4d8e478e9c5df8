import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.join import open_store
from data_pipelines.store_writer import StoreWriter
from tests.stores import small_store


@pytest.fixture
def joined(tmp_path):
    first = small_store(tmp_path / "first")
    track = first.tracks[2]
    numbers = first.frames[track.span]
    features, labels = {"c": dict(size=2)}, {"smile": dict(kind="labels", size=1)}
    with StoreWriter(tmp_path / "c", name="c", features=features, labels=labels) as writer:
        some = numbers[::2]  # every second image, and one that the first store lacks
        some = np.append(some, numbers[-1] + 9)
        writer.add(
            track=track.name,
            split="x",
            frames=some,
            features={"c": np.c_[some, -some]},
            labels={"smile": some[:, None] % 2},
        )
    return open_store(f"{tmp_path / 'first'},{tmp_path / 'c'}"), track, numbers


def test_joined_features_stand_on_the_images_of_the_first_store(joined):
    store, track, numbers = joined
    rows = track.span
    mask = store.feature_mask("c")
    assert mask[rows].tolist() == [i % 2 == 0 for i in range(track.frames)]
    assert mask.sum() == mask[rows].sum()
    values = store.feature("c")[rows]
    np.testing.assert_array_equal(values[::2], np.c_[numbers[::2], -numbers[::2]])
    assert not values[1::2].any()
    np.testing.assert_array_equal(store.feature("a"), store.parts[0].feature("a"))


def test_joined_labels_are_masked_where_the_other_store_has_no_image(joined):
    store, track, numbers = joined
    values, mask = store.label("smile")
    rows = track.span
    assert mask[rows, 0].tolist() == [i % 2 == 0 for i in range(track.frames)]
    np.testing.assert_array_equal(values[rows, 0][::2], numbers[::2] % 2)


@pytest.fixture
def streams(tmp_path):
    """A store with faces at 10 frames a second; one with audio, words and faster frames."""
    small_store(tmp_path / "first")
    features = {
        "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=40),
        "words": dict(size=2, axis="table"),
        "picture": dict(shape=(2, 2), dtype="uint8"),
    }
    with StoreWriter(tmp_path / "second", name="second", features=features, labels={}) as writer:
        for track, rows in (("validation1", 3), ("elsewhere", 2), ("train0", 4)):
            x = {"audio": np.full(5 * rows, rows), "words": np.full((rows, 2), rows)}
            x["picture"] = np.full((60, 2, 2), rows)
            spans = {"words": np.repeat(np.arange(rows), 2).reshape(-1, 2) + [0, 10]}
            writer.add(track=track, split="any", features=x, spans=spans, fps=30,
                       feature_masks={"words": np.arange(rows) != 1})  # fmt: skip
    return open_store(f"{tmp_path / 'first'},{tmp_path / 'second'}")


def test_streams_of_other_rates_join_by_track(streams):
    of = {track.name: i for i, track in enumerate(streams.tracks)}
    assert streams.rows("audio", of["train0"]) == slice(25, 45)
    assert streams.rows("words", of["validation1"]) == slice(0, 3)
    empty = streams.rows("audio", of["train1"])
    assert streams.feature("audio")[empty].shape == (0,)
    assert streams.feature("audio").dtype == np.int16
    words = streams.rows("words", of["train0"])
    assert streams.feature("words")[words].tolist() == [[4, 4], [0, 0], [4, 4], [4, 4]]
    assert streams.feature_mask("words")[words].tolist() == [True, False, True, True]
    assert streams.spans("words")[words].tolist() == [[0, 10], [1, 11], [2, 12], [3, 13]]
    assert not streams.features["audio"].gaps and streams.features["picture"].gaps
    with pytest.raises(UserError, match="'a' on the axis 'frame' has no spans"):
        streams.spans("a")


def test_joined_frames_are_gathered_in_any_shape_and_stay_integers(streams):
    picture, mask = streams.feature("picture"), streams.feature_mask("picture")
    track = streams.tracks[[t.name for t in streams.tracks].index("train0")]
    rows = np.array([[track.offset, track.offset + 1], [streams.frames_total - 1, 12]])
    got = picture[rows]
    assert got.shape == (2, 2, 2, 2) and (got.dtype, len(picture)) == (np.uint8, len(mask))
    assert picture.shape == (streams.frames_total, 2, 2)
    np.testing.assert_array_equal(got[..., 0, 0], [[4, 4], [3, 0]])
    np.testing.assert_array_equal(mask[rows], [[True, True], [True, False]])
    np.testing.assert_array_equal(picture[5], got[0, 0])


def test_stores_without_a_common_track_do_not_join(tmp_path):
    first = small_store(tmp_path / "first").path
    features = {"audio": dict(shape=(), axis="rate", rate_hz=40)}
    with StoreWriter(tmp_path / "other", name="other", features=features, labels={}) as writer:
        writer.add(track="x", split="train", frames=[1], features={"audio": np.ones(3)})
    with pytest.raises(UserError, match="other shares no track with .*first"):
        open_store(f"{first},{tmp_path / 'other'}")


def test_a_name_in_two_stores_is_an_error_that_names_both(tmp_path):
    small_store(tmp_path / "x")
    small_store(tmp_path / "y")
    with pytest.raises(UserError, match=r"feature 'a' is in .*x and in .*y"):
        open_store(f"{tmp_path / 'x'},{tmp_path / 'y'}")


def test_an_empty_root_says_what_to_give():
    with pytest.raises(UserError, match="config.data.root is empty"):
        open_store("")
