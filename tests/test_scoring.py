"""Scores: the total over the tasks."""

from __future__ import annotations

import numpy as np
import pytest

from affect_jax.scoring import NO_TOTAL, Total
from configs.abaw_tasks import P_MTL
from data_pipelines.errors import UserError


def test_p_mtl_is_half_the_two_ccc_plus_both_f1():
    # Validation scores of the ABAW4 winner, whose abstract gives the sum.
    scores = {"valence/ccc": 0.7101, "arousal/ccc": 0.6604, "expression/f1": 0.5090}
    scores |= {"au/f1_binary": 0.5664, "au/accuracy": 0.9}
    total = Total("P_MTL", P_MTL)
    assert total.value(scores) == pytest.approx(1.76065)
    assert total.added_to(scores) == {**scores, "P_MTL": total.value(scores)}


def test_a_total_is_left_out_where_it_has_no_terms_or_one_is_missing():
    scores = {"valence/ccc": 0.5}
    assert NO_TOTAL.added_to(scores) == scores
    assert Total("P_MTL", P_MTL).added_to(scores) == scores


def test_a_total_of_a_score_that_is_not_there_names_the_nearest():
    with pytest.raises(UserError, match=r"'valence/cc' .* Did you mean 'valence/ccc'"):
        Total("t", (("valence/cc", 1.0),)).value({"valence/ccc": 0.5})
    with pytest.raises(UserError, match="'au/f1_per_label' is an array"):
        Total("t", (("au/f1_per_label", 1.0),)).value({"au/f1_per_label": np.zeros(3)})
