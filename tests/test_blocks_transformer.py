"""The transformer encoder against its formulas, and what must not change its outputs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.transformer import Transformer, position_table

B, T, D, H = 2, 5, 3, 8
SETTINGS = dict(hidden=H, layers=2, heads=2, ffn=12, dropout=0.0, positions="abaw4")


def encoder(**changes) -> Transformer:
    return Transformer(**(SETTINGS | changes))


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
    return rng.normal(size=(B, T, D)).astype(np.float32), np.arange(T) < np.array([[5], [3]])


@functools.partial(jax.jit, static_argnames="model")
def run(params, x, mask, model=Transformer(**SETTINGS)):  # noqa: B008 - a frozen dataclass
    return model.apply({"params": params}, x, mask)[0]


def encoder_numpy(p, x, mask, heads=2):
    """Sheet abaw4, 3.3, in float64, one row and one head at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)

    def dense(q, x):
        return x @ q["kernel"] + q["bias"]

    def norm(q, x):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * q["scale"] + q["bias"]
        )

    rows = []
    for x_td, mask_t in zip(np.asarray(x, np.float64), mask):
        h = dense(p["projection"], x_td)
        for t in range(1, len(h)):  # row 0 of the table is zero
            for j in range(h.shape[1]):
                angle = t / 10000 ** (2 * (j // 2) / h.shape[1])
                h[t, j] += np.cos(angle) if j % 2 else np.sin(angle)
        for layer in (p["layer_0"], p["layer_1"]):
            q, k, v = np.split(dense(layer["attention"]["in_projection"], h), 3, axis=1)
            mixed = []
            for columns in np.split(np.arange(h.shape[1]), heads):
                score = q[:, columns] @ k[:, columns].T / np.sqrt(len(columns))
                weight = np.exp(score) * mask_t
                mixed.append(weight / weight.sum(1, keepdims=True) @ v[:, columns])
            attended = dense(layer["attention"]["out_projection"], np.concatenate(mixed, axis=1))
            h = norm(layer["norm_1"], h + attended)
            update = dense(layer["linear_2"], np.maximum(dense(layer["linear_1"], h), 0))
            h = norm(layer["norm_2"], h + update)
        rows.append(h)
    return np.stack(rows)


def test_encoder_equals_the_formulas(params, inputs):
    np.testing.assert_allclose(run(params, *inputs), encoder_numpy(params, *inputs), atol=2e-6)


def test_padded_frames_change_nothing(params, inputs):
    x, mask = inputs
    other = np.where(mask[..., None], x, 1e3).astype(np.float32)
    got, want = run(params, other, mask), run(params, x, mask)
    np.testing.assert_allclose(got[mask], want[mask], atol=1e-6)
    short = run(params, x[1:, :3], mask[1:, :3])
    np.testing.assert_allclose(short[0], want[1, :3], atol=1e-6)


def test_a_row_without_valid_frames_gives_finite_outputs_and_gradients(params, inputs):
    x, mask = inputs[0], np.array([[False] * T, [True] * T])

    def total(params, x):
        out = run(params, x, mask)
        return (out**2).sum(), out

    grads, out = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(params, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, out)))


def test_without_positions_the_order_of_frames_does_not_matter(params, inputs):
    x, mask = inputs[0], np.ones((B, T), bool)
    model, order = encoder(positions="none"), np.array([3, 1, 4, 0, 2])
    want = run(params, x, mask, model)[:, order]
    got = run(params, x[:, order], mask, model)
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert abs(run(params, x[:, order], mask) - run(params, x, mask)[:, order]).max() > 1e-2


@pytest.mark.parametrize("width", [1, 7, 10])
def test_position_table_equals_its_formula_at_any_length(width):
    table = position_table(700, width, "sinusoid")
    assert table.shape == (700, width) and table.dtype == np.float32
    for p, j in [(0, 0), (1, width - 1), (511, width // 2), (699, width - 1)]:
        angle = p / 10000 ** (2 * (j // 2) / width)
        assert table[p, j] == np.float32(np.cos(angle) if j % 2 else np.sin(angle))


def test_original_position_table_differs_in_row_0_only():
    ours, original = position_table(9, 6, "sinusoid"), position_table(9, 6, "abaw4")
    assert (original[0] == 0).all() and (ours[0] == [0, 1, 0, 1, 0, 1]).all()
    np.testing.assert_array_equal(ours[1:], original[1:])


def test_parameters_have_these_names_and_shapes(params):
    layer = {
        "attention/in_projection": ((H, 3 * H), (3 * H,)),
        "attention/out_projection": ((H, H), (H,)),
        "linear_1": ((H, 12), (12,)),
        "linear_2": ((12, H), (H,)),
    }
    want = {"projection/kernel": (D, H), "projection/bias": (H,)}
    for i in range(2):
        for name, (kernel, bias) in layer.items():
            want |= {f"layer_{i}/{name}/kernel": kernel, f"layer_{i}/{name}/bias": bias}
        for norm in ("norm_1", "norm_2"):
            want |= {f"layer_{i}/{norm}/scale": (H,), f"layer_{i}/{norm}/bias": (H,)}
    flat = jax.tree_util.tree_leaves_with_path(params)
    got = {"/".join(key.key for key in path): leaf.shape for path, leaf in flat}
    assert got == want


def test_initial_values_are_those_of_the_sheet():
    model = encoder(hidden=64, ffn=96)
    x, mask = jnp.zeros((1, 2, 80)), jnp.ones((1, 2), bool)
    tree = jax.jit(model.init)(jax.random.key(1), x, mask)["params"]
    attention = [tree[f"layer_{i}"]["attention"] for i in range(2)]
    normal = [tree["projection"], tree["layer_1"]["linear_1"], tree["layer_1"]["linear_2"]]
    for dense in [*normal, attention[0]["out_projection"]]:
        kernel = np.asarray(dense["kernel"])
        assert abs(kernel.mean()) < 0.002 and abs(kernel.std() - 0.02) < 0.001
        assert not dense["bias"].any()
    bound = np.sqrt(6 / (4 * 64))
    for kernel in (np.asarray(a["in_projection"]["kernel"]) for a in attention):
        assert 0.99 * bound < abs(kernel).max() <= bound
        assert abs(kernel.std() - bound / np.sqrt(3)) < 0.02 * bound
    # The original starts all layers with one projection; ours are drawn apart.
    assert (
        attention[0]["in_projection"]["kernel"] != attention[1]["in_projection"]["kernel"]
    ).any()


def test_without_projection_the_inputs_have_the_width_already(params, inputs):
    model = encoder(project=False)
    layers = {name: leaf for name, leaf in params.items() if name != "projection"}
    wide = inputs[0] @ params["projection"]["kernel"] + params["projection"]["bias"]
    got = run(layers, wide, inputs[1], model)
    np.testing.assert_allclose(got, run(params, *inputs), atol=1e-6)
    with pytest.raises(ValueError, match="inputs 8 wide"):
        run(layers, *inputs, model)


def test_bfloat16_computes_in_half_and_keeps_norms_in_float32(params, inputs):
    model = encoder(dtype=jnp.bfloat16)
    got = run(params, *inputs, model)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), run(params, *inputs), atol=0.1)
    drawn = jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype("float32")}
    graph = str(jax.make_jaxpr(lambda x: model.apply({"params": params}, x, inputs[1]))(inputs[0]))
    for operation in (" exp ", " rsqrt "):
        lines = [line for line in graph.splitlines() if operation in line]
        assert lines and all(":f32[" in line for line in lines)


def test_dropout_acts_in_four_places_and_in_training_only(params, inputs):
    model = encoder(dropout=0.5)
    rngs = {"dropout": jax.random.key(0)}
    _, state = jax.jit(
        functools.partial(model.apply, train=True, rngs=rngs, capture_intermediates=True)
    )({"params": params}, *inputs)
    layer = state["intermediates"]["layer_0"]
    places = {**layer, "attention": layer["attention"].get("dropout")}
    for name in ("dropout", "dropout_1", "dropout_2"):
        zeros = np.asarray(places[name]["__call__"][0]) == 0
        assert 0.2 < zeros.mean() < 0.9
    assert (np.asarray(places["attention"]["__call__"][0]) == 0).any()
    np.testing.assert_array_equal(run(params, *inputs, model), run(params, *inputs))


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="heads = 3 does not divide hidden = 8"):
        encoder(heads=3)
    with pytest.raises(ValueError, match="Did you mean 'sinusoid'"):
        encoder(positions="sinusoids")
    with pytest.raises(ValueError, match="dropout = 2"):
        encoder(dropout=2)
