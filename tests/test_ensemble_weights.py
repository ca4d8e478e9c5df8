"""Weights of the best CCC: joint moments against frames, optimisers against a grid."""

import functools
import itertools

import numpy as np
import pytest

from affect_jax.ensemble import ccc_weights
from affect_jax.ensemble.ccc_weights import Joint
from affect_jax.metrics.regression import ccc_of


def textbook_ccc(p, t):
    cov = np.mean((p - p.mean()) * (t - t.mean()))
    return 2 * cov / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)


@pytest.fixture
def data():
    """Three members of one label: good, half its size with another mean, and noise."""
    rng = np.random.default_rng(0)
    label = rng.normal(size=400)
    noise = rng.normal(size=(400, 3))
    pred = np.stack(
        [label + 0.8 * noise[:, 0], 0.5 * label + 0.3 + 0.3 * noise[:, 1], noise[:, 2]], 1
    )
    return pred, label


def test_moments_of_a_weighted_sum_follow_from_the_joint_ones(data):
    pred, label = data
    parts = [Joint.of(pred[a:b], label[a:b]) for a, b in ((0, 50), (50, 50), (50, 400))]
    joint = functools.reduce(Joint.merge, parts)
    weights = np.array([0.5, 0.2, 0.3])
    ours = ccc_of(joint.moments(weights, 1.7, -0.2))
    assert ours == pytest.approx(textbook_ccc(1.7 * (pred @ weights) - 0.2, label), rel=1e-12)


def test_matching_gives_the_labels_mean_and_deviation(data):
    pred, label = data
    joint, weights = Joint.of(pred, label), np.array([0.2, 0.3, 0.5])
    scale, shift = ccc_weights.matching(joint, weights)
    changed = scale * (pred @ weights) + shift
    assert changed.mean() == pytest.approx(label.mean(), abs=1e-12)
    assert changed.std() == pytest.approx(label.std(), rel=1e-12)
    quality = ccc_weights.quality(joint, weights, match=True)
    assert textbook_ccc(changed, label) == pytest.approx(quality, rel=1e-12)
    constant = Joint.of(np.ones((5, 1)), np.arange(5.0))
    assert ccc_weights.matching(constant, np.ones(1)) == (0.0, 2.0)


@pytest.mark.parametrize("match", [False, True])
def test_convex_weights_beat_every_point_of_a_grid(data, match):
    joint = Joint.of(*data)
    weights = ccc_weights.convex(joint, match)
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1)
    best = ccc_weights.quality(joint, weights, match)
    steps = np.linspace(0, 1, 41)
    grid = [
        ccc_weights.quality(joint, np.array([a, b, 1 - a - b]), match)
        for a, b in itertools.product(steps, steps)
        if a + b <= 1
    ]
    assert max(grid) <= best + 1e-9 and best - max(grid) < 2e-3


@pytest.mark.parametrize("match", [False, True])
def test_convex_weights_are_finite_where_members_are_useless(match):
    label = np.arange(6.0)
    for pred in (np.ones((6, 2)), -label[:, None] * [1, 2], np.c_[np.ones(6), label]):
        joint = Joint.of(pred, label)
        weights = ccc_weights.convex(joint, match)
        assert np.isfinite(weights).all() and weights.sum() == pytest.approx(1)
    assert ccc_weights.quality(joint, weights, match) == pytest.approx(1)


def test_balanced_weights_are_the_mean_of_standardised_members(data):
    pred, label = data
    weights = ccc_weights.balanced(Joint.of(pred, label))
    standardised = (pred / pred.std(0)).mean(1)
    assert np.corrcoef(pred @ weights, standardised)[0, 1] == pytest.approx(1, abs=1e-12)
    assert ccc_weights.balanced(Joint.of(np.ones((4, 2)), label[:4])).tolist() == [0.5, 0.5]


def test_greedy_takes_a_member_as_often_as_it_helps():
    target = np.array([0.75, 0.25, 0.0])
    score = lambda w: -np.abs(w - target).sum()  # noqa: E731
    np.testing.assert_allclose(ccc_weights.greedy(3, score), target)
    assert ccc_weights.greedy(2, lambda w: 0.0).tolist() == [1, 0]
