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
    numbers = first.frames[track.offset : track.offset + track.frames]
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
    rows = slice(track.offset, track.offset + track.frames)
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
    rows = slice(track.offset, track.offset + track.frames)
    assert mask[rows, 0].tolist() == [i % 2 == 0 for i in range(track.frames)]
    np.testing.assert_array_equal(values[rows, 0][::2], numbers[::2] % 2)


def test_a_name_in_two_stores_is_an_error_that_names_both(tmp_path):
    small_store(tmp_path / "x")
    small_store(tmp_path / "y")
    with pytest.raises(UserError, match=r"feature 'a' is in .*x and in .*y"):
        open_store(f"{tmp_path / 'x'},{tmp_path / 'y'}")


def test_an_empty_root_says_what_to_give():
    with pytest.raises(UserError, match="config.data.root is empty"):
        open_store("")
