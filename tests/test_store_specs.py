"""Specs of features and tracks: items, dtypes, scales, axes and exact rates."""

import decimal
import json
from fractions import Fraction

import numpy as np
import pytest

from data_pipelines.errors import UserError
from data_pipelines.store import Store
from data_pipelines.store_specs import Feature, entry_of, rate, rate_entry, read_specs
from data_pipelines.store_writer import StoreWriter
from tests.toy_store import add, writer


def spec(**entry):
    return read_specs(Feature, {"x": entry}, "store", given=True)["x"]


@pytest.mark.parametrize(
    ("value", "exact"),
    [
        (25, Fraction(25)),
        (12.5, Fraction(25, 2)),
        (0.1, Fraction(1, 10)),
        (29.97, Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (np.float32(29.97), Fraction(30000, 1001)),
        (decimal.Decimal("59.94"), Fraction(60000, 1001)),
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (29.9, Fraction(299, 10)),
        ("30000/1001", Fraction(30000, 1001)),
        ("2997/100", Fraction(2997, 100)),
        (Fraction(1, 3), Fraction(1, 3)),
        (np.int64(16000), Fraction(16000)),
    ],
)
def test_a_rate_is_an_exact_fraction_and_stays_one_in_a_manifest(value, exact):
    assert rate(value) == exact and isinstance(rate(value), Fraction)
    assert rate(json.loads(json.dumps(rate_entry(value)))) == exact
    assert rate(json.loads(json.dumps(rate_entry(exact)))) == exact


@pytest.mark.parametrize("value", [0, -1, "25", "1/0", "-1/2", "1/2/3", " 1/2", "1e9/3", "x", None])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(ValueError, match=r"the rate is .*, expected a number above 0, or a fr"):
        rate(value)


def test_a_rate_that_was_given_as_a_number_is_the_same_number_in_the_manifest(tmp_path):
    with writer(tmp_path / "s") as into:
        for track, fps in (("a", 29.97), ("b", 25), ("c", "30000/1001"), ("d", "1000/7")):
            add(into, track, fps=fps)
    written = [t["fps"] for t in json.loads((tmp_path / "s/manifest.json").read_text())["tracks"]]
    assert written == [29.97, 25.0, 30000 / 1001, "1000/7"]
    rates = [track.fps for track in Store(tmp_path / "s").tracks]
    assert rates == [Fraction(30000, 1001), 25, Fraction(30000, 1001), Fraction(1000, 7)]


@pytest.mark.parametrize(
    ("given", "shape", "scale", "entry"),
    [
        (dict(size=4), (4,), 1, dict(size=4, axis="frame")),
        (dict(shape=[4]), (4,), 1, dict(size=4, axis="frame")),
        (dict(shape=(5, 6, 3), dtype="uint8"), (5, 6, 3), 1 / 255,
         dict(shape=[5, 6, 3], dtype="uint8", axis="frame")),
        (dict(shape=(), dtype="int16", axis="rate", rate_hz=16000), (), 1 / 32768,
         dict(shape=[], dtype="int16", axis="rate", rate_hz=16000.0)),
        (dict(size=2, dtype="float16", scale=3), (2,), 3,
         dict(size=2, dtype="float16", scale=3.0, axis="frame")),
        (dict(size=2, axis="table", rate_hz="50/3"), (2,), 1,
         dict(size=2, axis="rate", rate_hz="50/3")),
        (dict(size=2, axis="table"), (2,), 1, dict(size=2, axis="table")),
    ],
)  # fmt: skip
def test_a_feature_has_an_item_a_dtype_a_scale_and_an_axis(given, shape, scale, entry):
    feature = spec(**given)
    assert (feature.shape, feature.scale) == (shape, scale) and isinstance(feature.scale, float)
    assert feature.size == np.prod(shape, dtype=int)
    assert entry_of(feature) == entry | {"gaps": False}
    again = json.loads(json.dumps(entry_of(feature)))
    assert read_specs(Feature, {"x": again}, "store", given=False)["x"] == feature


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(), "feature 'x': neither size nor shape, expected size=512 or"),
        (dict(size=4, shape=(4,)), "feature 'x': both size and shape"),
        (dict(shape=4), "shape is 4, expected a list of whole numbers"),
        (dict(shape=(4, 0)), "shape is 0, expected a whole number from 1"),
        (dict(shape=(4, 2.0)), "shape is 2.0"),
        (
            dict(size=4, dtype="float64"),
            "dtype 'float64'. Did you mean .* float32, float16, int16, uint8",
        ),
        (dict(size=4, dtype="int8"), "dtype 'int8'. Did you mean 'uint8'"),
        (dict(size=4, scale=0), "scale is 0, expected a number above 0"),
        (dict(size=4, scale=np.inf), "scale is inf"),
        (dict(size=4, axis="rate"), "no rate_hz, which axis 'rate' needs"),
        (dict(size=4, rate_hz=25), "rate_hz belongs to axis 'rate', not 'frame'"),
        (dict(size=4, spans=True), "unknown key 'spans'"),
        (dict(size=4, rate=25), "unknown key 'rate'. Did you mean 'rate_hz'"),
        (dict(shape=(2, 2), columns=list("abcd")), "4 columns, but size is 2, 2"),
        (dict(size=2, columns=list("abc")), "3 columns, but size is 2"),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, given, message):
    with pytest.raises(UserError, match=message):
        StoreWriter(tmp_path / "s", name="s", features={"x": given}, labels={})


def test_an_output_of_a_run_is_called_by_both_and_lies_in_the_runs_folder(tmp_path):
    features = {"mtl/valence": dict(size=1, run="mtl"), "valence": dict(size=1)}
    with writer(tmp_path / "s", features, {}) as into:
        x = {"mtl/valence": np.ones((2, 1)), "valence": np.zeros((2, 1))}
        into.add(track="a", split="train", features=x, feature_masks={"mtl/valence": [1, 0]})
    store = Store(tmp_path / "s")
    assert store.features["mtl/valence"].run == "mtl"
    assert store.feature("mtl/valence").tolist() == [[1], [0]]
    assert store.feature_mask("mtl/valence").tolist() == [True, False]
    assert (tmp_path / "s" / "features" / "mtl" / "valence.npy").is_file()


@pytest.mark.parametrize(
    ("name", "run"),
    [("mtl/valence", ""), ("mtl/valence", "va"), ("../x", ".."), ("a/b/c", "a"), ("a/", "a")],
)
def test_no_other_name_of_a_feature_is_a_path(name, run):
    with pytest.raises(UserError, match="the name"):
        read_specs(Feature, {name: dict(size=1, run=run)}, "store", given=True)
