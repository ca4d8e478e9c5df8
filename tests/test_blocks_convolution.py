"""Convolutions with gradients written out, against those that JAX derives."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.convolution import fast_in_scan, matrix_product

# Size of space, window, strides, padding.
CASES = {
    "a line": ((11,), (3,), (1,), "SAME"),
    "a line whose end no place reaches": ((12,), (4,), (3,), "VALID"),
    "a line that a place ends": ((11,), (3,), (2,), "VALID"),
    "a line of one place": ((2,), (2,), (2,), "VALID"),
    "a plane": ((7, 8), (3, 3), (2, 2), ((1, 1), (1, 1))),
    "a plane, uneven": ((6, 9), (2, 5), (1, 3), ((0, 2), (4, 1))),
}


PRODUCTS = [case for case, (_, _, _, padding) in CASES.items() if padding == "VALID"]


@pytest.mark.parametrize(
    ("form", "case"),
    [*((fast_in_scan, case) for case in CASES), *((matrix_product, case) for case in PRODUCTS)],
)
def test_value_and_gradients_are_those_of_the_convolution(form, case):
    size, window, strides, padding = CASES[case]
    x = np.random.default_rng(0).normal(size=(3, *size, 2)).astype(np.float32)
    given = nn.Conv(4, window, strides, padding)
    ours = nn.Conv(4, window, strides, padding, conv_general_dilated=form)
    params = given.init(jax.random.key(0), x)

    def both(module):
        loss = lambda x, params: (module.apply(params, x) ** 3).sum()  # noqa: E731
        return module.apply(params, x), *jax.grad(loss, (0, 1))(x, params)

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), both(ours), both(given)
    )


@pytest.mark.parametrize(("platform", "written_out"), [("cpu", True), ("gpu", False)])
def test_gradients_are_written_out_on_a_cpu_alone(platform, written_out, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    module = nn.Conv(4, (3,), conv_general_dilated=fast_in_scan)
    x = np.zeros((1, 5, 2), np.float32)
    params = jax.eval_shape(module.init, jax.random.key(0), x)
    assert ("custom_vjp" in str(jax.make_jaxpr(module.apply)(params, x))) is written_out


@pytest.mark.parametrize("form", [fast_in_scan, matrix_product])
def test_what_it_does_not_know_is_no_silent_result(form):
    grouped = nn.Conv(4, (3,), feature_group_count=2, padding="VALID", conv_general_dilated=form)
    with pytest.raises(ValueError, match=f"{form.__name__}: .*groups"):
        jax.eval_shape(grouped.init, jax.random.key(0), np.zeros((1, 5, 2), np.float32))


def test_a_padded_line_is_no_silent_product():
    padded = nn.Conv(4, (3,), conv_general_dilated=matrix_product)
    with pytest.raises(ValueError, match="no padding"):
        jax.eval_shape(padded.init, jax.random.key(0), np.zeros((1, 5, 2), np.float32))


def test_an_activation_of_the_windows_is_one_of_the_line():
    x, kernel = (
        np.random.default_rng(0).normal(size=size).astype(np.float32)
        for size in ((2, 9, 3), (3, 3, 4))
    )
    plain = dict(lhs_dilation=(1,), rhs_dilation=(1,), feature_group_count=1)

    def value(x, kernel, before, within):
        return matrix_product(before(x), kernel, (2,), "VALID", activation=within, **plain)

    for number in (0, 1):
        want, ours = (
            jax.grad(lambda *a, forms=forms: (value(*a, *forms) ** 2).sum(), number)(x, kernel)
            for forms in ((jnp.tanh, lambda x: x), (lambda x: x, jnp.tanh))
        )
        np.testing.assert_allclose(ours, want, rtol=1e-5, atol=1e-5)
