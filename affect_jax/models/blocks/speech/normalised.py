"""The first convolution of a speech model and its norm over time, as one function.

One channel of sound becomes hundreds, which are much of what the model reads and writes. Windows of
sound are few values in comparison, and all that the gradients need follows from them and from one
product with the gradient that comes in.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

EPSILON = 1e-5
Saved = tuple[jax.Array, ...]
_exact = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)


@jax.custom_vjp
def normalised_convolution(
    windows_btk: jax.Array,
    kernel_kc: jax.Array,
    scale_c: jax.Array,
    shift_c: jax.Array,
    weight_bt: jax.Array,
) -> jax.Array:
    """scale (y - m) / sqrt(v + 1e-5) + shift; y = windows kernel, with mean m and variance v.

    Args:
        windows_btk: what each place reads; its dtype is that of the products and of the result.
        kernel_kc: float32, as scale and shift.
        weight_bt: float32, the weight of each place in mean and variance, 1 in sum for a row; has
            no gradient.

    Returns:
        (batch, time, channels).

    Source: Wu and He, arXiv 1803.08494, equation 1, with a group a channel.
    """
    return _forward(windows_btk, kernel_kc, scale_c, shift_c, weight_bt)[0]


def _forward(
    windows: jax.Array, kernel: jax.Array, scale: jax.Array, shift: jax.Array, weight: jax.Array
) -> tuple[jax.Array, Saved]:
    y = windows @ kernel.astype(windows.dtype)
    # The mean of the products is the product of the mean.
    middle = _exact("bt,btk->bk", weight, windows.astype(jnp.float32))
    mean = _exact("bk,kc->bc", middle, _as_multiplied(kernel, windows))
    centred = y.astype(jnp.float32) - mean[:, None]
    inverse = jax.lax.rsqrt((weight[..., None] * centred**2).sum(1) + EPSILON)
    normalised = centred * (inverse * scale)[:, None] + shift
    return normalised.astype(y.dtype), (windows, kernel, scale, weight, y, middle, mean, inverse)


def _backward(saved: Saved, gradient: jax.Array) -> tuple[jax.Array | None, ...]:
    windows, kernel, scale, weight, y, middle, mean, inverse = saved
    ones = jnp.ones_like(windows[..., :1])
    product = jnp.einsum(
        "btk,btc->bkc",
        jnp.concatenate([windows, ones], -1),
        gradient,
        preferred_element_type=jnp.float32,
    )
    with_windows, total = product[:, :-1], product[:, -1]
    multiplied = _as_multiplied(kernel, windows)
    # Sum over time of the gradient times the normalised values, (batch, channels).
    along = inverse * (_exact("kc,bkc->bc", multiplied, with_windows) - mean * total)
    around = windows.astype(jnp.float32) - middle[:, None]
    covariance = _exact("bt,btk,btj->bkj", weight, around, around)
    of_kernel = with_windows - middle[..., None] * total[:, None]
    of_kernel -= _exact("bkj,jc->bkc", covariance, multiplied) * (inverse * along)[:, None]
    of_kernel = (of_kernel * (inverse * scale)[:, None]).sum(0)
    # That of the sound is written out: a training asks for none, and does not compute it.
    normalised = (y.astype(jnp.float32) - mean[:, None]) * inverse[:, None]
    of_y = gradient - weight[..., None] * (total[:, None] + normalised * along[:, None])
    of_y = (of_y * (inverse * scale)[:, None]).astype(y.dtype)
    return of_y @ kernel.astype(y.dtype).T, of_kernel, along.sum(0), total.sum(0), None


normalised_convolution.defvjp(_forward, _backward)


def _as_multiplied(kernel: jax.Array, windows: jax.Array) -> jax.Array:
    """The kernel rounded to the dtype of the windows, in float32."""
    return kernel.astype(windows.dtype).astype(jnp.float32)
