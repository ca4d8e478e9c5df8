"""The losses against float64 NumPy and scikit-learn, at their edges, and on 8 devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from affect_jax import losses
from affect_jax.losses import LOSSES
from data_pipelines.errors import UserError
from tests.conftest import ROOT

# One compilation a loss for most of the file: all use the same shapes.
VALUE_AND_GRAD = {name: jax.jit(jax.value_and_grad(loss)) for name, loss in LOSSES.items()}
OF_CLASSES = ("ce", "balanced_ce")


def example(name, seed=0):
    """(pred, target, mask) for a loss: [3, 7, K = 5] or classes [3, 7] of 5, a third masked."""
    rng = np.random.default_rng(seed)
    pred = rng.standard_normal((3, 7, 5)).astype(np.float32)
    if name in OF_CLASSES:
        mask = rng.random((3, 7)) < 0.66
        return pred, np.where(mask, rng.integers(0, 5, (3, 7)), -1), mask
    mask = rng.random((3, 7, 5)) < 0.66
    target = rng.standard_normal((3, 7, 5)) if "bce" not in name else rng.integers(0, 2, (3, 7, 5))
    return pred, np.where(mask, target, np.nan).astype(np.float32), mask


def reference(name, pred, target, mask):
    """The same in float64, written apart."""
    pred = pred.astype(np.float64)
    if name in OF_CLASSES:
        p = np.exp(pred) / np.exp(pred).sum(-1, keepdims=True)
        labels = target[mask].astype(int)
        weights = np.bincount(labels)[labels] ** -0.5 if name == "balanced_ce" else None
        classes = range(pred.shape[-1])
        return sklearn.metrics.log_loss(labels, p[mask], labels=classes, sample_weight=weights)
    if name == "balanced_bce":
        two = np.stack([np.zeros_like(pred), pred], axis=-1)  # each label as two classes
        columns = [(two[:, :, k], target[:, :, k], mask[:, :, k]) for k in range(pred.shape[-1])]
        return np.mean([reference("balanced_ce", *column) for column in columns])
    if name == "ccc_by_row":
        places = np.argwhere(mask.any(1))
        parts = [[x[b, :, k : k + 1] for x in (pred, target, mask)] for b, k in places]
        return np.mean([reference("ccc", *part) for part in parts])
    p, t = pred[mask], target[mask].astype(np.float64)
    if name == "mse":
        return sklearn.metrics.mean_squared_error(t, p)
    if name == "bce":
        return sklearn.metrics.log_loss(t, 1 / (1 + np.exp(-p)))
    scores = []
    for k in range(pred.shape[-1]):
        p, t = pred[..., k][mask[..., k]], target[..., k][mask[..., k]].astype(np.float64)
        if p.size:
            cov = np.mean((p - p.mean()) * (t - t.mean()))
            scores.append(2 * cov / (p.var() + t.var() + (p.mean() - t.mean()) ** 2))
    return 1 - np.mean(scores)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_equals_its_reference_over_the_labelled_entries(name):
    got, _ = VALUE_AND_GRAD[name](*example(name))
    assert got.shape == () and got.dtype == jnp.float32
    np.testing.assert_allclose(got, reference(name, *example(name)), rtol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_finite_differences_and_are_zero_where_masked(name):
    pred, target, mask = example(name)
    gradient = np.asarray(VALUE_AND_GRAD[name](pred, target, mask)[1])
    assert (gradient[~mask] == 0).all() and np.isfinite(gradient).all()
    i = (*np.argwhere(mask)[2][:2], 1 if name in OF_CLASSES else np.argwhere(mask)[2][-1])
    up, down = pred.astype(np.float64), pred.astype(np.float64)
    up[i] += 1e-5
    down[i] -= 1e-5
    slope = (reference(name, up, target, mask) - reference(name, down, target, mask)) / 2e-5
    np.testing.assert_allclose(gradient[i], slope, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_masked_predictions_and_labels_may_be_nan(name):
    pred, target, mask = example(name)
    nan = np.where(mask if name not in OF_CLASSES else mask[..., None], pred, np.nan)
    value, gradient = VALUE_AND_GRAD[name](nan, target, mask)
    assert value == VALUE_AND_GRAD[name](pred, target, mask)[0]
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_without_labels_a_loss_is_zero_with_zero_gradient(name):
    pred, target, mask = example(name)
    value, gradient = VALUE_AND_GRAD[name](pred, target, np.zeros_like(mask))
    assert value == 0 and (np.asarray(gradient) == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_is_computed_in_float32(name):
    pred, target, mask = example(name)
    half = jnp.asarray(pred, jnp.bfloat16)
    value, gradient = VALUE_AND_GRAD[name](half, target, mask)
    assert value.dtype == jnp.float32 and gradient.dtype == jnp.bfloat16
    want, _ = VALUE_AND_GRAD[name](half.astype(jnp.float32), target, mask)
    np.testing.assert_allclose(value, want, rtol=1e-6)


def test_a_float64_label_may_meet_a_float32_prediction():
    pred, target, mask = example("ccc")
    with jax.enable_x64(True):
        for name in ("mse", "ccc"):
            grad = jax.jit(jax.grad(LOSSES[name]))(pred, target.astype(np.float64), mask)
            assert grad.dtype == np.float32 and np.isfinite(grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_different_shapes_are_one_line_that_says_all_of_them(name):
    pred, target, mask = example(name)
    with pytest.raises(ValueError, match=rf"^{name} loss: [^\n]*\(3, 7, 5\)[^\n]*\(3, 6[^\n]*$"):
        LOSSES[name](pred, target[:, :6], mask)


def test_a_column_is_not_broadcast_against_a_row():
    with pytest.raises(ValueError, match=r"\(4, 1\).*\(4,\)"):
        losses.mse(np.zeros((4, 1)), np.zeros(4), np.ones(4, bool))


def test_ccc_of_a_dimension_without_labels_contributes_nothing():
    pred, target, mask = example("ccc")
    mask[..., 2] = False
    want = reference("ccc", pred, target, mask)
    got, _ = VALUE_AND_GRAD["ccc"](pred, target, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5)


@pytest.mark.parametrize(
    "pred, target", [(0.3, 0.3), (0.3, "ramp"), ("ramp", 0.3), (0.3, 0.4), (1e20, 1e20)]
)
def test_ccc_of_constants_is_one_with_finite_gradient(pred, target):
    ramp = np.linspace(-1, 1, 105, dtype=np.float32)
    p, t = (
        (ramp if x == "ramp" else np.full(105, x, np.float32)).reshape(3, 7, 5)
        for x in (pred, target)
    )
    value, gradient = VALUE_AND_GRAD["ccc"](p, t, np.ones(p.shape, bool))
    np.testing.assert_allclose(value, 1, atol=1e-6)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() < 10


@pytest.mark.parametrize("unit", [1e6, 1e10, 1e20, 1e30])
def test_ccc_of_values_of_any_size_is_that_of_usual_ones_and_so_is_its_gradient(unit):
    pred, target, mask = example("ccc")
    want, slope = VALUE_AND_GRAD["ccc"](pred, target, mask)
    unit = np.float32(unit)
    value, gradient = VALUE_AND_GRAD["ccc"](unit * pred, unit * target, mask)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(gradient * unit, slope, rtol=1e-3, atol=1e-7)


def test_ccc_is_taken_over_the_batch_and_not_row_by_row():
    pred, target, mask = example("ccc")
    loss = VALUE_AND_GRAD["ccc"]
    rows = [mask & (np.arange(3) == i)[:, None, None] for i in range(3)]
    by_row = np.mean([loss(pred, target, row)[0] for row in rows])
    assert abs(by_row - loss(pred, target, mask)[0]) > 0.01


def test_ccc_by_row_leaves_rows_without_labels_out_and_refuses_what_has_no_rows():
    pred, target, mask = example("ccc_by_row")
    mask[1] = False
    pred[1] = np.nan
    value, gradient = VALUE_AND_GRAD["ccc_by_row"](pred, target, mask)
    kept = [0, 2]
    want = reference("ccc_by_row", pred[kept], target[kept], mask[kept])
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[1].any()
    with pytest.raises(UserError, match=r"loss ccc_by_row: predictions \(7, 5\) are no rows"):
        losses.ccc_by_row(pred[0], target[0], mask[0])


def test_bce_of_certain_logits_is_exact_and_its_gradient_does_not_fade():
    pred = np.array([200.0, -200.0, 30.0, -30.0], np.float32)[:, None]
    target = np.array([1.0, 1.0, 0.0, 1.0], np.float32)[:, None]
    ones = np.ones((4, 1), bool)
    value, gradient = VALUE_AND_GRAD["bce"](pred, target, ones)
    np.testing.assert_allclose(value, (0 + 200 + 30 + 30) / 4, rtol=1e-6)
    np.testing.assert_allclose(4 * gradient[:, 0], [0, -1, 1, -1], atol=1e-6)


@pytest.mark.parametrize("name", OF_CLASSES)
@pytest.mark.parametrize("label", [-1, 5])
def test_an_unmasked_class_number_out_of_range_makes_ce_nan(label, name):
    pred, target, mask = example(name)
    target[mask.nonzero()[0][0], mask.nonzero()[1][0]] = label
    assert np.isnan(VALUE_AND_GRAD[name](pred, target, mask)[0])


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in OF_CLASSES])
def test_the_loss_of_a_dimension_is_that_of_its_column_alone(name):
    pred, target, mask = example(name)
    mask[..., 2] = False
    got = jax.jit(losses.by_dimension, static_argnums=0)(LOSSES[name], pred, target, mask)
    assert got.shape == (5,) and got[2] == 0
    for k in (0, 1, 3, 4):
        column = (x[..., k : k + 1] for x in (pred, target, mask))
        np.testing.assert_allclose(got[k], reference(name, *column), rtol=1e-5)


def test_the_loss_of_a_dimension_of_bins_is_that_of_its_logits():
    pred, target, mask = example("ce")
    two = np.stack([pred, 2 * pred], axis=-2), np.stack([target] * 2, -1), np.stack([mask] * 2, -1)
    got = losses.by_dimension(losses.ce, *two)
    np.testing.assert_allclose(got[0], reference("ce", pred, target, mask), rtol=1e-5)
    np.testing.assert_allclose(got[1], reference("ce", 2 * pred, target, mask), rtol=1e-5)


def test_the_loss_of_a_row_of_clips_is_its_minus_log_probability():
    pred = example("ce")[0][0]
    target, mask = np.arange(7) % 5, np.arange(7) != 3
    log_p = pred - np.log(np.exp(pred.astype(np.float64)).sum(-1, keepdims=True))
    got = jax.vmap(losses.ce)(pred, target, mask)
    np.testing.assert_allclose(got, np.where(mask, -log_p[np.arange(7), target], 0), rtol=1e-5)


def test_shares_of_classes_are_a_label_of_ce_too():
    pred, target, mask = example("ce")
    one_hot = np.eye(5, dtype=np.float32)[np.where(mask, target, 0)]
    for smoothing in (0.0, 0.2):
        got = losses.ce(pred, one_hot, mask, smoothing=smoothing)
        np.testing.assert_allclose(
            got, losses.ce(pred, target, mask, smoothing=smoothing), rtol=1e-5
        )
    other = np.where(mask, 4 - target, 0)
    half = (one_hot + np.eye(5, dtype=np.float32)[other]) / 2
    expected = (losses.ce(pred, target, mask) + losses.ce(pred, other, mask)) / 2
    np.testing.assert_allclose(losses.ce(pred, half, mask), expected, rtol=1e-5)
    unseen = np.where(mask[..., None], half, np.nan)
    gradient = jax.grad(losses.ce)(pred, unseen, mask)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[~mask].any()


@pytest.mark.parametrize("name", ["ce", "balanced_ce", "bce", "balanced_bce"])
def test_smoothed_labels_are_mixed_with_those_that_know_nothing(name):
    pred, target, mask = example(name)
    got = LOSSES[name](pred, target, mask, smoothing=0.2)
    # In float64, entry by entry: cross entropy of the mixed distribution, weighted as before.
    x = pred.astype(np.float64)
    if name in OF_CLASSES:
        log_p = x - np.log(np.exp(x).sum(-1, keepdims=True))
        mixed = 0.8 * np.eye(5)[np.where(mask, target, 0)] + 0.2 / 5
        entries, groups = -(mixed * log_p).sum(-1)[mask], [target[mask]]
    else:
        mixed = 0.8 * target + 0.1
        entries = mixed * np.log1p(np.exp(-x)) + (1 - mixed) * np.log1p(np.exp(x))
        columns = [(entries[..., k][mask[..., k]], target[..., k][mask[..., k]]) for k in range(5)]
        entries, groups = entries[mask], [label for _, label in columns]
    if name.startswith("balanced"):
        each = [entries] if name == "balanced_ce" else [value for value, _ in columns]
        weights = [np.bincount(label.astype(int))[label.astype(int)] ** -0.5 for label in groups]
        want = np.mean([np.average(v, weights=w) for v, w in zip(each, weights, strict=True)])
    else:
        want = entries.mean()
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_sum_of_losses_is_read_with_its_coefficients():
    assert losses.terms_of("ccc") == ((1.0, "ccc"),)
    assert losses.terms_of("ccc + 0.1*mse+2 * ce") == ((1.0, "ccc"), (0.1, "mse"), (2.0, "ce"))


EIGHT = """
import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from affect_jax.losses import LOSSES
from affect_jax.metrics import ccc, f1
from affect_jax.metrics.moments import BLOCK
assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
split = lambda x: jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
rng = np.random.default_rng(0)
pred = rng.standard_normal((16, 20, 3)).astype(np.float32)
one = jax.devices()[0]

def same(function, *args):
    alone = jax.jit(function)(*(jax.device_put(x, one) for x in args))
    args = [split(x) for x in args]
    compiled = jax.jit(function).lower(*args).compile()
    shared = compiled(*args)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(shared)):
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), rtol=2e-6, atol=1e-8)
    return compiled.as_text()

for name, loss in LOSSES.items():
    shape = (16, 20) if name in ("ce", "balanced_ce") else (16, 20, 3)
    mask = rng.random(shape) < 0.5
    mask[:4] = False  # two devices hold no label at all
    target = rng.integers(0, 2, shape) if name.endswith("ce") else 0.5 * pred + 0.2
    program = same(jax.value_and_grad(loss), pred, target.astype(np.float32), mask)
    assert "all-reduce" in program and "all-gather" not in program, name
p, t = rng.standard_normal((2, 8, BLOCK // 4 + 1)).astype(np.float32)
mask = rng.random(p.shape) < 0.5
same(ccc, p, t, mask)
same(lambda *a: f1(*a, classes=2), p > 0, t > 0, mask)
print("same")
"""


def test_losses_and_metrics_of_arrays_on_8_devices_equal_those_of_one():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    env = os.environ | {"XLA_FLAGS": flags}
    command = [sys.executable, "-c", EIGHT]
    out = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert out.stdout.strip() == "same", out.stderr
