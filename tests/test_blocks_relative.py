"""The relative-attention encoder against its formulas, and what must not change its outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.relative import Relative, from_band, to_band

B, T, D, H = 2, 7, 3, 8
SETTINGS = dict(hidden=H, layers=2, heads=2, dropout=0.0, window=2, kernel=3)


def encoder(**changes) -> Relative:
    return Relative(**(SETTINGS | changes))


@pytest.fixture(scope="module")
def params():
    """Parameters of `encoder()`, with biases and scales away from 0 and 1."""
    x, mask = jnp.zeros((1, 2, D)), jnp.ones((1, 2), bool)
    tree = jax.jit(encoder().init)(jax.random.key(0), x, mask)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape).astype(np.float32), tree)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(1)
    return rng.normal(size=(B, T, D)).astype(np.float32), np.arange(T) < np.array([[T], [4]])


@functools.partial(jax.jit, static_argnames="model")
def run(params, x, mask, model=Relative(**SETTINGS)):  # noqa: B008 - a frozen dataclass
    return model.apply({"params": params}, x, mask)[0]


def encoder_numpy(p, x, mask, *, heads=2, window=2):
    """Sheet abaw4, 3.4, in float64, one row, head and pair of frames at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)

    def dense(q, x):
        return x @ q["kernel"] + q["bias"]

    def norm(q, x):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-4) * q["scale"] + q["bias"]
        )

    rows = []
    for x_td, mask_t in zip(np.asarray(x, np.float64), mask):
        h = dense(p["projection"], x_td[mask_t])
        n = len(h)
        for layer in (p["layer_0"], p["layer_1"]):
            a = layer["attention"]
            q, k, v = (dense(a[name], h) for name in ("query", "key", "value"))
            mixed = np.zeros_like(h)
            for columns in np.split(np.arange(h.shape[1]), heads):
                for i in range(n):
                    near = [abs(j - i) <= window for j in range(n)]
                    keys = [
                        k[j, columns] + near[j] * a["relative_key"][(j - i + window) * near[j]]
                        for j in range(n)
                    ]
                    values = [
                        v[j, columns] + near[j] * a["relative_value"][(j - i + window) * near[j]]
                        for j in range(n)
                    ]
                    weight = np.exp(np.array(keys) @ q[i, columns] / np.sqrt(len(columns)))
                    mixed[i, columns] = weight / weight.sum() @ np.array(values)
            h = norm(layer["norm_1"], h + dense(a["out_projection"], mixed))
            kernel = layer["convolution"]["kernel"]
            padded = np.pad(h, [(len(kernel) // 2,) * 2, (0, 0)])
            update = sum(padded[o : o + n] @ kernel[o] for o in range(len(kernel)))
            update = np.maximum(update + layer["convolution"]["bias"], 0)
            h = norm(layer["norm_2"], h + update)
        rows.append(np.pad(h, [(0, len(x_td) - n), (0, 0)]))
    return np.stack(rows)


def test_encoder_equals_the_formulas(params, inputs):
    np.testing.assert_allclose(run(params, *inputs), encoder_numpy(params, *inputs), atol=3e-6)


@pytest.mark.parametrize("time", [1, 2, 6])
@pytest.mark.parametrize("window", [0, 1, 4])
def test_band_and_square_are_each_others_transpose(time, window):
    rng = np.random.default_rng(0)
    band = rng.normal(size=(2, 3, time, 2 * window + 1)).astype(np.float32)
    square = np.asarray(from_band(band))
    for i in range(time):
        for j in range(time):
            near = abs(j - i) <= window
            want = band[..., i, j - i + window] if near else 0 * band[..., 0, 0]
            np.testing.assert_array_equal(square[..., i, j], want)
    np.testing.assert_array_equal(from_band(to_band(square, window)), square)


def test_padded_frames_are_zero_and_change_nothing(params, inputs):
    x, mask = inputs
    other = np.where(mask[..., None], x, 1e3).astype(np.float32)
    got, want = run(params, other, mask), run(params, x, mask)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert (np.asarray(want)[~mask] == 0).all()
    # Programs of another length add up in another order: only float64 tells that from a leak.
    with jax.enable_x64(True):
        double, model = jax.tree.map(np.float64, params), encoder(dtype=jnp.float64)
        whole = run(double, np.float64(x), mask, model)
        short = run(double, np.float64(x[1:, :4]), mask[1:, :4], model)
    np.testing.assert_allclose(short[0], whole[1, :4], atol=1e-12)


def test_a_row_without_valid_frames_gives_finite_outputs_and_gradients(params, inputs):
    x, mask = inputs[0], np.array([[False] * T, [True] * T])

    def total(params, x):
        out = run(params, x, mask)
        return (out**2).sum(), out

    grads, out = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, out)))


def test_no_array_has_time_times_time_times_width(params, inputs):
    """Relative terms cost [T, T], not [T, T, head]: what makes long segments possible."""
    apply = lambda x: encoder().apply({"params": params}, x, inputs[1])  # noqa: E731
    outputs = [v.aval for e in jax.make_jaxpr(apply)(inputs[0]).eqns for v in e.outvars]
    sizes = [np.prod(aval.shape) for aval in outputs]
    assert B * 2 * T * T < max(sizes) <= B * 2 * T * (T + 5)


def test_initial_values_are_those_of_the_sheet():
    model = encoder(hidden=64, window=40)
    x, mask = jnp.zeros((1, 2, 80)), jnp.ones((1, 2), bool)
    tree = jax.jit(model.init)(jax.random.key(1), x, mask)["params"]
    layer = tree["layer_1"]
    dense = [layer["attention"][name] for name in ("query", "key", "value", "out_projection")]
    for part in [tree["projection"], layer["convolution"], *dense]:
        assert abs(np.asarray(part["kernel"]).std() - 0.02) < 0.001 and not part["bias"].any()
    for name in ("relative_key", "relative_value"):
        table = np.asarray(layer["attention"][name])
        assert table.shape == (81, 32) and abs(table.std() - 32**-0.5) < 0.01


def test_dropout_acts_in_training_only(params, inputs):
    model = encoder(dropout=0.5)
    rngs = {"dropout": jax.random.key(0)}
    trained, _ = jax.jit(functools.partial(model.apply, train=True))(
        {"params": params}, *inputs, rngs=rngs
    )
    plain = run(params, *inputs, model)
    assert abs(trained - plain).max() > 0.1
    np.testing.assert_array_equal(plain, run(params, *inputs))


def test_bfloat16_keeps_parameters_in_float32(params, inputs):
    model = encoder(dtype=jnp.bfloat16)
    got = run(params, *inputs, model)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), run(params, *inputs), atol=0.15)
    drawn = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (dict(heads=3), "heads = 3 does not divide hidden = 8"),
        (dict(window=-1), "window = -1"),
        (dict(kernel=4), "kernel = 4: expected an odd number"),
        (dict(dropout=1), "dropout = 1"),
    ],
)
def test_impossible_settings_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        encoder(**changes)
