"""Metrics of classes and labels against scikit-learn, and all of METRICS in pieces."""

import functools
import itertools
import types

import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis.extra import numpy as hnp

from affect_jax import metrics
from affect_jax.metrics import METRICS, Moments, moments
from affect_jax.metrics.arrays import Groups
from tests.test_metrics import REFERENCE, REGRESSION, ccc_numpy, example


def task(kind, size):
    return types.SimpleNamespace(kind=kind, size=size)


def scored(name, like, pieces):
    """One metric updated piece by piece."""
    metric = METRICS[name]
    return metric.compute(
        functools.reduce(
            lambda state, piece: metric.update(state, *piece), pieces, metric.init(like)
        )
    )


@pytest.fixture(scope="module")
def pairs():
    return example()


@pytest.fixture(scope="module")
def labelled():
    """Class numbers [60] of 8 classes: 2 only predicted, 5 in neither; and a mask."""
    rng = np.random.default_rng(1)
    target = rng.choice([0, 1, 3, 4, 6, 7], 60)
    pred = np.where(rng.random(60) < 0.5, target, rng.choice([0, 1, 2, 3, 4, 6, 7], 60))
    mask = rng.random(60) < 0.7
    return pred, np.where(mask, target, -1), mask


@pytest.fixture(scope="module")
def binary():
    """0/1 arrays [60, 6] with a mask of its own for every entry; label 4 is never positive."""
    rng = np.random.default_rng(2)
    target, pred = rng.random((2, 60, 6)) < 0.3
    target[:, 4] = pred[:, 4] = False
    return pred.astype(np.int8), target.astype(np.int8), rng.random((60, 6)) < 0.8


def test_class_metrics_equal_scikit_learn_on_the_labelled_frames(labelled):
    pred, target, mask = labelled
    p, t = pred[mask], target[mask]
    sk = functools.partial(sklearn.metrics.precision_recall_fscore_support, t, p, zero_division=0)
    precision, recall, f1, _ = sk(average="macro")
    by_class = dict(zip(("precision", "recall", "f1"), sk(labels=range(8))))
    want = {"precision": precision, "uar": recall, "f1": f1}
    want |= {f"{name}_per_class": of_class for name, of_class in by_class.items()}
    want |= {f"{name}_fixed": of_class.mean() for name, of_class in by_class.items()}
    averages = by_class["precision"].mean(), by_class["recall"].mean()
    want["f1_of_averages"] = scipy.stats.hmean(averages)
    for name, value in want.items():
        got = getattr(metrics, name)(pred, target, mask, classes=8)
        np.testing.assert_allclose(got, value, rtol=1e-6, err_msg=name)
        got = scored(name, task("classes", 8), [labelled])
        np.testing.assert_allclose(got, value, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(metrics.accuracy(pred, target, mask), (p == t).mean(), rtol=1e-6)
    matrix = sklearn.metrics.confusion_matrix(t, p, labels=range(8))
    np.testing.assert_array_equal(metrics.confusion(pred, target, mask, classes=8), matrix)
    np.testing.assert_array_equal(scored("confusion", task("classes", 8), [labelled]), matrix)


def test_a_class_that_is_absent_costs_only_where_all_classes_count():
    perfect = np.array([0, 1, 1])
    for name, score in {
        **{"f1": 1, "f1_fixed": 0.5, "f1_of_averages": 0.5},
        **{"uar": 1, "recall_fixed": 0.5, "precision": 1, "precision_fixed": 0.5},
    }.items():
        assert getattr(metrics, name)(perfect, perfect, classes=4) == score, name


def test_the_two_macro_f1_differ_where_errors_lean_to_one_class():
    # Precisions 1/3 and 1, recalls 1 and 1/3; F1 is 1/2 of either class.
    target, pred = np.array([0, 1, 1, 1]), np.array([0, 0, 0, 1])
    assert metrics.f1(pred, target, classes=2) == 0.5
    np.testing.assert_allclose(metrics.f1_of_averages(pred, target, classes=2), 2 / 3, rtol=1e-6)


def test_label_metrics_equal_scikit_learn_entry_by_entry(binary):
    pred, target, mask = binary
    want = [
        sklearn.metrics.f1_score(t[m], p[m], zero_division=0)
        for p, t, m in zip(pred.T, target.T, mask.T)
    ]
    assert want[4] == 0
    np.testing.assert_allclose(metrics.f1_per_label(pred, target, mask), want, rtol=1e-6)
    np.testing.assert_allclose(metrics.f1_binary(pred, target, mask), np.mean(want), rtol=1e-6)
    like = task("labels", 6)
    np.testing.assert_allclose(scored("f1_per_label", like, [binary]), want, rtol=1e-12)
    np.testing.assert_allclose(scored("f1_binary", like, [binary]), np.mean(want), rtol=1e-12)
    accuracy = (pred == target)[mask].mean()
    np.testing.assert_allclose(scored("accuracy", like, [binary]), accuracy, rtol=1e-12)


def test_a_label_that_nobody_annotated_does_not_count_in_the_mean(binary):
    pred, target, mask = binary
    alone = np.zeros_like(mask)
    alone[:, 0] = mask[:, 0]
    assert metrics.f1_binary(pred, target, alone) == metrics.f1_per_label(pred, target, mask)[0]


def test_nothing_labelled_scores_zero(pairs, labelled, binary):
    nothing = {
        "values": (task("values", 5), pairs),
        "bins": (task("bins", 5), pairs),  # decoded: values
        "classes": (task("classes", 8), labelled),
        "labels": (task("labels", 6), binary),
    }
    for name, metric in METRICS.items():
        for kind in metric.states:
            like, (pred, target, mask) = nothing[kind]
            for pieces in (
                [],
                [(pred, target, np.zeros_like(mask))],
                [(pred[:0],) * 2 + (mask[:0],)],
            ):
                assert np.all(scored(name, like, pieces) == 0), (name, kind)


def test_a_class_number_out_of_range_is_refused_by_name():
    with pytest.raises(ValueError, match="label -1 is none of the 3 classes"):
        scored("f1", task("classes", 3), [(np.array([0]), np.array([-1]), np.array([True]))])
    with pytest.raises(ValueError, match="prediction 3 is none of the 3 classes"):
        scored("f1", task("classes", 3), [(np.array([3]), np.array([1]), np.array([True]))])


def test_a_metric_refuses_a_task_of_another_kind_and_size():
    with pytest.raises(ValueError, match="values, bins cannot score classes"):
        METRICS["ccc"].init(task("classes", 3))
    with pytest.raises(ValueError, match="2 dimensions expected"):
        x = np.zeros((4, 3))
        scored("ccc", task("values", 2), [(x, x, x == 0)])


@pytest.mark.parametrize("name", REGRESSION)
def test_a_value_metric_is_the_mean_of_the_references_over_dimensions(name, pairs):
    pred, target, mask = pairs
    got = scored(name, task("values", 5), [pairs])
    columns = list(zip(pred.T.astype(np.float64), target.T.astype(np.float64), mask.T))
    want = np.mean([REFERENCE[name](p[m], t[m]) for p, t, m in columns])
    np.testing.assert_allclose(got, want, rtol=1e-12)
    unlabelled = mask & (np.arange(5) != 2)
    want = np.mean([REFERENCE[name](p[m], t[m]) for k, (p, t, m) in enumerate(columns) if k != 2])
    got = scored(name, task("values", 5), [(pred, target, unlabelled)])
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_the_mixed_ccc_divides_the_covariance_by_n_and_the_variances_by_n_minus_1(pairs):
    want = []
    for p, t, m in zip(*(x.T for x in pairs)):
        p, t = p[m].astype(np.float64), t[m].astype(np.float64)
        cov = np.cov(p, t)
        want.append(2 * cov[0, 1] * (m.sum() - 1) / m.sum() / (cov.trace() + (p - t).mean() ** 2))
    got = scored("ccc_mixed", task("values", 5), [tuple(x[i::2] for x in pairs) for i in (0, 1)])
    np.testing.assert_allclose(got, np.mean(want), rtol=1e-12)
    perfect, every = np.arange(8.0)[:, None], np.ones((8, 1), bool)
    assert scored("ccc_mixed", task("values", 1), [(perfect, perfect, every)]) == 7 / 8
    assert scored("ccc_mixed", task("values", 1), [(perfect[:1], perfect[:1], every[:1])]) == 0


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(
    data=hnp.arrays(np.float64, (30, 2), elements=st.floats(-1e3, 1e3, width=32)),
    mask=hnp.arrays(bool, 30),
    cuts=st.lists(st.integers(0, 30), max_size=4),
    order=st.randoms(use_true_random=False),
)
def test_pieces_merged_in_any_order_score_as_the_whole(data, mask, cuts, order):
    pred, target, mask = data[:, :1], data[:, 1:], mask[:, None]
    bounds = sorted({0, 30, *cuts})
    pieces = [tuple(x[a:b] for x in (pred, target, mask)) for a, b in itertools.pairwise(bounds)]
    order.shuffle(pieces)
    like = task("values", 1)
    for name in REGRESSION:
        metric = METRICS[name]
        states = [metric.update(metric.init(like), *piece) for piece in pieces]
        forward = metric.compute(functools.reduce(metric.merge, states))
        scale = max(1.0, abs(forward)) if name in ("mse", "rmse") else 1.0
        want = scored(name, like, [(pred, target, mask)])
        # Pearson's r of data without spread but for rounding is rounding itself.
        spread = data[mask[:, 0]].std(0) if mask.any() else np.zeros(2)
        if name != "pearson" or (spread > 1e-3).all() or (spread == 0).any():
            np.testing.assert_allclose(forward, want, rtol=0, atol=1e-12 * scale)


def test_counts_merged_in_pieces_are_the_counts_of_the_whole(labelled, binary):
    for name, like, whole in (
        ("confusion", task("classes", 8), labelled),
        ("f1_per_label", task("labels", 6), binary),
    ):
        pieces = [tuple(x[i::3] for x in whole) for i in (2, 0, 1)]
        np.testing.assert_array_equal(scored(name, like, pieces), scored(name, like, [whole]))


def test_moments_of_the_device_merge_on_the_host_without_loss():
    rng = np.random.default_rng(0)
    target = (0.3 * rng.standard_normal((200, 50)) + 100).astype(np.float32)
    pred = (target + 0.2 * rng.standard_normal(target.shape)).astype(np.float32)
    blocks = [moments(p, t) for p, t in zip(pred, target)]
    whole = functools.reduce(Moments.merge, blocks)
    assert whole.mean_p.dtype == np.float64 and whole.n == target.size
    got = METRICS["ccc"].compute(Moments(*(np.atleast_1d(x) for x in whole)))
    np.testing.assert_allclose(got, ccc_numpy(pred.ravel(), target.ravel()), atol=1e-7)


def test_states_are_pytrees():
    for metric in METRICS.values():
        for kind in metric.states:
            state = metric.init(task(kind, 3))
            assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("ccc", task("values", 3)),
        ("rmse", task("values", 3)),
        ("f1", task("classes", 4)),
        ("f1_binary", task("labels", 3)),
    ],
)
def test_states_of_groups_are_those_of_their_own_rows(name, like):
    rng, kind = np.random.default_rng(0), METRICS[name].states[like.kind]
    shape = (50,) if like.kind == "classes" else (50, 3)
    top = 4 if like.kind == "classes" else 2
    pred, target = (
        rng.integers(0, top, (2, *shape)) if like.kind != "values" else rng.normal(size=(2, *shape))
    )
    mask, of_row = rng.random(shape) < 0.7, rng.choice([0, 1, 3], 50)  # group 2 has no row
    mask[of_row == 3] = False
    groups = kind.of(pred, target, mask, like.size, Groups(of_row, 4))
    for g in range(4):
        own = of_row == g
        expected = METRICS[name].update(METRICS[name].init(like), pred[own], target[own], mask[own])
        for got, want in zip(groups, expected):
            np.testing.assert_allclose(got[g], want, rtol=1e-12, atol=1e-14)
