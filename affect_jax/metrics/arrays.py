"""Arguments of every metric and loss: made arrays of numbers that JAX reads rightly, their shapes
checked, and filled where they are masked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Larger integers are not all float32 numbers, and beyond int32 JAX wraps them around.
_LARGEST_INTEGER = 1 << 24
_NUMBERS = (np.floating, np.integer, np.bool_)


def require_one_shape(what: str, **arrays: Any) -> None:
    """ValueError that names every shape, unless all arrays (None left out) have the same."""
    shapes = {name: np.shape(array) for name, array in arrays.items() if array is not None}
    if len(set(shapes.values())) > 1:
        got = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"{what}: {', '.join(shapes)} must have one shape, got {got}. Nothing is broadcast: "
            "reshape them, and give every entry its own mask."
        )


def as_numbers(what: str, name: str, x: Any) -> tuple[Any, np.ndarray | None]:
    """(array of real numbers, where a NumPy masked array has none, or None), of any array-like.

    JAX arrays (and what jit, grad and vmap trace) pass as they are. All else becomes a NumPy array
    in this machine's byte order: JAX reads the bytes of another one as they lie.

    Raises:
        ValueError: text, objects, complex numbers, lists of lists of different lengths.
    """
    missing = np.ma.getmaskarray(x) if isinstance(x, np.ma.MaskedArray) else None
    if not isinstance(x, jax.Array):
        try:
            x = np.asarray(x)
        except Exception as error:  # what the __array__ of another library raises
            why = " ".join(str(error).split())
            raise ValueError(
                f"{what}: {name} ({type(x).__name__}) cannot be made an array ({why}). Pass an "
                "array of numbers."
            ) from None
    if not any(jnp.issubdtype(x.dtype, kind) for kind in _NUMBERS):
        expected = "True and False" if name == "mask" else "floats or integers"
        raise ValueError(f"{what}: {name} holds {x.dtype}. Pass an array of {expected}.")
    if isinstance(x, np.ndarray):
        if x.dtype == np.longdouble:
            x = x.astype(np.float64)
        x = x.astype(x.dtype.newbyteorder("="), copy=False)
    return x, missing if missing is not None and missing.any() else None


def converted(
    what: str, pred: Any, target: Any, mask: Any, *, logits: bool = False
) -> tuple[Any, Any, Any]:
    """The arguments of the metric or loss `what` as arrays; the mask is None where all counts.

    What a NumPy masked array masks, in any of the three, counts nowhere.

    Args:
        logits: predictions have one axis more than labels and mask, that of the classes.

    Raises:
        ValueError: shapes differ, or `as_numbers`.
    """
    given = {"pred": pred, "target": target} | ({} if mask is None else {"mask": mask})
    pairs = {name: as_numbers(what, name, x) for name, x in given.items()}
    arrays, missing = ({k: pair[i] for k, pair in pairs.items()} for i in (0, 1))
    shapes = {name: np.shape(x) for name, x in arrays.items()}
    if not logits:
        require_one_shape(what, **arrays)
    elif len({shapes["pred"][:-1], shapes["target"], shapes.get("mask", shapes["target"])}) > 1:
        raise ValueError(
            f"{what}: pred [..., C], target [...] and mask [...] expected, got "
            f"{', '.join(f'{name} {shape}' for name, shape in shapes.items())}."
        )
    if logits and missing["pred"] is not None:
        missing["pred"] = missing["pred"].any(-1)
    mask = arrays.get("mask")
    if isinstance(mask, np.ndarray):
        mask = mask.astype(bool, copy=False)
    for gone in (x for x in missing.values() if x is not None):
        mask = ~gone if mask is None else (mask != 0) & ~gone
    return arrays["pred"], arrays["target"], mask


def checked(
    what: str, pred: Any, target: Any, mask: Any, *, logits: bool = False
) -> tuple[Any, Any, Any]:
    """`converted`, for computing in float32: ValueError for what it does not hold."""
    p, t, mask = converted(what, pred, target, mask, logits=logits)
    for name, x in (("pred", p), ("target", t)):
        counts = isinstance(mask, np.ndarray) and mask.shape == np.shape(x)
        _require_float32(f"{what}: {name}", x, mask if counts else True)
    return p, t, mask


def _require_float32(what: str, x: Any, where: Any) -> None:
    """ValueError for integers that float32 rounds, and for float64 that is infinite in it."""
    kind = x.dtype.kind if isinstance(x, np.ndarray) else ""
    if kind not in ("i", "u", "f") or (kind == "f" and (x.itemsize < 8 or jax.config.x64_enabled)):
        return
    limit = float(np.finfo(np.float32).max) if kind == "f" else _LARGEST_INTEGER
    for extreme in (x.min(initial=0, where=where), x.max(initial=0, where=where)):
        if limit < abs(extreme.item()) < np.inf:
            raise ValueError(
                f"{what} holds {extreme}, and float32 not all numbers beyond {limit}: subtract "
                "one number from pred and target alike, or take another unit (integers: pass "
                "floats where rounding does no harm)."
            )


def floats(*xs: jax.Array) -> tuple[jax.Array, ...]:
    """All in one dtype: float32 for half precision, integers and booleans; float64 stays."""
    xs = tuple(jnp.asarray(x) for x in xs)
    dtype = jnp.promote_types(jnp.result_type(*xs), jnp.float32)
    return tuple(x.astype(dtype) for x in xs)


def fill(x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """`x` under the mask, else 0: a masked NaN must not meet arithmetic, as 0 * NaN is NaN."""
    return x if mask is None else jnp.where(mask, x, 0)


def host_columns(
    pred: Any, target: Any, mask: Any, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[..., K] arrays, K = size, as [N, K] on the host, and the mask as bool [N, K]."""
    p, t, mask = converted("metric", pred, target, mask)
    if np.shape(p)[-1:] != (size,):
        raise ValueError(f"metric: predictions of {size} dimensions expected, got {np.shape(p)}")
    mask = np.ones(np.shape(p), bool) if mask is None else np.asarray(mask, bool)
    p, t, mask = (np.asarray(x).reshape(-1, size) for x in (p, t, mask))
    return p, t, mask


def float64_columns(
    pred: Any, target: Any, mask: Any, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`host_columns` in float64, 0 where masked."""
    p, t, mask = host_columns(pred, target, mask, size)
    p, t = (np.where(mask, np.asarray(x, np.float64), 0) for x in (p, t))
    return p, t, mask


class Groups(NamedTuple):
    """Groups of rows that are counted apart.

    Attributes:
        of_row: int [N], the group of each row.
        count: how many groups there are.
    """

    of_row: np.ndarray
    count: int


def sums(x: np.ndarray, groups: Groups | None) -> np.ndarray:
    """Sums over the rows of [N, K]: [K], or of each group [count, K]; of booleans int64."""
    if groups is None:
        return x.sum(0)
    columns = [np.bincount(groups.of_row, column, groups.count) for column in x.T]
    return np.stack(columns, 1).astype(np.int64 if x.dtype == bool else x.dtype)
