"""GELU with a gradient of its own, against flax's."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.gelu import gelu

X = np.linspace(-6, 6, 97, dtype=np.float32)


def test_values_and_gradients_are_those_of_flax():
    def both(function):
        return function(X), jax.grad(lambda x: (function(x) ** 2).sum())(X)

    for ours, theirs in zip(both(gelu), both(lambda x: nn.gelu(x, approximate=False))):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_in_bfloat16_the_only_rounding_is_that_of_the_result():
    x = X.astype(jnp.bfloat16)
    np.testing.assert_array_equal(gelu(x), gelu(x.astype(np.float32)).astype(jnp.bfloat16))
    slope, full = (jax.vmap(jax.grad(gelu))(x) for x in (x, x.astype(np.float32)))
    np.testing.assert_array_equal(slope, full.astype(jnp.bfloat16))


def test_the_backward_pass_keeps_the_input_alone():
    _, back = jax.vjp(gelu, X)
    (kept,) = jax.tree.leaves(back)
    np.testing.assert_array_equal(kept, X)
