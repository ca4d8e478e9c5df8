"""Spans that SpecAugment masks, against the loop of the original's sampler."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.speech.masking import span_mask
from data_pipelines.errors import UserError


def drawn(draws, shape, share, span, least, lengths=None):
    """bool [draws, batch, length]."""
    lengths = None if lengths is None else jnp.asarray(lengths)
    keys = jax.random.split(jax.random.key(0), draws)
    draw = jax.jit(jax.vmap(lambda key: span_mask(key, shape, share, span, least, lengths)))
    return np.asarray(draw(keys))


def original(draws, shape, share, span, least, lengths):
    """Sheet vocal_bursts, 2.7, one row and span at a time."""
    rng, length = np.random.default_rng(0), shape[1]
    masks = np.zeros((draws, *shape), bool)

    def spans(own):
        number = max(int(share * own / span + chance), least)
        number = length // span if number * span > length else number
        return min(number, max(own - (span - 1), 0))

    for mask in masks:
        chance = rng.uniform()
        if spans(length) == 0:
            continue
        for row, own in zip(mask, lengths):
            starts = rng.choice(max(own - span + 1, 0), spans(own), replace=False)
            for start in starts if len(starts) else [length - 1]:
                row[start : start + span] = True
    return masks


@pytest.mark.parametrize(("share", "least"), [(0.45, 1), (0.15, 0)])
def test_masks_are_distributed_as_those_of_the_original(share, least):
    settings = ((3, 14), share, 3, least, (14, 9, 2))
    ours, theirs = drawn(5000, *settings), original(5000, *settings)
    np.testing.assert_allclose(ours.mean(0), theirs.mean(0), atol=0.04)  # 4 sigma
    for own, stored in zip(ours.sum(2).T, theirs.sum(2).T):
        counts = [np.bincount(x, minlength=15) / len(x) for x in (own, stored)]
        np.testing.assert_allclose(*counts, atol=0.04)
    # One chance for all rows: each has the larger number of spans, or none has.
    np.testing.assert_allclose(
        np.corrcoef(ours.sum(2)[:, :2].T), np.corrcoef(theirs.sum(2)[:, :2].T), atol=0.08
    )


def test_spans_of_one_position_are_distinct_and_inside_their_row():
    masks = drawn(50, (2, 12), 0.0, 1, 5, (12, 7))
    assert (masks.sum(2) == 5).all()
    assert not masks[:, 1, 7:].any()
    assert masks.any(0)[0].all() and masks.any(0)[1, :7].all()


def test_a_span_longer_than_the_clip_is_refused():
    with pytest.raises(UserError, match="spans of 13 to be masked in 12 frames"):
        span_mask(jax.random.key(0), (2, 12), 0.5, 13, 0)
