"""Whatever array-like a metric or loss gets, it counts as NumPy counts it, or is refused."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import losses, metrics
from affect_jax.metrics import METRICS, ccc, f1, f1_binary
from affect_jax.smoothing import smooth

P = np.array([1, 2, 4, 0], np.float32)
T = np.array([1, 3, 4, 1], np.float32)
VALUES = types.SimpleNamespace(kind="values", size=1)
CLASSES = types.SimpleNamespace(kind="classes", size=5)


@functools.cache
def known():
    """The CCC of the two."""
    return float(ccc(P, T))


class Series:
    """As pandas and PyTorch hand over their numbers."""

    def __array__(self, dtype=None, copy=None):
        return P.astype(dtype or P.dtype)


@pytest.mark.parametrize(
    "pred",
    [
        *(P.astype(kind) for kind in ("f2", "f8", "i1", "i8", "u4", ">f4", ">f8", ">i4", "g")),
        P.astype(jnp.bfloat16),
        P.tolist(),
        tuple(P.astype(int).tolist()),
        Series(),
        [np.float16(x) for x in P],
        np.ma.array(P),
    ],
    ids=lambda x: str(getattr(x, "dtype", type(x).__name__)),
)
def test_every_real_array_like_counts_as_its_numbers(pred):
    assert float(ccc(pred, T)) == known()
    assert float(ccc(pred, T, np.ones(4, ">i4"))) == known()
    assert float(losses.mse(pred, T, [True] * 4)) == np.mean((P - T) ** 2)


def test_scalars_and_ranges_are_arrays_too():
    assert float(ccc(range(4), range(4))) == 1
    assert float(metrics.mse(0.5, np.float16(1))) == 0.25
    assert float(f1(1, 1, classes=2)) == float(f1_binary(1, True)) == 1


def test_arrays_of_another_byte_order_count_as_native_ones_in_classes_and_labels():
    pred, label = np.array([0, 1, 2, 1, 0]), np.array([0, 2, 2, 1, 1])
    want = float(f1(pred, label, classes=5))  # compiled for int32, whose bytes the others are
    assert float(f1(pred.astype(">i4"), label.astype(">i4"), classes=5)) == want
    metric = METRICS["f1"]
    state = metric.update(metric.init(CLASSES), pred.astype(">i4"), label.astype(">i8"), [True] * 5)
    assert metric.compute(state) == pytest.approx(want)
    binary = (label > 0).astype(">f8")[:, None]
    assert float(f1_binary(binary, binary, np.ones((5, 1), ">i2"))) == 1
    logits = np.eye(5, dtype=">f4")
    native = losses.ce(logits.astype("f4"), label, np.ones(5, bool))
    assert float(losses.ce(logits, label.astype(">i4"), np.ones(5, bool))) == float(native)


@pytest.mark.parametrize("side", [0, 1, 2])
def test_what_a_masked_array_masks_counts_nowhere(side):
    marked = [np.r_[P, -99], np.r_[T, 7], np.r_[np.ones(4, bool), True]]
    marked[side] = np.ma.array(marked[side], mask=[0, 0, 0, 0, 1])
    assert float(ccc(*marked)) == pytest.approx(known())
    columns = [x[:, None] for x in marked]
    update = METRICS["ccc"].update(METRICS["ccc"].init(VALUES), *columns)
    assert METRICS["ccc"].compute(update) == pytest.approx(known())
    assert float(losses.mse(*columns)) == pytest.approx(np.mean((P - T) ** 2))


def test_the_mask_of_a_masked_array_and_the_mask_given_both_count():
    pred = np.ma.masked_equal(np.r_[P, -99, 5], -99)
    label, mask = np.r_[T, 0, np.nan], np.r_[np.ones(5, bool), False]
    assert float(ccc(pred, label, mask)) == pytest.approx(known())
    assert float(ccc(pred, label, jnp.asarray(mask))) == pytest.approx(known())
    classes = np.ma.masked_equal([0, 1, 9], 9)
    assert float(f1(classes, [0, 1, 1], classes=5)) == 1
    state = METRICS["f1"].update(METRICS["f1"].init(CLASSES), classes, [0, 1, 1], np.ones(3, bool))
    assert METRICS["f1"].compute(state) == 1


def test_logits_of_which_one_is_masked_do_not_count():
    logits = np.ma.masked_equal([[1.0, 2, 3], [5, -99, 1]], -99)
    want = losses.ce(logits[:1].data, [1], np.ones(1, bool))
    assert float(losses.ce(logits, [1, 1], np.ones(2, bool))) == pytest.approx(float(want))


WRONG = {
    "text": np.array(["1", "2"]),
    "bytes": np.array([b"1", b"2"]),
    "objects": [1.0, None],
    "complex": np.array([1j, 2]),
    "complex jax": jnp.array([1j, 2]),
    "dates": np.array(["2020", "2021"], "M8[Y]"),
    "uneven": [[1], [2, 3]],
    "none": None,
    "a dict": {0: 1, 1: 2},
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_real_number_is_refused_in_a_line_that_names_the_argument(kind):
    line = r"^{}[^\n]*: {} [^\n]*Pass an array of [^\n]*$"
    right = np.ones(2, np.float32)
    for name, arguments in (("pred", (WRONG[kind], right)), ("target", (right, WRONG[kind]))):
        with pytest.raises(ValueError, match=line.format("ccc", name)):
            ccc(*arguments)
        with pytest.raises(ValueError, match=line.format("f1", name)):
            f1(*arguments, classes=2)
        with pytest.raises(ValueError, match=line.format("mse loss", name)):
            losses.mse(*arguments, right > 0)
        with pytest.raises(ValueError, match=line.format("metric", name)):
            METRICS["ccc"].update(METRICS["ccc"].init(VALUES), *arguments, right > 0)
    if kind != "none":
        with pytest.raises(ValueError, match=line.format("ccc", "mask")):
            ccc(right, right, WRONG[kind])
    with pytest.raises(ValueError, match=line.format("smooth", "x_tk")):
        smooth(WRONG[kind], 1)


def test_integers_that_float32_does_not_hold_are_refused_unless_masked():
    big = np.array([1, 2, 2**40])
    assert float(ccc(big, big.astype(float), big < 5)) == 1
    with pytest.raises(ValueError, match=r"^ccc: target holds 1099511627776,[^\n]*$"):
        ccc(big.astype(float), big)
    with pytest.raises(ValueError, match="f1: pred holds 4294967296"):
        f1(np.array([2**32, 1]), np.array([0, 1]), classes=2)  # would be class 0 in int32


def test_float64_that_is_infinite_in_float32_is_refused():
    big = P.astype(np.float64) * 1e300
    with pytest.raises(ValueError, match=r"^ccc: pred holds 4e\+300,[^\n]*another unit[^\n]*$"):
        ccc(big, T)
    assert float(ccc(big * 1e-270, T.astype(float) * 1e30)) == pytest.approx(known())
    assert np.isnan(float(ccc(P * np.float64(np.nan), T)))
    with jax.enable_x64(True):
        assert float(ccc(big, T.astype(float) * 1e300)) == pytest.approx(known())


def test_missing_values_of_a_masked_array_are_nan_when_smoothed():
    y = smooth(np.ma.masked_equal([1.0, 1, 1, -99, 1, 1, 1], -99), 1)
    assert np.isnan(y).tolist() == [False, False, True, True, True, False, False]
