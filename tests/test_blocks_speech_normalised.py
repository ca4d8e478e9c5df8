"""The first convolution with its norm over time, against one layer behind the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.convolution import windows_of
from affect_jax.models.blocks.speech.normalised import normalised_convolution

B, S, K, STRIDE, C = 2, 57, 5, 2, 6


def plain(windows, kernel, scale, shift, weight):
    """The same, with gradients as JAX derives them."""
    y = windows @ kernel
    weight = weight[..., None]
    mean = (weight * y).sum(1, keepdims=True)
    variance = (weight * (y - mean) ** 2).sum(1, keepdims=True)
    return (y - mean) / jnp.sqrt(variance + 1e-5) * scale + shift


def given(masked, offset=0.0):
    rng = np.random.default_rng(0)
    sound = rng.normal(offset, 1, (B, S, 1)).astype(np.float32)
    windows = windows_of(sound, K, STRIDE)
    weight = np.ones(windows.shape[:2], np.float32)
    if masked:
        weight[0, 9:] = 0
    of_c = (rng.normal(1, 0.5, C).astype(np.float32) for _ in range(2))
    kernel = rng.normal(size=(K, C)).astype(np.float32)
    return windows, kernel, *of_c, weight / weight.sum(1, keepdims=True)


@pytest.mark.parametrize(("masked", "offset"), [(False, 0.0), (True, 20.0)])
def test_values_and_gradients_are_those_of_both_layers(masked, offset):
    *arguments, weight = given(masked, offset)
    probe = np.random.default_rng(1).normal(size=(B, weight.shape[1], C)).astype(np.float32)

    @functools.partial(jax.jit, static_argnums=0)
    def both(function):
        loss = lambda *arguments: (probe * function(*arguments, weight) ** 2).sum()  # noqa: E731
        return function(*arguments, weight), *jax.grad(loss, (0, 1, 2, 3))(*arguments)

    for ours, theirs in zip(both(normalised_convolution), both(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4 * np.abs(theirs).max())


def test_products_in_bfloat16_have_statistics_in_float32():
    windows, *others = given(False)
    half = normalised_convolution(jnp.asarray(windows, jnp.bfloat16), *others)
    assert half.dtype == jnp.bfloat16
    full = normalised_convolution(windows, *others)
    np.testing.assert_allclose(half.astype(np.float32), full, rtol=0.05, atol=0.05)
    grads = jax.grad(lambda *a: normalised_convolution(*a).sum(), (0, 1, 2))
    of_sound, of_kernel, of_scale = grads(jnp.asarray(windows, jnp.bfloat16), *others)
    assert (of_sound.dtype, of_kernel.dtype, of_scale.dtype) == (jnp.bfloat16, *["float32"] * 2)
