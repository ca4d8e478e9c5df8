"""Forms that a track may be given in: arrays, pieces of every stream, dtypes and their bounds."""

import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

STREAMS = {
    "face": dict(shape=(2, 3), dtype="uint8"),
    "half": dict(size=2, dtype="float16"),
    "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=8),
    "words": dict(size=2, axis="table"),
}
FRAMES = np.arange(1, 6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store"


def writer(path):
    return StoreWriter(path, name="toy", features=STREAMS, labels={})


def add(into, track="a", frames=FRAMES, **more):
    into.add(track=track, split="train", frames=frames, **{"features": {}, **more})


def test_numbers_are_stored_as_they_are(path):
    face = np.arange(30).reshape(5, 2, 3) + 225
    half, audio = np.array([[0.5, np.nan]] * 5), np.array([-32768, 32767, 0])
    with writer(path) as into:
        add(into, features={"face": face - 225.0, "half": half, "audio": audio[:, None]})
        add(into, "b", features={"face": face.astype(np.uint8), "audio": audio.tolist()})
        assert into.not_finite == {"half": ["a"]}
    store = Store(path)
    dtypes = {name: store.feature(name).dtype for name in STREAMS}
    assert dtypes == dict(face="uint8", half="float16", audio="int16", words="float32")
    np.testing.assert_array_equal(store.feature("face"), np.r_[face - 225, face])
    np.testing.assert_array_equal(store.feature("half"), np.r_[half, 0 * np.ones((5, 2))])
    assert store.feature("audio").tolist() == audio.tolist() * 2
    assert [store.rows("audio", i) for i in (0, 1)] == [slice(0, 3), slice(3, 6)]
    assert [store.rows("face", i) for i in (0, 1)] == [t.span for t in store.tracks]


@pytest.mark.parametrize("kind", ["array", "pieces"])
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("audio", 0.5, "row 4: 0.5, expected whole numbers from -32768 to 32767, which int16"),
        ("audio", 32768, "row 4: 32768.0, expected whole"),
        ("audio", np.nan, "row 4: nan, expected whole"),
        ("audio", -np.inf, "row 4: -inf, expected whole"),
        ("face", -1, "row 4: -1.0, expected whole numbers from 0 to 255, which uint8"),
        ("face", 256, "row 4: 256.0"),
        ("half", 65520, "row 4: 65520.0, expected numbers up to 65504, the largest of float16"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_track_feature_and_row(
    path, kind, name, value, shown
):
    x = np.zeros((5, *STREAMS[name].get("shape", (2,))))
    x[4] = value
    given = iter([x[:3], x[3:]]) if kind == "pieces" else x
    with pytest.raises(UserError, match=f"track 'a', feature '{name}', {shown}"), writer(path) as w:
        add(w, features={name: given})


def test_a_limit_is_not_rounded_to_the_dtype_of_the_numbers(path):
    with pytest.raises(UserError, match="row 0: 32768.0, expected whole"), writer(path) as into:
        add(into, features={"audio": np.array([32768], np.float16)})


def test_what_a_mask_hides_need_not_fit(path):
    face = np.zeros((5, 2, 3))
    face[2] = np.nan
    with writer(path) as into:
        add(into, features={"face": iter([face[:2], face[2:]])},
            feature_masks={"face": np.arange(5) != 2})  # fmt: skip
    store = Store(path)
    assert store.feature_mask("face").tolist() == [True, True, False, True, True]
    assert not store.feature("face").any()


def test_pieces_are_the_array_whatever_their_sizes(path):
    rng = np.random.default_rng(0)
    face = rng.integers(0, 256, (5, 2, 3))
    words, spans = rng.normal(size=(4, 2)), np.array([[0, 2], [0, 3.5], [1, 1], [4, 9]])
    masks = {"face": np.arange(5) > 1, "words": [1, 0, 1, 1]}
    whole = {"face": face, "words": words, "audio": np.arange(7)}
    for cuts in ([], [0, 1], [1, 1, 4], [5]):
        with writer(path) as into:
            pieces = {name: iter(np.split(x, cuts)) for name, x in whole.items()}
            for track, features in (("a", whole), ("b", pieces)):
                add(into, track, features=features, feature_masks=masks, spans={"words": spans})
        store = Store(path)
        for name in STREAMS:
            a, b = (store.rows(name, i) for i in (0, 1))
            np.testing.assert_array_equal(store.feature(name)[a], store.feature(name)[b])
            if (mask := store.feature_mask(name)) is not None:
                np.testing.assert_array_equal(mask[a], mask[b])
        np.testing.assert_array_equal(store.spans("words"), np.r_[spans, spans])


def test_frames_are_counted_in_pieces_where_nothing_else_tells(path):
    half = np.ones((3, 2))
    with writer(path) as into:
        add(into, frames=None, features={"face": iter(np.zeros((7, 2, 2, 3)))})
        add(into, "b", frames=None, features={"half": half, "face": iter([np.zeros((3, 2, 3))])})
    assert [track.frames for track in Store(path).tracks] == [14, 3]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (dict(features={"face": iter([np.zeros((4, 2, 3))])}),
         r"'face': 4 rows, expected 5 \(5 frames\)"),
        (dict(features={"face": iter(np.zeros((9, 1, 2, 3)))}),
         r"'face': more than 5 rows \(5 frames\)"),
        (dict(features={"face": iter([np.zeros((1, 2, 3)), np.zeros((1, 3, 2))])}),
         r"'face', piece 2: shape \(1, 3, 2\), expected \(1, 2, 3\)"),
        (dict(features={"audio": iter([np.zeros(2), ["x"]])}), "'audio', piece 2: text such as"),
        (dict(features={"audio": iter([[1, None]])}), "piece 1, row 1: masked, None or NA"),
        (dict(features={"audio": iter([np.zeros(3)])}, feature_masks={"audio": [1, 0]}),
         "'audio': more than 2 rows"),
        (dict(features={"audio": iter([np.zeros(3)])}, feature_masks={"audio": np.ones(4)}),
         "'audio': 3 rows, expected 4"),
        (dict(features={"words": np.zeros((2, 2))}),
         "spans of feature 'words': none, expected start and stop in frames of each of 2 rows"),
        (dict(features={"words": np.zeros((2, 2))}, spans={"words": [[0, 1]]}),
         r"spans of feature 'words': shape \(1, 2\), expected \(2, 2\)"),
        (dict(spans={"words": [[0, 1]]}), r"'words': shape \(1, 2\), expected \(0, 2\)"),
        (dict(spans={"audio": [[0, 1]]}), r"unknown table \(of spans\) 'audio'. .*Known: words"),
        (dict(frames=None, features={"face": iter([])}), "'a': has no frames"),
        (dict(frames=None, features={"audio": np.zeros(4)}), "no frames, labels or frame-wise"),
        *[(dict(features={"words": np.zeros((2, 2))}, spans={"words": spans}),
           rf"spans of feature 'words', row {row}: \[.*, expected finite numbers, start <= stop")
          for row, spans in ((0, [[1, 0], [2, 3]]), (1, [[1, 2], [0, 3]]), (1, [[1, 2], [3, None]]),
                             (1, [[0, 1], [1, np.inf]]), (0, [[-np.inf, 1], [0, 1]]))],
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(path, more, message):
    with pytest.raises(UserError, match=message) as caught, writer(path) as into:
        add(into, **more)
    assert "\n" not in str(caught.value) and not list(path.parent.iterdir())
