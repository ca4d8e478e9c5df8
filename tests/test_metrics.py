"""The metrics against float64 NumPy, scipy and scikit-learn, and in pieces."""

import functools
import itertools
import subprocess
import sys
import types

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis.extra import numpy as hnp

from affect_jax import metrics
from affect_jax.metrics import METRICS, Moments, ccc, moments, mse, pearson, rmse
from affect_jax.metrics.moments import BLOCK
from tests.conftest import ROOT

REGRESSION = {"ccc": ccc, "pearson": pearson, "mse": mse, "rmse": rmse}
VALUE_AND_GRAD = {name: jax.jit(jax.value_and_grad(f)) for name, f in REGRESSION.items()}


def ccc_numpy(p, t):
    """Textbook formula in float64, written apart from the implementation."""
    p, t = np.asarray(p, np.float64), np.asarray(t, np.float64)
    cov = np.mean((p - p.mean()) * (t - t.mean()))
    return 2 * cov / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)


REFERENCE = {
    "ccc": ccc_numpy,
    "pearson": lambda p, t: scipy.stats.pearsonr(p, t).statistic,
    "mse": sklearn.metrics.mean_squared_error,
    "rmse": sklearn.metrics.root_mean_squared_error,
}


def task(kind, size):
    return types.SimpleNamespace(kind=kind, size=size)


def scored(name, like, pieces):
    """One metric updated piece by piece."""
    metric = METRICS[name]
    return metric.compute(
        functools.reduce(
            lambda state, piece: metric.update(state, *piece), pieces, metric.init(like)
        )
    )


@pytest.fixture(scope="module")
def pairs():
    """Correlated pairs [40, 5] float32 and a mask; a third is masked, where labels are NaN."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (40, 5)).astype(np.float32)
    pred = (0.6 * target + 0.3 * rng.standard_normal((40, 5)) + 0.1).astype(np.float32)
    mask = rng.random((40, 5)) < 0.66
    return pred, np.where(mask, target, np.nan), mask


@pytest.fixture(scope="module")
def labelled():
    """Class numbers [60] of 8 classes: 2 only predicted, 5 in neither; and a mask."""
    rng = np.random.default_rng(1)
    target = rng.choice([0, 1, 3, 4, 6, 7], 60)
    pred = np.where(rng.random(60) < 0.5, target, rng.choice([0, 1, 2, 3, 4, 6, 7], 60))
    mask = rng.random(60) < 0.7
    return pred, np.where(mask, target, -1), mask


@pytest.fixture(scope="module")
def binary():
    """0/1 arrays [60, 6] with a mask of its own for every entry; label 4 is never positive."""
    rng = np.random.default_rng(2)
    target, pred = rng.random((2, 60, 6)) < 0.3
    target[:, 4] = pred[:, 4] = False
    return pred.astype(np.int8), target.astype(np.int8), rng.random((60, 6)) < 0.8


# --- functions of values --------------------------------------------------------------------


@pytest.mark.parametrize("name", REGRESSION)
def test_a_masked_function_equals_its_reference_on_the_valid_entries(name, pairs):
    pred, target, mask = pairs
    got = REGRESSION[name](pred, target, mask)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, REFERENCE[name](pred[mask], target[mask]), rtol=1e-5)


@pytest.mark.parametrize("name", REGRESSION)
def test_without_a_mask_all_entries_count(name, pairs):
    pred, target, mask = pairs
    p, t = pred[mask], target[mask]
    np.testing.assert_allclose(REGRESSION[name](p, t), REFERENCE[name](p, t), rtol=1e-5)


@pytest.mark.parametrize("name", REGRESSION)
def test_empty_and_constant_input_give_a_finite_score_with_zero_or_finite_gradient(name):
    function = VALUE_AND_GRAD[name]
    full, none = np.full(6, 0.3, np.float32), np.zeros(6, bool)
    ramp = np.linspace(0.1, 0.7, 6, dtype=np.float32)
    for p, t, mask in ((full, full, ~none), (ramp, np.full(6, np.nan), none)):
        value, gradient = function(p, t, mask)
        assert value == 0 and (np.asarray(gradient) == 0).all()
    for p, t in ((full, ramp), (ramp, full), (full, full + 1), (ramp, ramp)):
        value, gradient = function(p, t, ~none)
        assert np.isfinite(value) and np.isfinite(gradient).all()
        if name in ("ccc", "pearson") and p is not t:
            assert value == 0


def test_functions_of_arrays_of_length_zero_are_zero():
    empty = np.zeros(0, np.float32)
    assert [float(f(empty, empty)) for f in REGRESSION.values()] == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["ccc", "pearson"])
def test_equal_arrays_agree_perfectly_and_scores_do_not_depend_on_the_unit(name, pairs):
    pred, target, mask = pairs
    p, t = pred[mask], target[mask]
    function = VALUE_AND_GRAD[name]
    np.testing.assert_allclose(function(p, p)[0], 1, rtol=1e-6)
    want, _ = function(p, t)
    for unit in (1e-12, 1e6):
        got, gradient = function(unit * p, unit * t)
        np.testing.assert_allclose(got, want, rtol=1e-5)
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", REGRESSION)
def test_gradients_equal_finite_differences_and_are_zero_where_masked(name, pairs):
    pred, target, mask = (x[:8] for x in pairs)
    gradient = np.asarray(VALUE_AND_GRAD[name](pred, target, mask)[1])
    assert (gradient[~mask] == 0).all()
    step, i = 1e-5, tuple(np.argwhere(mask)[3])
    up, down = pred.astype(np.float64), pred.astype(np.float64)
    up[i] += step
    down[i] -= step
    reference = REFERENCE[name]
    slope = (reference(up[mask], target[mask]) - reference(down[mask], target[mask])) / (2 * step)
    np.testing.assert_allclose(gradient[i], slope, rtol=1e-3, atol=1e-6)


def test_ccc_has_both_modes_of_differentiation_and_second_derivatives(pairs):
    pred, target, mask = (x[:6, 0] for x in pairs)
    assert mask.sum() > 2
    forward = jax.jit(jax.jacfwd(ccc))(pred, target, mask)
    reverse = jax.jit(jax.jacrev(ccc))(pred, target, mask)
    np.testing.assert_allclose(forward, reverse, rtol=1e-5, atol=1e-7)
    slope = lambda p: np.asarray(VALUE_AND_GRAD["ccc"](p, target, mask)[1])  # noqa: E731
    step = np.float32(1e-2) * np.eye(6, dtype=np.float32)
    want = np.stack([(slope(pred + e) - slope(pred - e)) / 2e-2 for e in step])
    hessian = jax.jit(jax.hessian(ccc))(pred, target, mask)
    np.testing.assert_allclose(hessian, want, atol=3e-3 * np.abs(want).max())


def test_ccc_may_be_differentiated_by_the_target_too(pairs):
    pred, target, mask = pairs
    by_target = jax.jit(jax.grad(ccc, argnums=1))(pred, target, mask)
    _, swapped = VALUE_AND_GRAD["ccc"](target, pred, mask)
    np.testing.assert_allclose(by_target, swapped, rtol=1e-5, atol=1e-8)


def test_vmap_over_the_last_axis_gives_a_score_a_dimension(pairs):
    pred, target, mask = pairs
    got = jax.jit(jax.vmap(ccc, in_axes=-1))(pred, target, mask)
    want = [ccc_numpy(p[m], t[m]) for p, t, m in zip(pred.T, target.T, mask.T)]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_lists_half_precision_and_integers_are_computed_in_float32():
    want = ccc_numpy([1, 2, 4, 8], [1, 3, 4, 7])
    for kind in (list, jnp.int8, jnp.bfloat16, jnp.float16):
        p, t = ([1, 2, 4, 8], [1, 3, 4, 7])
        p, t = (p, t) if kind is list else (jnp.asarray(p, kind), jnp.asarray(t, kind))
        np.testing.assert_allclose(ccc(p, t), want, rtol=1e-6)


def test_float64_stays_where_jax_has_it_on(pairs):
    pred, target, mask = pairs
    with jax.enable_x64(True):
        for p in (pred, pred.astype(np.float64)):
            got, gradient = VALUE_AND_GRAD["ccc"](p, target.astype(np.float64), mask)
            assert got.dtype == np.float64 and gradient.dtype == p.dtype
            want = ccc_numpy(p[mask], target[mask])
            np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("length", [BLOCK, 3 * BLOCK + 1])
@pytest.mark.parametrize("mean", [0.1, -100.0, 1e5])
def test_long_float32_arrays_keep_five_digits_far_from_zero(length, mean):
    rng = np.random.default_rng(length)
    target = (0.3 * rng.standard_normal(length) + mean).astype(np.float32)
    pred = (target + 0.2 * rng.standard_normal(length)).astype(np.float32)
    mask = rng.random(length) < 0.5
    mask[:BLOCK] &= length > BLOCK and mean > 0  # an empty first block, and an empty array
    want = ccc_numpy(pred[mask], target[mask]) if mask.any() else 0
    np.testing.assert_allclose(ccc(pred, target, mask), want, atol=1e-6)


def test_gradients_through_blocks_equal_those_of_the_formula():
    rng = np.random.default_rng(0)
    p, t = rng.standard_normal((2, 2 * BLOCK + 5)).astype(np.float32)
    mask = rng.random(p.size) < 0.5
    dp, dt = (np.where(mask, x - x[mask].mean(), 0).astype(np.float64) for x in (p, t))
    gap = float(p[mask].mean() - t[mask].mean())
    whole = (dp**2 + dt**2).sum() + mask.sum() * gap**2
    score = 2 * (dp * dt).sum() / whole
    want = np.where(mask, 2 * (dt - score * (dp + gap)) / whole, 0)
    np.testing.assert_allclose(VALUE_AND_GRAD["ccc"](p, t, mask)[1], want, rtol=1e-3, atol=1e-9)


def test_a_constant_of_any_value_has_no_spread_at_all():
    constant = np.full(2 * BLOCK + 3, 0.1, np.float32)
    mask = np.arange(constant.size) % 3 > 0
    m = moments(constant, np.where(mask, 7.7, np.nan), mask)
    assert m.m2_p == m.m2_t == m.c == 0 and m.mean_p == np.float32(0.1)
    assert int(m.n) == mask.sum()


@pytest.mark.parametrize("name", [*REGRESSION, "accuracy", "f1_binary"])
def test_different_shapes_are_one_line_that_says_all_of_them(name):
    pred, target, mask = np.zeros((2, 3)), np.zeros((2, 4)), np.ones((2, 3), bool)
    with pytest.raises(ValueError, match=r"^[^\n]*\(2, 3\)[^\n]*\(2, 4\)[^\n]*$") as error:
        getattr(metrics, name)(pred, target, mask)
    assert str(error.value).startswith(f"{name}: pred, target, mask must have one shape")
    with pytest.raises(ValueError, match=r"mask \(3,\)"):
        getattr(metrics, name)(pred, pred, np.ones(3, bool))


# --- functions of classes and labels ----------------------------------------------------------


def test_class_metrics_equal_scikit_learn_on_the_labelled_frames(labelled):
    pred, target, mask = labelled
    p, t = pred[mask], target[mask]
    sk = functools.partial(sklearn.metrics.precision_recall_fscore_support, t, p, zero_division=0)
    precision, recall, f1, _ = sk(average="macro")
    of_class = sk(labels=range(8))[2]
    want = {"precision": precision, "uar": recall, "f1": f1, "f1_fixed": of_class.mean()}
    for name, value in (want | {"f1_per_class": of_class}).items():
        got = getattr(metrics, name)(pred, target, mask, classes=8)
        np.testing.assert_allclose(got, value, rtol=1e-6, err_msg=name)
        got = scored(name, task("classes", 8), [labelled])
        np.testing.assert_allclose(got, value, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(metrics.accuracy(pred, target, mask), (p == t).mean(), rtol=1e-6)
    matrix = sklearn.metrics.confusion_matrix(t, p, labels=range(8))
    np.testing.assert_array_equal(metrics.confusion(pred, target, mask, classes=8), matrix)
    np.testing.assert_array_equal(scored("confusion", task("classes", 8), [labelled]), matrix)


def test_a_class_that_is_absent_costs_only_the_fixed_f1():
    perfect = np.array([0, 1, 1])
    assert metrics.f1(perfect, perfect, classes=4) == 1
    assert metrics.f1_fixed(perfect, perfect, classes=4) == 0.5


def test_label_metrics_equal_scikit_learn_entry_by_entry(binary):
    pred, target, mask = binary
    want = [
        sklearn.metrics.f1_score(t[m], p[m], zero_division=0)
        for p, t, m in zip(pred.T, target.T, mask.T)
    ]
    assert want[4] == 0
    np.testing.assert_allclose(metrics.f1_per_label(pred, target, mask), want, rtol=1e-6)
    np.testing.assert_allclose(metrics.f1_binary(pred, target, mask), np.mean(want), rtol=1e-6)
    like = task("labels", 6)
    np.testing.assert_allclose(scored("f1_per_label", like, [binary]), want, rtol=1e-12)
    np.testing.assert_allclose(scored("f1_binary", like, [binary]), np.mean(want), rtol=1e-12)
    accuracy = (pred == target)[mask].mean()
    np.testing.assert_allclose(scored("accuracy", like, [binary]), accuracy, rtol=1e-12)


def test_a_label_that_nobody_annotated_does_not_count_in_the_mean(binary):
    pred, target, mask = binary
    alone = np.zeros_like(mask)
    alone[:, 0] = mask[:, 0]
    assert metrics.f1_binary(pred, target, alone) == metrics.f1_per_label(pred, target, mask)[0]


def test_nothing_labelled_scores_zero(pairs, labelled, binary):
    nothing = {
        "values": (task("values", 5), pairs),
        "classes": (task("classes", 8), labelled),
        "labels": (task("labels", 6), binary),
    }
    for name, metric in METRICS.items():
        for kind in metric.states:
            like, (pred, target, mask) = nothing[kind]
            for pieces in (
                [],
                [(pred, target, np.zeros_like(mask))],
                [(pred[:0],) * 2 + (mask[:0],)],
            ):
                assert np.all(scored(name, like, pieces) == 0), (name, kind)


def test_a_class_number_out_of_range_is_refused_by_name():
    with pytest.raises(ValueError, match="label -1 is none of the 3 classes"):
        scored("f1", task("classes", 3), [(np.array([0]), np.array([-1]), np.array([True]))])
    with pytest.raises(ValueError, match="prediction 3 is none of the 3 classes"):
        scored("f1", task("classes", 3), [(np.array([3]), np.array([1]), np.array([True]))])


def test_a_metric_refuses_a_task_of_another_kind_and_size():
    with pytest.raises(ValueError, match="values cannot score classes"):
        METRICS["ccc"].init(task("classes", 3))
    with pytest.raises(ValueError, match="2 dimensions expected"):
        x = np.zeros((4, 3))
        scored("ccc", task("values", 2), [(x, x, x == 0)])


# --- merging ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGRESSION)
def test_a_value_metric_is_the_mean_of_the_references_over_dimensions(name, pairs):
    pred, target, mask = pairs
    got = scored(name, task("values", 5), [pairs])
    columns = list(zip(pred.T.astype(np.float64), target.T.astype(np.float64), mask.T))
    want = np.mean([REFERENCE[name](p[m], t[m]) for p, t, m in columns])
    np.testing.assert_allclose(got, want, rtol=1e-12)
    unlabelled = mask & (np.arange(5) != 2)
    want = np.mean([REFERENCE[name](p[m], t[m]) for k, (p, t, m) in enumerate(columns) if k != 2])
    got = scored(name, task("values", 5), [(pred, target, unlabelled)])
    np.testing.assert_allclose(got, want, rtol=1e-12)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    data=hnp.arrays(np.float64, (30, 2), elements=st.floats(-1e3, 1e3, width=32)),
    mask=hnp.arrays(bool, 30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_pieces_merged_in_any_order_score_as_the_whole(data, mask, cuts, order):
    pred, target, mask = data[:, :1], data[:, 1:], mask[:, None]
    bounds = sorted({0, 30, *cuts})
    pieces = [tuple(x[a:b] for x in (pred, target, mask)) for a, b in itertools.pairwise(bounds)]
    order.shuffle(pieces)
    like = task("values", 1)
    for name in REGRESSION:
        metric = METRICS[name]
        states = [metric.update(metric.init(like), *piece) for piece in pieces]
        forward = metric.compute(functools.reduce(metric.merge, states))
        scale = max(1.0, abs(forward)) if name in ("mse", "rmse") else 1.0
        want = scored(name, like, [(pred, target, mask)])
        # Pearson's r of data without spread but for rounding is rounding itself.
        spread = data[mask[:, 0]].std(0) if mask.any() else np.zeros(2)
        if name != "pearson" or (spread > 1e-3).all() or (spread == 0).any():
            np.testing.assert_allclose(forward, want, rtol=0, atol=1e-12 * scale)


def test_counts_merged_in_pieces_are_the_counts_of_the_whole(labelled, binary):
    for name, like, whole in (
        ("confusion", task("classes", 8), labelled),
        ("f1_per_label", task("labels", 6), binary),
    ):
        pieces = [tuple(x[i::3] for x in whole) for i in (2, 0, 1)]
        np.testing.assert_array_equal(scored(name, like, pieces), scored(name, like, [whole]))


def test_moments_of_the_device_merge_on_the_host_without_loss():
    rng = np.random.default_rng(0)
    target = (0.3 * rng.standard_normal((200, 50)) + 100).astype(np.float32)
    pred = (target + 0.2 * rng.standard_normal(target.shape)).astype(np.float32)
    blocks = [moments(p, t) for p, t in zip(pred, target)]
    whole = functools.reduce(Moments.merge, blocks)
    assert whole.mean_p.dtype == np.float64 and whole.n == target.size
    got = METRICS["ccc"].compute(Moments(*(np.atleast_1d(x) for x in whole)))
    np.testing.assert_allclose(got, ccc_numpy(pred.ravel(), target.ravel()), atol=1e-7)


def test_states_are_pytrees():
    for metric in METRICS.values():
        for kind in metric.states:
            state = metric.init(task(kind, 3))
            assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(state))


# --- the bare interpreter, and several devices ---------------------------------------------------


def test_metrics_load_only_jax_and_numpy():
    code = (
        "import sys; from affect_jax.metrics import ccc; import numpy as np;"
        "print(float(ccc(np.array([1., 2, 4]), np.array([1., 3, 4]))));"
        "print([m for m in ('flax', 'optax', 'grain', 'sklearn', 'h5py', 'data_pipelines')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    score, loaded = out.stdout.splitlines()
    np.testing.assert_allclose(float(score), ccc_numpy([1, 2, 4], [1, 3, 4]), rtol=1e-6)
    assert loaded == "[]"
