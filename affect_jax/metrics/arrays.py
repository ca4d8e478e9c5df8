"""What every metric and loss does with its arguments first: check shapes, fill what is masked."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def require_one_shape(what: str, **arrays: Any) -> None:
    """ValueError that names every shape, unless all arrays (None left out) have the same."""
    shapes = {name: np.shape(array) for name, array in arrays.items() if array is not None}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{what}: {', '.join(shapes)} must have one shape, got {got}. Nothing is broadcast: "
            "reshape them, and give every entry its own mask."
        )


def checked(what: str, pred: Any, target: Any, mask: Any) -> tuple[Any, Any, Any]:
    """The arguments of the metric `what` as arrays of one shape; the mask may stay None.

    JAX arrays (and what jit, grad and vmap trace) pass as they are; lists, tables and the like
    become NumPy arrays.
    """
    require_one_shape(what, pred=pred, target=target, mask=mask)
    return tuple(
        x if x is None or isinstance(x, jax.Array) else np.asarray(x) for x in (pred, target, mask)
    )


def floats(*xs: jax.Array) -> tuple[jax.Array, ...]:
    """All in one dtype: float32 for half precision, integers and booleans; float64 stays."""
    xs = tuple(jnp.asarray(x) for x in xs)
    dtype = jnp.promote_types(jnp.result_type(*xs), jnp.float32)
    return tuple(x.astype(dtype) for x in xs)


def fill(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """`x` where valid, else 0: a masked NaN must not meet arithmetic, as 0 * NaN is NaN."""
    return x if valid is None else jnp.where(valid, x, 0)


def host_columns(
    pred: Any, target: Any, mask: Any, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[..., K] arrays, K = size, as float64 [N, K], 0 where masked, and the mask as bool [N, K]."""
    require_one_shape("metric", pred=pred, target=target, mask=mask)
    if np.shape(pred)[-1:] != (size,):
        raise ValueError(f"metric: predictions of {size} dimensions expected, got {np.shape(pred)}")
    valid = np.asarray(mask, bool).reshape(-1, size)
    p, t = (np.where(valid, np.asarray(x, np.float64).reshape(-1, size), 0) for x in (pred, target))
    return p, t, valid
