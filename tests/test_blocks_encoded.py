"""Layers of team RAS: positions everywhere, residuals that are dropped, gates, masks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.encoded import GATES, Dynamic, EncodedLayer
from affect_jax.models.blocks.transformer import position_table

B, T, S, H = 2, 5, 4, 8
SIZES = dict(hidden=H, layers=1, heads=2, ffn=6, dropout=0.0)


def encoder(gate="none", **settings):
    return Dynamic(**SIZES, gate=gate, longest=T if gate == "t" else 0, **settings)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return rng.normal(size=(B, T, 3)).astype(np.float32), np.arange(T) < np.array([[T], [2]])


def random_variables(model, *inputs):
    """Variables of the right shapes without compiling how they begin."""
    rng = np.random.default_rng(3)
    template = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda p: 0.5 * rng.normal(size=p.shape).astype(np.float32), template)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def test_a_layer_is_the_formula_of_the_original_in_float64():
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(B, n, H)) for n in (T, S, S))
    mask = np.arange(S) < np.array([[S], [3]])
    layer = EncodedLayer(heads=2, ffn=6, dropout=0.0)
    given = [x.astype(np.float32) for x in (q, k, v)]
    params = random_variables(layer, *given, mask)["params"]
    ours = jax.jit(layer.apply)({"params": params}, *given, mask)

    from scipy.special import erf

    q, k, v = (x + position_table(x.shape[1], H, "sinusoid") for x in (q, k, v))
    p = params["attention"]
    kernels = np.split(p["in_projection"]["kernel"], 3, axis=1)
    biases = np.split(p["in_projection"]["bias"], 3)
    parts = [x @ w + b for x, w, b in zip((q, k, v), kernels, biases, strict=True)]
    heads = []
    for h in (slice(0, 4), slice(4, 8)):
        score = parts[0][..., h] @ parts[1][..., h].swapaxes(1, 2) / 2
        weight = softmax(np.where(mask[:, None], score, -np.inf))
        heads.append(weight @ parts[2][..., h])
    out = p["out_projection"]
    x = norm(np.concatenate(heads, -1) @ out["kernel"] + out["bias"] + q, params["norm_1"])
    hidden = x @ params["linear_1"]["kernel"] + params["linear_1"]["bias"]
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    update = hidden @ params["linear_2"]["kernel"] + params["linear_2"]["bias"]
    np.testing.assert_allclose(ours, norm(update + x, params["norm_2"]), atol=1e-5)


@pytest.mark.parametrize("gate", GATES)
def test_padding_changes_no_frame_and_a_row_without_frames_is_finite(gate, inputs):
    x, mask = inputs
    mask = mask & np.array([[False], [True]])
    model = encoder(gate)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(variables, x):
        y, _ = model.apply(variables, x, mask)
        return (y[1, :2] ** 3).sum(), y

    variables = random_variables(model, x, mask)
    (_, y), grad = loss(variables, x)
    (_, changed), _ = loss(variables, np.where(mask[..., None], x, 7.0).astype(np.float32))
    np.testing.assert_allclose(y[1, :2], changed[1, :2], atol=1e-6)
    assert np.isfinite(y).all()
    for leaf in jax.tree.leaves(grad):
        assert np.isfinite(leaf).all()
    own = [
        np.abs(leaf).max() for path, leaf in jax.tree.leaves_with_path(grad) if "gate" in str(path)
    ]
    assert len(own) == (0 if gate == "none" else 1) and all(own)


def test_without_positions_the_order_of_frames_means_nothing(inputs):
    x = inputs[0]
    mask, order = np.ones((B, T), bool), np.random.default_rng(2).permutation(T)
    for positions, same in (("none", True), ("sinusoid", False)):
        model = encoder(positions=positions)
        variables, apply = random_variables(model, x, mask), jax.jit(model.apply)
        y, turned = (apply(variables, given, mask)[0] for given in (x, x[:, order]))
        assert np.allclose(y[:, order], turned, atol=1e-5) == same


def test_a_layer_drops_the_residual_and_half_precision_keeps_the_parameters(inputs):
    x, mask = inputs
    layer = EncodedLayer(heads=2, ffn=6, dropout=0.5, dtype=jnp.bfloat16)
    q = np.repeat(x, 3, axis=-1)[..., :H]
    drawn = jax.eval_shape(layer.init, jax.random.key(0), q, q, q, mask)
    assert {p.dtype for p in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}

    @jax.jit
    def apply(variables, key):
        return layer.apply(variables, q, q, q, mask, True, rngs={"dropout": key})

    variables = random_variables(layer, q, q, q, mask)
    y, again, other = (apply(variables, jax.random.key(n)) for n in (1, 1, 2))
    assert y.dtype == jnp.bfloat16
    assert (y == again).all() and (y != other).any()


@pytest.mark.parametrize(
    "change",
    [dict(heads=3), dict(gate="tb"), dict(positions="abaw4"), dict(gate="t"), dict(longest=4)],
)
def test_settings_that_no_encoder_has_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change)).replace("gate", "gate|longest")):
        Dynamic(**{**SIZES, **change})
