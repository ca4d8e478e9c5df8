"""Metrics of values, as functions, against float64 NumPy, scipy and scikit-learn."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from affect_jax import metrics
from affect_jax.metrics import ccc, moments, mse, pearson, rmse
from affect_jax.metrics.moments import BLOCK, scaled_moments
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


def example():
    """Correlated pairs [40, 5] float32 and a mask; a third is masked, where labels are NaN."""
    rng = np.random.default_rng(0)
    target = rng.uniform(-1, 1, (40, 5)).astype(np.float32)
    pred = (0.6 * target + 0.3 * rng.standard_normal((40, 5)) + 0.1).astype(np.float32)
    mask = rng.random((40, 5)) < 0.66
    return pred, np.where(mask, target, np.nan), mask


@pytest.fixture(scope="module")
def pairs():
    return example()


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


@pytest.mark.parametrize("name", ["ccc", "pearson"])
@pytest.mark.parametrize("unit", [1e-30, 1e16, 1e20, 1e30])
def test_values_whose_squares_float32_has_not_give_the_same_score_and_gradient(name, unit, pairs):
    pred, target, mask = pairs
    unit, function = np.float32(unit), VALUE_AND_GRAD[name]
    want, slope = function(pred, target.astype(np.float32), mask)
    got, gradient = function(unit * pred, unit * target.astype(np.float32), mask)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(gradient * unit, slope, rtol=1e-3, atol=1e-6)
    state = (
        metrics.METRICS[name]
        .states["values"]
        .of(unit * pred[..., None].astype(np.float64), unit * target[..., None], mask[..., None], 1)
    )
    np.testing.assert_allclose(metrics.METRICS[name].compute(state), want, rtol=1e-5)


def test_pearson_of_sides_in_very_different_units_is_that_of_one_unit(pairs):
    pred, target, mask = pairs
    got = pearson(np.float32(1e25) * pred, np.float32(1e-25) * target.astype(np.float32), mask)
    np.testing.assert_allclose(got, pearson(pred, target, mask), rtol=1e-5)


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


def test_a_difference_below_the_rounding_of_the_means_still_counts():
    target = np.tile(np.float32([9999.9, 10000.1]), BLOCK)
    pred = target + (np.arange(target.size) % 3 == 0) * np.float32(1e-3)  # one step of rounding
    want = np.mean(pred.astype(np.float64) - target)
    np.testing.assert_allclose(scaled_moments(pred, target, None, True)[1], want, rtol=1e-4)
    assert want < np.spacing(np.float32(1e4))


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
