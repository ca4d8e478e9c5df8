"""Convolutions in the form that is fast where they run: give one to flax.linen.Conv.

`fast_in_scan` is for a CPU. The gradients that JAX derives are convolutions with rows and channels
in other places. On a CPU, XLA brings those into the form that its fast code takes in the outermost
computation alone, and not in a scan, as a training step is: a step of four small layers took 1.3 s
of CPU time so, and takes 0.08 s with its gradients in that form from the start. Elsewhere they are
left as JAX derives them: libraries for GPUs have calls of their own for these. Which form is faster
there was not measured.

`matrix_product` is for a GPU and a line. There the convolutions of a speech model, with their norm
and GELUs, reached a fifth of the card's peak. Its form was chosen by what the program that XLA
compiles for the card reads and writes (docs/speech.md). It was not measured there: whether it is
quicker than the library's convolution is not known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], ...]
Activation = Callable[[jax.Array], jax.Array]


def fast_in_scan(
    lhs: jax.Array, rhs: jax.Array, window_strides: Any, padding: Any, **options: Any
) -> jax.Array:
    """Result of jax.lax.conv_general_dilated, as flax.linen.Conv calls it: give it that one.

    Args:
        lhs: [B, *space, C].
        rhs: kernel [*window, C, D].
        options: as there; no dilation, groups or precision of its own is known here.

    Raises:
        ValueError: an option that is not known.
    """
    _require_plain("fast_in_scan", **options)
    if isinstance(padding, str):
        space, window = lhs.shape[1:-1], rhs.shape[:-2]
        padding = jax.lax.padtype_to_pads(space, window, window_strides, padding)
    pads = tuple((int(a), int(b)) for a, b in padding)
    if jax.default_backend() != "cpu":
        return _plain(lhs, rhs, tuple(window_strides), pads)
    return _convolve(lhs, rhs, tuple(window_strides), pads)


def matrix_product(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Any,
    padding: Any,
    activation: Activation = lambda x: x,
    **options: Any,
) -> jax.Array:
    """Result of fast_in_scan [B, places, D] on a line without padding, as one product of matrices.

    Each place's window is copied, its taps side by side. With a stride that is little less than the
    window that copies few values twice, and its gradients are products of matrices, too.

    Args:
        lhs: [B, T, C].
        rhs: kernel [K, C, D].
        window_strides: of one axis.
        padding: "VALID".
        activation: of the values of `lhs`, computed as they are copied.
        options: as in fast_in_scan; the same are not known here.

    Raises:
        ValueError: several axes, padding, or an option that is not known.
    """
    if rhs.ndim != 3 or padding != "VALID":
        raise ValueError("matrix_product: one axis, no padding")
    _require_plain("matrix_product", **options)
    (taps, channels, out), (stride,) = rhs.shape, window_strides
    windows = _activated_windows(lhs, activation, taps, stride)
    return windows @ rhs.reshape(taps * channels, out)


def windows_of(x_btc: jax.Array, taps: int, stride: int) -> jax.Array:
    """(B, T, C) -> (B, places, taps * C), what the places of a convolution without padding read."""
    end = (x_btc.shape[1] - taps) // stride * stride + 1
    return jnp.concatenate([x_btc[:, tap : tap + end : stride] for tap in range(taps)], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _activated_windows(x: jax.Array, activation: Activation, taps: int, stride: int) -> jax.Array:
    # Values of the activation are computed as they are copied, some twice, and not stored.
    return activation(windows_of(x, taps, stride))


def _windows_forward(x: jax.Array, *static: Any) -> tuple[jax.Array, jax.Array]:
    return _activated_windows(x, *static), x


def _windows_backward(
    activation: Activation, taps: int, stride: int, x: jax.Array, gradient: jax.Array
) -> tuple[jax.Array]:
    _, back = jax.vjp(lambda x: windows_of(activation(x), taps, stride), x)
    return back(gradient)


_activated_windows.defvjp(_windows_forward, _windows_backward)


def _require_plain(
    name: str,
    *,
    lhs_dilation: Any,
    rhs_dilation: Any,
    feature_group_count: int,
    precision: Any = None,
    **others: Any,
) -> None:
    del others  # names of axes, and a dtype that flax.linen.Conv leaves as it is
    dilated = {*lhs_dilation, *rhs_dilation} != {1}
    if dilated or feature_group_count != 1 or precision is not None:
        raise ValueError(f"{name}: no dilation, groups or precision")


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> jax.Array:
    return _plain(x, kernel, strides, pads)


def _plain(x: jax.Array, kernel: jax.Array, strides: Any, pads: Pads, **dilation: Any) -> jax.Array:
    space = "HWD"[: kernel.ndim - 2]
    axes = (f"N{space}C", f"{space}IO", f"N{space}C")
    return jax.lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=axes, **dilation
    )


def _forward(x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], pads: Pads) -> Any:
    return _plain(x, kernel, strides, pads), (x, kernel)


def _backward(strides: tuple[int, ...], pads: Pads, saved: Any, gradient: jax.Array) -> Any:
    x, kernel = saved
    axes = range(len(strides))
    size, window, places = x.shape[1:-1], kernel.shape[:-2], gradient.shape[1:-1]
    # Padding behind the axis as far as the last place reaches: below 0 where it does not.
    behind = [strides[i] * (places[i] - 1) + window[i] - size[i] - pads[i][0] for i in axes]
    of_x = _plain(
        gradient,
        jnp.flip(kernel, tuple(axes)).swapaxes(-1, -2),
        (1,) * len(strides),
        tuple((window[i] - 1 - pads[i][0], window[i] - 1 - behind[i]) for i in axes),
        lhs_dilation=strides,
    )
    of_kernel = _plain(
        x.swapaxes(0, -1),
        jnp.moveaxis(gradient, 0, -2),
        (1,) * len(strides),
        tuple((pads[i][0], behind[i]) for i in axes),
        rhs_dilation=strides,
    )
    return of_x, jnp.moveaxis(of_kernel, 0, -2)


_convolve.defvjp(_forward, _backward)
