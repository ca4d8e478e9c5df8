"""The best evaluation and the scores in a headline."""

import pytest

from affect_jax.report.records import best, headline_scores
from tests.drawn import evaluations


def test_the_best_evaluation_is_the_first_highest_or_lowest_by_the_kind_of_score():
    records = evaluations(8)
    assert best(records, "valence/ccc", "validation").epoch == 6
    assert best(records, "valence/rmse", "validation").epoch == 6
    assert best(records, "valence/rmse", "validation").value == pytest.approx(0.3)
    assert best(records, "loss/total", "validation").step == 8 * 97
    assert best([records[0]] * 3 + records[1:2], "P_MTL", "validation").epoch == 2
    assert best(records, "valence/uar", "validation") is None


def test_a_score_that_is_not_finite_is_never_the_best():
    records = evaluations(4)
    records[2]["scores"]["validation"]["P_MTL"] = float("nan")
    records[3]["scores"]["validation"]["P_MTL"] = None
    assert best(records, "P_MTL", "validation").epoch == 2


def test_headline_scores_are_the_totals_and_the_first_number_of_each_task():
    records = evaluations(2)
    records[0]["scores"]["validation"]["expression/a_list"] = [1.0]
    names = headline_scores(records)
    assert names == ["P_MTL", "valence/ccc", "arousal/ccc", "expression/f1", "au/f1_binary"]
