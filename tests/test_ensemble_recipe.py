"""How members become one: what the task's own decoder reads from it, and what the folds choose."""

import numpy as np
import pytest

from affect_jax.ensemble.choose import (
    METHODS,
    THRESHOLDS,
    Options,
    best_thresholds,
    fit,
    folds_of,
    unfitted,
)
from affect_jax.ensemble.recipe import Recipe, combine
from affect_jax.ensemble.report import in_words, tried_table
from affect_jax.prediction_files import Predictions
from affect_jax.smoothing import smooth, smooth_tracks
from affect_jax.tasks import Task, decode
from data_pipelines.bursts import DEFINITIONS
from data_pipelines.errors import UserError

EXPRESSION = Task("expression", "classes", 3, metrics=("confusion", "f1"))
AU = Task("au", "labels", 2, metrics=("f1_binary",))
VALENCE = Task("valence", "values", 1, metrics=("ccc",))
VA = Task("va", "values", 2, metrics=("ccc",))


def logits(*classes, sure=2.0):
    """One frame a class number, [N, 3]."""
    return sure * np.eye(3, dtype=np.float32)[list(classes)]


def thirds(method, **more):
    return [Recipe(method, (1 / 3,) * 3, **more)]


def test_a_tie_of_votes_goes_to_the_class_that_is_rarest_in_training():
    raws = [logits(0, 0, 1), logits(1, 1, 1), logits(2, 0, 0)]
    raw = combine(EXPRESSION, thirds("vote", counts=(50, 5, 20)), raws, [0, 3])
    assert decode(EXPRESSION, raw).tolist() == [1, 0, 1]
    raw = combine(EXPRESSION, thirds("vote", counts=(50, 20, 5)), raws, [0, 3])
    assert decode(EXPRESSION, raw).tolist() == [2, 0, 1]


def test_without_counts_a_tie_goes_to_the_highest_mean_probability():
    raws = [logits(0), logits(1, sure=5.0), logits(2)]
    assert decode(EXPRESSION, combine(EXPRESSION, thirds("vote"), raws, [0, 1])).tolist() == [1]


def test_the_mean_of_probabilities_may_differ_from_the_vote():
    raws = [logits(0, sure=0.1), logits(0, sure=0.1), logits(1, sure=9.0)]
    means = combine(EXPRESSION, thirds("mean"), raws, [0, 1])
    assert decode(EXPRESSION, means).tolist() == [1]
    p = np.mean([np.exp(r) / np.exp(r).sum() for r in raws], 0)
    np.testing.assert_allclose(np.exp(means), p, rtol=1e-5)
    assert decode(EXPRESSION, combine(EXPRESSION, thirds("vote"), raws, [0, 1])).tolist() == [0]


def test_a_tie_of_votes_is_a_positive_label():
    raws = [np.array([[-9.0, -1.0]]), np.array([[0.1, -1.0]])]
    raw = combine(AU, [Recipe("vote", (0.5, 0.5))], raws, [0, 1])
    assert decode(AU, raw).tolist() == [[1, 0]]
    assert decode(AU, combine(AU, [Recipe("mean", (0.5, 0.5))], raws, [0, 1])).tolist() == [[0, 0]]


def test_a_label_is_positive_from_its_own_threshold_on():
    p = np.array([[0.25, 0.25], [0.5, 0.5], [0.75, 0.75]])
    raw = np.log(p / (1 - p))
    got = combine(AU, [Recipe("threshold", (1.0,), thresholds=(0.25, 0.6))], [raw], [0, 3])
    assert decode(AU, got).tolist() == [[1, 0], [1, 0], [1, 1]]


def test_values_are_smoothed_summed_changed_and_clipped_in_this_order():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 2))
    recipes = [
        Recipe("convex 1", (0.25, 0.75), window=1, scale=2.0, shift=0.1, clip=(-1.0, 1.0)),
        Recipe("mean", (0.5, 0.5)),
    ]
    got = combine(VA, recipes, [a, b], [0, 4, 9])
    ours = np.concatenate(
        [0.25 * smooth(a[r, 0], 1) + 0.75 * smooth(b[r, 0], 1) for r in (slice(4), slice(4, 9))]
    )
    np.testing.assert_allclose(got[:, 0], np.clip(2 * ours + 0.1, -1, 1), rtol=1e-6)
    np.testing.assert_allclose(got[:, 1], (a[:, 1] + b[:, 1]) / 2, rtol=1e-6)
    assert got.dtype == np.float32 and np.abs(got[:, 0]).max() == 1


def reference(label, tracks=6, groups=None, mask=None):
    """Frames of equal tracks; groups as many as tracks unless named."""
    n = len(label) // tracks
    names = np.array([f"t{i}" for i in range(tracks)])
    return Predictions(
        tracks=names,
        track=np.repeat(np.arange(tracks, dtype=np.int32), n),
        frame=np.tile(np.arange(1, n + 1, dtype=np.int32), tracks),
        raw=np.zeros((len(label), 0)),
        label=label,
        label_mask=np.ones(label.shape, bool) if mask is None else mask,
        groups=names if groups is None else np.array(groups),
    )


def test_groups_are_never_split_and_folds_are_even():
    ref = reference(np.zeros((60, 1)), groups=["a", "a", "b", "c", "d", "e"])
    fold = folds_of(ref, 3)
    assert sorted(np.bincount(fold).tolist()) == [20, 20, 20]
    assert len(set(fold[:20])) == 1
    assert folds_of(ref).max() == 4  # five groups: each left out once


def test_the_folds_prefer_smoothing_matching_and_the_members_that_know():
    rng = np.random.default_rng(1)
    n = 1200
    label = (0.3 + 0.3 * np.sin(np.arange(n) / 15))[:, None]
    good = 0.3 * label + 0.2 * rng.normal(size=(n, 1))
    bad = rng.normal(size=(n, 1))
    options = Options(METHODS, windows=(0, 5), match=(False, True))
    made = fit(VALENCE, [good, bad], reference(label), options)
    (recipe,), (equal,) = made.recipes, made.equal
    assert recipe.window == 5 and recipe.scale > 1 and recipe.weights[0] > 0.9
    assert recipe.clip == (-1.0, 1.0) and equal.weights == (0.5, 0.5) and equal.window == 5
    assert sum(one.chosen for one in made.tried) == 1
    assert max(one.score for one in made.tried) == next(t.score for t in made.tried if t.chosen)


def test_values_are_clipped_to_the_range_that_labels_of_their_name_have_and_to_no_other():
    label = np.random.default_rng(4).uniform(0, 1, (60, 10))
    high = Task("high", "values", 10, names=DEFINITIONS["high"]["names"], metrics=("ccc",))
    mine = Task("high", "values", 10, names=tuple("abcdefghij"), metrics=("ccc",))
    for task, scale, clip in [
        (high, 1, (0.0, 1.0)),
        (high, 100, None),
        (mine, 1, None),
        (VALENCE, 1, (-1.0, 1.0)),
        (VALENCE, 9, None),
        (Task("pain", "values", 1, metrics=("ccc",)), 1, None),
    ]:
        labels = scale * label[:, : task.size]
        made = fit(task, [labels], reference(labels), Options(METHODS | {"values": ("mean",)}))
        assert {recipe.clip for recipe in (*made.recipes, *made.equal)} == {clip}


def test_what_is_printed_of_a_task_of_many_dimensions_is_as_short_as_of_one():
    rng = np.random.default_rng(5)
    label = rng.uniform(0, 1, (60, 10))
    task = Task("high", "values", 10, names=DEFINITIONS["high"]["names"], metrics=("ccc",))
    raws = [label + rng.normal(0, s, label.shape) for s in (0.1, 0.3)]
    made = fit(task, raws, reference(label), Options(METHODS, match=(False, True)))
    words = in_words(task, made.recipes, ["a", "b"])
    assert "\n" not in words and "; of a 0.9" in words and "clipped to 0 to 1" in words
    greedy = sum(recipe.method == "greedy" for recipe in made.recipes)
    assert 0 < greedy < 10 and f"greedy ({greedy} of 10 dimensions)" in words
    table = tried_table(task, made.tried).splitlines()
    assert len(table) == 1 + 2 * 6  # with three shares of convex, each with and without a change
    means = [t.score for t in made.tried if (t.method, t.match) == ("mean", False)]
    assert table[1].split()[1:] == [f"{np.mean(means):.3f}", "(0)"]
    assert sum(int(line.split("(")[1].rstrip(")")) for line in table[1:]) == 10


def test_the_smallest_of_equally_good_windows_is_taken_by_labelled_frames():
    rng = np.random.default_rng(6)
    label = np.sin(np.arange(200) / 20)[:, None]
    raw, mask = label + rng.normal(size=label.shape), rng.random(label.shape) < 0.5
    ref = reference(np.where(mask, label, np.nan), tracks=4, mask=mask)
    options = Options(METHODS | {"values": ("mean",)}, windows=(0, 5, 50, 60, 70))
    made = fit(VALENCE, [raw], ref, options)
    scores = {one.window: one.score for one in made.tried}
    y, t = smooth_tracks(raw, ref.bounds, 5)[mask], label[mask]
    cov = np.mean((y - y.mean()) * (t - t.mean()))
    expected = 2 * cov / (y.var() + t.var() + (y.mean() - t.mean()) ** 2)
    assert scores[5] == pytest.approx(expected, rel=1e-9) and scores[5] > scores[0] + 0.1
    assert scores[50] == scores[60] == scores[70] and made.recipes[0].window == 5
    equal = fit(VALENCE, [raw], ref, Options(options.methods, windows=(50, 60)))
    assert equal.recipes[0].window == 50


def test_nothing_is_smoothed_in_clips_and_no_window_is_tried():
    label = np.random.default_rng(3).normal(size=(60, 1))
    options = Options(METHODS | {"values": ("mean",)}, windows=(5, 10))
    made = fit(VALENCE, [label], reference(label, tracks=60), options)
    assert [one.window for one in (*made.tried, *made.recipes)] == [0, 0]


def test_scores_of_the_folds_are_those_of_frames_predicted_out_of_fold():
    rng = np.random.default_rng(2)
    label = rng.normal(size=(40, 1))
    mask = rng.random((40, 1)) < 0.7
    raw = label + rng.normal(size=(40, 1))
    ref = reference(np.where(mask, label, np.nan), tracks=4, mask=mask)
    options = Options(METHODS | {"values": ("mean",)}, match=(True,))
    (tried,) = fit(VALENCE, [raw], ref, options).tried
    out, fold = np.empty(40), folds_of(ref)
    for f in range(4):
        rest, here = mask[:, 0] & (fold != f), fold == f
        p, t = raw[rest, 0], label[rest, 0]
        out[here] = (raw[here, 0] - p.mean()) / p.std() * t.std() + t.mean()
    p, t = out[mask[:, 0]], label[mask]
    cov = np.mean((p - p.mean()) * (t - t.mean()))
    expected = 2 * cov / (p.var() + t.var() + (p.mean() - t.mean()) ** 2)
    assert tried.score == pytest.approx(expected, rel=1e-9)


def test_thresholds_are_the_best_of_the_grid_and_half_where_nothing_is_known():
    rng = np.random.default_rng(3)
    p = rng.random((200, 2))
    t = (p[:, :1] + 0.2 * rng.normal(size=(200, 1)) > 0.3).astype(np.int8).repeat(2, 1)
    mask = np.ones((200, 2), bool)
    mask[:, 1] = False
    found = best_thresholds(p, t, mask, "f1_binary")
    f1 = [2 * ((q := p[:, 0] >= g) & t[:, 0]).sum() / (q.sum() + t[:, 0].sum()) for g in THRESHOLDS]
    assert f1[int(np.argmin(np.abs(THRESHOLDS - found[0])))] == max(f1)
    assert found[1] == 0.5


def test_labels_that_are_rarely_sure_get_a_threshold():
    rng = np.random.default_rng(4)
    label = (rng.random((600, 2)) < 0.2).astype(np.int8)
    raw = -3.0 + 2.0 * label + 0.3 * rng.normal(size=(600, 2))
    made = fit(AU, [raw, raw], reference(label), Options(METHODS))
    assert made.recipes[0].method == "threshold"
    assert {one.method for one in made.tried} == set(METHODS["labels"])


def test_classes_are_chosen_between_mean_vote_and_greedy():
    rng = np.random.default_rng(5)
    label = rng.integers(0, 3, 300)
    good = 2 * np.eye(3)[label] + rng.normal(size=(300, 3))
    bad = 4 * rng.normal(size=(300, 3))
    made = fit(EXPRESSION, [bad, good, bad], reference(label), Options(METHODS), (9, 9, 1))
    (recipe,) = made.recipes
    assert recipe.method == "greedy" and recipe.weights[1] > 0.5 and recipe.counts == (9, 9, 1)


def test_a_mean_needs_no_labels_and_everything_else_does():
    plain = Options({"values": ("mean",), "classes": ("vote",), "labels": ("mean",)}, windows=(3,))
    assert not any(plain.needs_labels(kind) for kind in METHODS)
    assert [r.window for r in unfitted(VA, 2, plain).recipes] == [3, 3]
    assert unfitted(EXPRESSION, 4, plain, (1, 2, 3)).recipes == (
        Recipe("vote", (0.25,) * 4, counts=(1, 2, 3)),
    )
    assert Options(METHODS).needs_labels("classes")
    assert Options({"values": ("mean",)}, match=(True,)).needs_labels("values")
    unlabelled = reference(np.zeros((6, 1)), mask=np.zeros((6, 1), bool))
    with pytest.raises(UserError, match="there is no label of it"):
        fit(VALENCE, [np.zeros((6, 1))], unlabelled, Options(METHODS))
    alone = reference(np.zeros((6, 1)), groups=["a"] * 6)
    with pytest.raises(UserError, match="all tracks of the split are of one group"):
        fit(VALENCE, [np.zeros((6, 1))], alone, Options(METHODS))
