"""A recurrent cell over time: one scan forward, one back, one product for the weights' gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

State = tuple[jax.Array, ...]  # float32 (batch, H) each, the output h first


class Cell(NamedTuple):
    """What one frame does to the state.

    Attributes:
        states: names of the state's arrays; the first is the output.
        blocks: how often H the gates are wide.
        advance: (x_bg, a_bg, state) -> state, elementwise: x is what the frame gives to the gates,
            a what the state before gives them, float32 (batch, blocks * H).
    """

    states: tuple[str, ...]
    blocks: int
    advance: Callable[[jax.Array, jax.Array, State], State]


def _lstm(x: jax.Array, a: jax.Array, state: State) -> State:
    i, f, g, o = jnp.split(x + a, 4, axis=-1)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(x: jax.Array, a: jax.Array, state: State) -> State:
    x_r, x_z, x_n = jnp.split(x, 3, axis=-1)
    a_r, a_z, a_n = jnp.split(a, 3, axis=-1)
    n = jnp.tanh(x_n + jax.nn.sigmoid(x_r + a_r) * a_n)
    z = jax.nn.sigmoid(x_z + a_z)
    return ((1 - z) * n + z * state[0],)


# The order of the blocks (i f g o; r z n) is that of PyTorch.
LSTM = Cell(("h", "c"), 4, _lstm)
GRU = Cell(("h",), 3, _gru)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recurrence(
    cell: Cell,
    reverse: bool,
    kernel: jax.Array,
    bias: jax.Array,
    x_tbg: jax.Array,
    valid_tb: jax.Array,
    state: State,
) -> tuple[jax.Array, State]:
    """The outputs of all frames and the last state; a frame that is not valid keeps the state.

    Differentiable in kernel, bias, x and state. The gradient of the kernel is one product over
    all frames: left to the scan, it would be a product and a sum of the kernel's size a frame.

    Args:
        cell: LSTM or GRU.
        reverse: from the last frame to the first.
        kernel: float32 (H, blocks * H), applied to the state.
        bias: float32 (blocks * H), added to that product.
        x_tbg: (time, batch, blocks * H), the inputs after their own kernel and bias; its dtype is
            that of the products.
        valid_tb: bool (time, batch).
        state: before the first frame.

    Returns:
        (time, batch, H) in the dtype of x, and the state after the last frame.
    """
    step = _step(cell, kernel, bias, x_tbg.dtype)

    def body(state: State, frame: Any) -> tuple[State, jax.Array]:
        state, _ = step(state, *frame)
        return state, state[0].astype(x_tbg.dtype)

    state, h = jax.lax.scan(body, state, (x_tbg, valid_tb), reverse=reverse)
    return h, state


def _step(cell: Cell, kernel: jax.Array, bias: jax.Array, dtype: Any) -> Callable[..., Any]:
    kernel = kernel.astype(dtype)

    def step(state: State, x: jax.Array, valid: jax.Array) -> tuple[State, jax.Array]:
        a = jnp.dot(state[0].astype(dtype), kernel, preferred_element_type=jnp.float32) + bias
        new = cell.advance(x.astype(jnp.float32), a, state)
        return _where(valid, new, state), a

    return step


def _where(valid: jax.Array, new: State, old: State) -> State:
    return tuple(jnp.where(valid[:, None], a, b) for a, b in zip(new, old, strict=True))


def _forward(
    cell: Cell,
    reverse: bool,
    kernel: jax.Array,
    bias: jax.Array,
    x_tbg: jax.Array,
    valid_tb: jax.Array,
    state: State,
) -> tuple[Any, Any]:
    step, dtype = _step(cell, kernel, bias, x_tbg.dtype), x_tbg.dtype

    def body(before: State, frame: Any) -> Any:
        state, a = step(before, *frame)
        return state, (state[0].astype(dtype), a.astype(dtype), before)

    state, (h, a, before) = jax.lax.scan(body, state, (x_tbg, valid_tb), reverse=reverse)
    return (h, state), (kernel, x_tbg, valid_tb, a, before)


def _backward(cell: Cell, reverse: bool, kept: Any, cotangents: Any) -> Any:
    kernel, x_tbg, valid_tb, a_tbg, before = kept
    dh, dstate = cotangents
    dtype = x_tbg.dtype
    transposed = kernel.astype(dtype).T

    def body(dstate: State, frame: Any) -> Any:
        x, a, before, valid, dh = frame
        dstate = (dstate[0] + dh.astype(jnp.float32), *dstate[1:])
        zeros = jax.tree.map(jnp.zeros_like, dstate)
        x, a = x.astype(jnp.float32), a.astype(jnp.float32)
        _, pull = jax.vjp(cell.advance, x, a, before)
        dx, da, dbefore = pull(_where(valid, dstate, zeros))
        kept = _where(valid, zeros, dstate)
        dbefore = jax.tree.map(jnp.add, dbefore, kept)
        da = da.astype(dtype)
        through = jnp.dot(da, transposed, preferred_element_type=jnp.float32)
        return (dbefore[0] + through, *dbefore[1:]), (dx.astype(dtype), da)

    frames = (x_tbg, a_tbg, before, valid_tb, dh)
    dstate, (dx, da) = jax.lax.scan(body, dstate, frames, reverse=not reverse)
    h = before[0].astype(dtype)
    dkernel = jnp.einsum("tbh,tbg->hg", h, da, preferred_element_type=jnp.float32)
    dbias = da.astype(jnp.float32).sum((0, 1))
    return dkernel, dbias, dx, None, dstate


recurrence.defvjp(_forward, _backward)
