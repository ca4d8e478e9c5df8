"""The encoder of moving averages against its formula, and what must not change its outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.averages import Averages, window_means

B, T, D, H = 2, 7, 3, 4
WINDOWS = ((0, 0), (-2, 2), (0, 3), (-50, 1))
MODEL = Averages(hidden=H, windows=WINDOWS, dropout=0.0)
means = jax.jit(functools.partial(window_means, windows=WINDOWS))


@pytest.fixture(scope="module")
def inputs():
    """A full row, and one with a gap and an end."""
    x = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)
    return x, np.array([[1] * 7, [1, 1, 0, 1, 1, 0, 0]], bool)


@pytest.fixture(scope="module")
def params(inputs):
    return jax.jit(MODEL.init)(jax.random.key(0), *inputs)


def means_numpy(x, mask):
    """Frame by frame and window by window, in float64."""
    out = np.zeros((B, T, len(WINDOWS), D))
    for b, t, k in np.ndindex(B, T, len(WINDOWS)):
        first, last = WINDOWS[k]
        rows = [u for u in range(T) if first <= u - t <= last and mask[b, u]]
        if rows:
            out[b, t, k] = np.asarray(x[b, rows], np.float64).mean(0)
    return out.reshape(B, T, -1)


def test_means_are_those_of_the_frames_that_exist(inputs):
    np.testing.assert_allclose(means(*inputs), means_numpy(*inputs), atol=1e-6)


def test_a_frame_that_does_not_exist_changes_nothing_whatever_stands_there(inputs, params):
    x, mask = inputs
    other = np.where(mask[..., None], x, np.nan).astype(np.float32)
    run = jax.jit(MODEL.apply)
    np.testing.assert_array_equal(run(params, other, mask)[0], run(params, x, mask)[0])


def test_a_large_value_spoils_no_window_that_it_is_not_in(inputs):
    x, mask = inputs[0][:1].copy(), inputs[1][:1]
    x[0, 0] = 1e8
    want = means_numpy(np.repeat(x, B, 0), np.repeat(mask, B, 0))[0, 3:, : 3 * D]
    np.testing.assert_allclose(means(x, mask)[0, 3:, : 3 * D], want, atol=1e-6)


def test_a_row_without_valid_frames_gives_finite_outputs_and_gradients(inputs, params):
    x, mask = inputs[0], np.zeros((B, T), bool)

    def total(params, x):
        return (MODEL.apply(params, x, mask)[0] ** 2).sum()

    grads = jax.jit(jax.grad(total, argnums=(0, 1)))(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_half_precision_averages_in_float32(inputs, params):
    x, mask = inputs
    half = MODEL.clone(dtype=jnp.bfloat16)
    out, carry = jax.jit(half.apply)(params, x, mask)
    assert out.dtype == jnp.bfloat16 and carry is None
    np.testing.assert_allclose(out.astype(np.float32), MODEL.apply(params, x, mask)[0], atol=0.02)


@pytest.mark.parametrize(
    ("windows", "why"),
    [
        ((), "empty"),
        (((1, 3),), "number 0"),
        (((-2.5, 2),), "whole numbers"),
        (((-(10**30), 2),), "less than"),
        ((3,), "no pair"),
    ],
)
def test_windows_that_are_none_are_refused(windows, why):
    with pytest.raises(ValueError, match=why):
        Averages(hidden=H, windows=windows, dropout=0.0)
