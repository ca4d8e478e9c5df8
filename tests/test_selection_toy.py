"""Two populations with known rewards: the signed return tells them apart, the literal does not."""

import numpy as np
import pytest

from benchmarks import selection_loop, selection_toy
from benchmarks.selection_static import area, learned_of
from benchmarks.selection_toy import separation
from data_pipelines.command import exit_code


def test_the_signed_return_separates_clean_rows_from_noisy_ones_and_the_literal_does_not():
    cases = [("signed", 0.0, 0.0), ("literal", 0.0, 0.0)]
    found = learned_of(cases, seeds=1, rows=120, epochs=60, minibatch=30)
    signed, literal = (separation(np.array(p), np.array(c)) for p, c in zip(*found))
    assert signed[2] > 0.9 and signed[3] > 0.85
    assert signed[0] - signed[1] > 0.7
    assert abs(literal[0] - literal[1]) < 0.2 and literal[3] < 0.8


def test_an_area_counts_pairs_in_order_and_ties_half():
    clean = np.array([True, True, False, False])
    assert area(np.array([0.9, 0.5, 0.5, 0.1]), clean) == 3.5 / 4


def test_a_wrong_flag_of_the_toy_is_one_line_and_exit_code_2(capsys):
    assert exit_code(selection_toy.main, ["--seeds=0"]) == 2
    assert "expected a whole number from 1" in capsys.readouterr().err


@pytest.mark.slow
def test_with_a_classifier_in_turns_full_rows_are_retained_before_half_ones_and_none():
    found = selection_loop.runs([("probability", "signed")], 2, rows=240, far=4.0)
    chance, kind = np.asarray(found["chance"]), np.asarray(found["kind"])
    full, half, none = (chance[kind == k].mean() for k in range(3))
    assert full > half > none and full - none > 0.4
