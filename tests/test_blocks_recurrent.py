"""LSTM and GRU against the formulas, their gradients against a plain scan, and their carry."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks import cells
from affect_jax.models.blocks.recurrent import GRU, LSTM

B, T, D, H = 3, 6, 4, 5
LENGTHS = np.array([6, 4, 0])
CELLS = {"lstm": cells.LSTM, "gru": cells.GRU}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def frame(kind, p, x, state):
    """One frame of one row in float64."""
    gates = x @ p["input_kernel"] + p["input_bias"]
    held = state["h"] @ p["recurrent_kernel"] + p["recurrent_bias"]
    if kind == "lstm":
        i, f, g, o = np.split(gates + held, 4)
        c = sigmoid(f) * state["c"] + sigmoid(i) * np.tanh(g)
        return {"h": sigmoid(o) * np.tanh(c), "c": c}
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(gates, 3), np.split(held, 3)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + sigmoid(x_r + h_r) * h_n)
    return {"h": (1 - z) * n + z * state["h"]}


def by_hand(kind, params, row, carry, layers=2):
    """Outputs of both directions, [frames, 2H], and each layer's forward state after the row."""
    x, states = np.float64(row), []
    for i in range(layers):
        outputs = []
        for end, order in (("", 1), ("_reverse", -1)):
            p = jax.tree.map(np.float64, params[f"layer_{i}{end}"])
            state = {k: np.float64(v[i]) * (order == 1) for k, v in carry.items()}
            out = np.zeros((len(x), H))
            for t in range(len(x))[::order]:
                state = frame(kind, p, x[t], state)
                out[t] = state["h"]
            outputs.append(out)
            if order == 1:
                states.append(state)
        x = np.concatenate(outputs, axis=-1)
    return x, {k: np.stack([s[k] for s in states]) for k in carry}


@pytest.fixture(scope="module", params=["lstm", "gru"])
def case(request):
    """(kind, model, params, x, mask, carry) with two layers and both directions."""
    kind = request.param
    model = {"lstm": LSTM, "gru": GRU}[kind](hidden=H, layers=2, bidirectional=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(B, T, D)).astype(np.float32)
    mask = np.arange(T) < LENGTHS[:, None]
    carry = {k: rng.normal(size=(B, 2, H)).astype(np.float32) * 0.5 for k in CELLS[kind].states}
    params = jax.jit(model.init)(jax.random.key(0), x, mask)["params"]
    return kind, model, params, x, mask, carry


@pytest.fixture(scope="module")
def run(case):
    """The model, compiled once: (params, x, mask, carry) -> (outputs, carry)."""
    model = case[1]
    return jax.jit(lambda params, *inputs: model.apply({"params": params}, *inputs))


def test_outputs_and_carry_are_those_of_the_formulas(case, run):
    kind, _, params, x, mask, carry = case
    got, after = run(params, x, mask, carry)
    for b, n in enumerate(LENGTHS):
        before = {k: v[b] for k, v in carry.items()}
        want, state = by_hand(kind, params, x[b, :n], before)
        np.testing.assert_allclose(got[b, :n], want, atol=1e-6)
        for k in carry:  # of the last unmasked frame; where there is none, the carry stays
            np.testing.assert_allclose(after[k][b], state[k] if n else before[k], atol=1e-6)


def test_what_stands_in_padding_changes_nothing(case, run):
    _, _, params, x, mask, carry = case
    other = np.where(mask[..., None], x, 7).astype(np.float32)
    got, want = run(params, other, mask, carry), run(params, x, mask, carry)
    np.testing.assert_array_equal(got[0][mask], want[0][mask])
    jax.tree.map(np.testing.assert_array_equal, got[1], want[1])


def test_no_carry_is_a_carry_of_zeros(case, run):
    _, model, params, x, mask, carry = case
    zeros = jax.tree.map(np.zeros_like, carry)
    got = jax.jit(lambda p: model.apply({"params": p}, x, mask, None))(params)
    jax.tree.map(np.testing.assert_array_equal, got, run(params, x, mask, zeros))


def plain(cell, reverse, kernel, bias, x_tgb, mask_tb, state):
    """cells.recurrence without a gradient of its own."""

    def body(state, one):
        x, mask = one
        new = cell.advance(x, kernel.T @ state[0] + bias[:, None], state)
        state = tuple(jnp.where(mask, a, b) for a, b in zip(new, state, strict=True))
        return state, state[0]

    state, h = jax.lax.scan(body, state, (x_tgb, mask_tb), reverse=reverse)
    return h, state


@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_a_plain_scan(kind, reverse):
    cell = CELLS[kind]
    rng = np.random.default_rng(1)
    width = cell.blocks * H
    shapes = [(H, width), (width,), (T, width, B), *[(H, B)] * len(cell.states)]
    kernel, bias, x, *state = (rng.normal(size=s).astype(np.float32) for s in shapes)
    mask = (np.arange(T) < LENGTHS[:, None]).T
    weight = rng.normal(size=(T, H, B)).astype(np.float32)

    def loss(function, kernel, bias, x, state):
        h, last = function(cell, reverse, kernel, bias, x, mask, state)
        return (weight * h).sum() + sum((leaf**2).sum() for leaf in last)

    ours, theirs = (
        jax.jit(jax.grad(functools.partial(loss, function), argnums=(0, 1, 2, 3)))(
            kernel, bias, x, tuple(state)
        )
        for function in (cells.recurrence, plain)
    )
    for got, want in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5 * (1 + np.abs(want).max()))
    assert (np.asarray(ours[2])[~mask.repeat(width, 0).reshape(T, width, B)] == 0).all()


def test_both_biases_are_parameters_drawn_like_the_kernels(case):
    kind, _, params, *_ = case
    width = CELLS[kind].blocks * H
    shapes = jax.tree.map(jnp.shape, params)
    assert set(shapes) == {"layer_0", "layer_0_reverse", "layer_1", "layer_1_reverse"}
    assert shapes["layer_1"] == {
        "input_kernel": (2 * H, width),
        "input_bias": (width,),
        "recurrent_kernel": (H, width),
        "recurrent_bias": (width,),
    }
    drawn = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)])
    bound = H**-0.5  # of a uniform distribution
    assert np.abs(drawn).max() <= bound and np.abs(drawn.std() / bound - 3**-0.5) < 0.03


def test_bfloat16_keeps_states_in_float32_near_those_of_float32(case, run):
    _, model, params, x, mask, carry = case
    half = model.clone(dtype=jnp.bfloat16)
    got, state = jax.jit(lambda p: half.apply({"params": p}, x, mask, carry))(params)
    want, exact = run(params, x, mask, carry)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(np.float32)[mask], want[mask], atol=0.03)
    for k in state:
        assert state[k].dtype == jnp.float32
        np.testing.assert_allclose(state[k], exact[k], atol=0.03)


def test_dropout_follows_every_layer(case, run):
    _, model, params, x, mask, carry = case
    noisy = functools.partial(model.clone(dropout=0.5).apply, train=True)
    rngs = {"dropout": jax.random.key(0)}
    got, state = jax.jit(noisy)({"params": params}, x, mask, carry, rngs=rngs)
    exact = run(params, x, mask, carry)[1]
    share = float((np.asarray(got)[mask] == 0).mean())
    assert 0.3 < share < 0.7
    np.testing.assert_array_equal(state["h"][:, 0], exact["h"][:, 0])
    assert (np.asarray(state["h"][:2, 1]) != exact["h"][:2, 1]).all()


def test_a_rate_of_one_is_refused():
    with pytest.raises(ValueError, match=r"dropout = 1.0"):
        GRU(hidden=H, dropout=1.0)
