"""Tokens pooled to a vector in float32, masks of tokens, descriptions in one line."""

import numpy as np

from data_pipelines.descriptions import clean, pooled, token_mask


def test_tokens_are_pooled_over_those_that_count():
    hidden = np.random.default_rng(0).normal(3, 2, (3, 5, 4)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 0], [0, 0, 1, 0, 0]])
    hidden[1, 4] = np.nan  # of no token
    found = pooled(hidden, mask)
    for row, count in enumerate(mask.astype(bool)):
        own = hidden[row, count].astype(np.float64)
        np.testing.assert_allclose(found["mean"][row], own.mean(0), rtol=1e-6)
        np.testing.assert_allclose(found["std"][row], np.sqrt(own.var(0) + 1e-6), rtol=1e-5)
        np.testing.assert_array_equal(found["last"][row], hidden[row, count][-1])
    assert {x.dtype for x in found.values()} == {np.dtype(np.float32)}


def test_a_text_without_tokens_has_finite_numbers():
    hidden = np.arange(6, dtype=np.float32).reshape(1, 3, 2)
    found = pooled(hidden, np.zeros((1, 3), bool))
    np.testing.assert_array_equal(found["mean"], [[0, 0]])
    np.testing.assert_allclose(found["std"], [[1e-3, 1e-3]])
    np.testing.assert_array_equal(found["last"], [[4, 5]])


def test_the_spread_of_large_numbers_in_half_precision_is_not_lost():
    hidden = (100 + np.random.default_rng(0).normal(size=(1, 64, 8))).astype(np.float16)
    want = hidden[0].astype(np.float64).std(0)
    np.testing.assert_allclose(pooled(hidden, np.ones((1, 64)))["std"][0], want, rtol=1e-4)


def test_tokens_are_masked_by_their_numbers():
    ids = np.array([[1, 52, 56, 56, 53]])
    assert token_mask(ids, 56).tolist() == [[False, False, True, True, False]]
    assert not token_mask(ids).any()


def test_a_description_is_one_line_with_a_mark_at_its_end():
    assert [clean(x) for x in ("a\n b ", "End.", "Really?\n", " ")] == [
        "a b.",
        "End.",
        "Really?",
        "",
    ]
