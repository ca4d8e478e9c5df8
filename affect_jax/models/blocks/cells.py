"""A recurrent cell over time: one scan forward, one back, one product for the weights' gradient."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

State = tuple[jax.Array, ...]  # float32 (H, batch) each, the output h first


class Cell(NamedTuple):
    """A recurrent cell: how one frame changes the state.

    Attributes:
        states: names of the state's arrays; the first is the output.
        blocks: how often H the gates are wide.
        advance: (x_gb, a_gb, state) -> state, elementwise: x is what the frame gives to the gates,
            a what the state before gives them, both float32 (blocks * H, batch).
    """

    states: tuple[str, ...]
    blocks: int
    advance: Callable[[jax.Array, jax.Array, State], State]


def _lstm(x: jax.Array, a: jax.Array, state: State) -> State:
    i, f, g, o = jnp.split(x + a, 4, axis=0)
    c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _gru(x: jax.Array, a: jax.Array, state: State) -> State:
    x_r, x_z, x_n = jnp.split(x, 3, axis=0)
    a_r, a_z, a_n = jnp.split(a, 3, axis=0)
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
    x_tgb: jax.Array,
    mask_tb: jax.Array,
    state: State,
) -> tuple[jax.Array, State]:
    """The outputs of all frames and the last state; a masked frame keeps the state.

    Differentiable in kernel, bias, x and state. The gradient of the kernel is one product over
    all frames: left to the scan, it would be a product and a sum of the kernel's size a frame.

    The batch stands last, because [blocks * H, H] @ [H, batch] is three times as quick as its
    transpose on a CPU, where the product is what a frame costs.

    Args:
        cell: LSTM or GRU.
        reverse: from the last frame to the first.
        kernel: float32 (H, blocks * H), applied to the state.
        bias: float32 (blocks * H), added to that product.
        x_tgb: (time, blocks * H, batch), the inputs after their own kernel and bias; its dtype is
            that of the products.
        mask_tb: bool (time, batch).
        state: before the first frame.

    Returns:
        (time, H, batch) in the dtype of x, and the state after the last frame.
    """
    return _forward(cell, reverse, kernel, bias, x_tgb, mask_tb, state)[0]


def _forward(
    cell: Cell,
    reverse: bool,
    kernel: jax.Array,
    bias: jax.Array,
    x_tgb: jax.Array,
    mask_tb: jax.Array,
    state: State,
) -> tuple[Any, Any]:
    dtype = x_tgb.dtype
    # Without the barrier XLA puts the transposition into the product of every frame.
    transposed = jax.lax.optimization_barrier(kernel.astype(dtype).T)

    def body(before: State, frame: Any) -> Any:
        x, mask = frame
        a = _product(transposed, before[0].astype(dtype)) + bias[:, None]
        state = _advance(cell, mask, x, a, before)
        return state, (state[0].astype(dtype), a.astype(dtype), before)

    state, (h, a, before) = _scan(body, state, (x_tgb, mask_tb), reverse)
    return (h, state), (kernel, x_tgb, mask_tb, a, before)


def _backward(cell: Cell, reverse: bool, kept: Any, cotangents: Any) -> Any:
    kernel, x_tgb, mask_tb, a_tgb, before = kept
    dh, dstate = cotangents
    dtype = x_tgb.dtype
    low = kernel.astype(dtype)

    def body(dstate: State, frame: Any) -> Any:
        x, a, before, mask, dh = frame
        dstate = (dstate[0] + dh.astype(jnp.float32), *dstate[1:])
        _, pull = jax.vjp(functools.partial(_advance, cell, mask), x, a, before)
        dx, da, dbefore = pull(dstate)
        return (dbefore[0] + _product(low, da), *dbefore[1:]), (dx, da)

    frames = (x_tgb, a_tgb, before, mask_tb, dh)
    dstate, (dx, da) = _scan(body, dstate, frames, not reverse)
    h = before[0].astype(dtype)
    dkernel = jnp.einsum("thb,tgb->hg", h, da, preferred_element_type=jnp.float32)
    return dkernel, da.astype(jnp.float32).sum((0, 2)), dx, None, dstate


def _scan(body: Callable[..., Any], state: State, frames: Any, reverse: bool) -> Any:
    # A turn of the loop costs an accelerator as much as a small product, a CPU nothing.
    unroll = 1 if jax.default_backend() == "cpu" else 8
    return jax.lax.scan(body, state, frames, reverse=reverse, unroll=unroll)


def _advance(cell: Cell, mask: jax.Array, x: jax.Array, a: jax.Array, before: State) -> State:
    """The state after a frame: the one before it in rows where there is no frame."""
    after = cell.advance(x.astype(jnp.float32), a.astype(jnp.float32), before)
    return tuple(jnp.where(mask, new, old) for new, old in zip(after, before, strict=True))


def _product(kernel: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.dot(kernel, x, preferred_element_type=jnp.float32)


recurrence.defvjp(_forward, _backward)
