"""Grad-CAM: on which frames, and on which places of their pictures, a prediction rests.

Pure functions: a score in, arrays out. The places are those of the last convolution that a model
calls, whatever model it is. The mode explain (affect_jax/explain.py) draws them.

Source: Selvaraju et al., "Grad-CAM", ICCV 2017; through a temporal model: the released code of
arXiv 2603.13056.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

EPS = 1e-8  # added to what is divided by


def importance(gradient: jax.Array) -> jax.Array:
    """[T]: share of each frame, 1 the largest: mean |d score / d x| over all that it holds.

    Args:
        gradient: of the score, by what the temporal model reads, [T, ...].
    """
    of_frame = jnp.abs(gradient).reshape(len(gradient), -1).mean(1)
    return of_frame / (of_frame.max() + EPS)


def cam(map_thwc: jax.Array, gradient_thwc: jax.Array) -> jax.Array:
    """float32 [T, h, w]: places that raise the score, 1 the one that most does in each picture.

    relu(sum_c mean_hw(d score / d A_c) A_c). A picture that nothing depends on is all zero.
    """
    weights = gradient_thwc.mean((-3, -2), keepdims=True)
    places = nn.relu((weights * map_thwc).sum(-1))
    return places / (places.max((-2, -1), keepdims=True) + EPS)


def joint(importance_t: jax.Array, places_thw: jax.Array) -> jax.Array:
    """[T, h, w]: places of each picture times the share of its frame, in [0, 1]."""
    return jnp.clip(importance_t[:, None, None] * places_thw, 0, 1)


def map_and_gradient(
    score: Callable[..., jax.Array], *args: Any
) -> tuple[jax.Array, jax.Array] | None:
    """(A, d score / d A): output of the last convolution over pictures that score(*args) calls.

    Convolutions that leave one place are none of these. None where there is no other.

    Args:
        score: calls Linen modules; gives one number.
    """
    shapes: list[jax.ShapeDtypeStruct] = []

    def shape(out: jax.Array) -> jax.Array:
        shapes.append(jax.ShapeDtypeStruct(out.shape, out.dtype))
        return out

    with nn.intercept_methods(_convolutions(shape)):
        jax.eval_shape(lambda: score(*args))
    if not shapes:
        return None

    def run(added: jax.Array) -> tuple[jax.Array, jax.Array]:
        seen: list[jax.Array] = []

        def add(out: jax.Array) -> jax.Array:
            seen.append(out + added if len(seen) == len(shapes) - 1 else out)
            return seen[-1]

        with nn.intercept_methods(_convolutions(add)):
            value = score(*args)
        return value, seen[-1]

    zeros = jnp.zeros(shapes[-1].shape, shapes[-1].dtype)
    gradient, outputs = jax.grad(run, has_aux=True)(zeros)
    return outputs.astype(jnp.float32), gradient.astype(jnp.float32)


def _convolutions(change: Callable[[jax.Array], jax.Array]) -> Callable[..., Any]:
    """An interceptor that changes what convolutions over pictures give."""

    def intercept(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out, module = call(*args, **kwargs), context.module
        if not isinstance(module, nn.Conv) or context.method_name != "__call__":
            return out
        flat = len(module.kernel_size) != 2 or out.shape[-3] * out.shape[-2] == 1
        return out if flat else change(out)

    return intercept


def uniform(count: int, targets: int) -> np.ndarray:
    """int [min(targets, count)]: positions spread over `count` frames, first and last included."""
    return np.rint(np.linspace(0, count - 1, min(targets, count))).astype(int)


def shown(importance_t: np.ndarray, target: int, most: int) -> np.ndarray:
    """Positions of the frames to draw, in their order: all, or the target and the most important.

    Args:
        most: frames, the target included.
    """
    if len(importance_t) <= most:
        return np.arange(len(importance_t))
    others = np.argsort(-np.asarray(importance_t), kind="stable")[: most - 1]
    return np.union1d([target], others).astype(int)
