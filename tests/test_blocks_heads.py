"""Heads with a layer norm: what stands where, and what the last layer reads."""

import jax
import numpy as np
import pytest
from scipy.special import erf

from affect_jax.models.blocks.heads import NORMS, NormHead


def normed(x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)


def linear(x, p):
    return x @ np.float64(p["kernel"]) + p["bias"]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("hidden", [0, 5])
def test_the_norm_stands_where_it_is_asked_for(norm, hidden):
    head = NormHead(size=2, hidden=hidden, dropout=0.3, norm=norm)
    x = np.random.default_rng(0).normal(2, 3, size=(2, 3, 4)).astype(np.float32)
    params = jax.jit(head.init)(jax.random.key(0), x)["params"]
    out, read = jax.jit(head.apply)({"params": params}, x)
    want = x
    if hidden:
        want = linear(normed(want) if norm == "input" else want, params["hidden"])
        want = normed(want) if norm == "hidden" else want
        want = want * (1 + erf(want / np.sqrt(2))) / 2
    np.testing.assert_allclose(read, want, atol=1e-5)
    np.testing.assert_allclose(out, linear(want, params["out"]), atol=1e-5)
    assert set(params) == ({"hidden", "out"} if hidden else {"out"}) | (
        {"norm"} if hidden and norm != "none" else set()
    )


@pytest.mark.parametrize("change", [dict(norm="middle"), dict(hidden=-1), dict(input_dropout=1.0)])
def test_settings_that_no_head_has_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).split("_")[-1]):
        NormHead(**{**dict(size=1, hidden=2, dropout=0.0), **change})
