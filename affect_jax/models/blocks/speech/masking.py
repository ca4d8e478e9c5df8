"""SpecAugment: spans of frames and of channels masked at random, inside a compiled program.

Source: Park et al., "SpecAugment", arXiv 1904.08779; the sampler of the wav2vec 2.0 code.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from data_pipelines.errors import UserError


def span_mask(
    key: jax.Array,
    shape: tuple[int, int],
    share: float,
    span: int,
    least: int,
    length_b: jax.Array | None = None,
) -> jax.Array:
    """bool (batch, length): spans at distinct random starts, which may overlap.

    A row of length l gets max(floor(share * l / span + e), least) spans, with one e ~ U[0, 1) for
    all rows; fewer where they do not fit.

    Args:
        key: of the draw.
        shape: (batch, length).
        share: expected number of positions in spans, by that of all; overlaps not counted.
        span: positions a span.
        least: number of spans a row.
        length_b: int, length of each row; None: all of `length`. A row in which no span fits has
            its last position masked, if others get spans.

    Raises:
        UserError: `length` is below `span`.
    """
    batch, length = shape
    if span > length:
        raise UserError(
            f"spans of {span} to be masked in {length} frames or channels: shorten "
            "mask_time_length or mask_feature_length, or lengthen the clips."
        )
    chance_key, start_key = jax.random.split(key)
    chance = jax.random.uniform(chance_key)

    def spans(length: jax.Array | int) -> jax.Array:
        number = jnp.maximum((share * length / span + chance).astype(jnp.int32), least)
        number = jnp.where(number * span > shape[1], shape[1] // span, number)
        return jnp.minimum(number, jnp.maximum(length - (span - 1), 0))

    lengths = jnp.full(batch, length) if length_b is None else length_b
    number = spans(lengths)[:, None]
    position = jnp.arange(length)
    # The first of a random order, in which places where no span can start come last.
    order = jax.random.uniform(start_key, shape)
    order = jnp.where(position <= (lengths - span)[:, None], order, -1.0)
    most = min(max(int(share * length / span) + 1, least), length // span)
    _, start = jax.lax.top_k(order, most)
    start = jnp.where(jnp.arange(most) < number, start, length)
    start = start.at[:, 0].set(jnp.where(number[:, 0] > 0, start[:, 0], length - 1))
    ahead = position[:, None] - start[:, None, :]
    return ((ahead >= 0) & (ahead < span)).any(-1) & (spans(length) > 0)
