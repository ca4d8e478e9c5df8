"""Curves of a training, their marks and references."""

import numpy as np
import pytest

from affect_jax.report.figure_curves import draw_curves
from tests.drawn import REFERENCES, evaluations, texts


def test_curves_have_a_panel_for_losses_each_score_and_the_changing_rate():
    figure = draw_curves(evaluations(60), references=REFERENCES, title="a run")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    scores = ["P_MTL", "valence/ccc", "arousal/ccc", "expression/f1", "au/f1_binary"]
    assert titles == ["training loss", *scores, "learning rate"]
    constant = [record | {"lr": 1e-3} for record in evaluations(60)]
    assert len(draw_curves(constant).axes) == 6


def test_a_score_panel_marks_the_best_epoch_and_names_the_references():
    figure = draw_curves(evaluations(60), references=REFERENCES)
    panel = figure.axes[1]
    assert panel.get_title(loc="right") == "best 1.400 at 45"
    marks = [line for line in panel.lines if line.get_marker() == "o"]
    assert [(m.get_xdata()[0], m.get_ydata()[0]) for m in marks] == [(45, pytest.approx(1.4))]
    assert texts(panel) == ["oracle\n1.900", "linear\nbaseline\n1.000"]
    heights = {line.get_ydata()[0] for line in panel.lines if line.get_linestyle() in ("--", ":")}
    assert heights == {1.9, 1.0}
    low, high = panel.get_ylim()
    assert low < 1.0 and high > 1.9


def test_a_missing_score_leaves_a_gap_in_its_curve():
    records = evaluations(5)
    records[2]["scores"]["validation"]["P_MTL"] = None
    (curve,) = [line for line in draw_curves(records).axes[1].lines if len(line.get_xdata()) == 5]
    assert np.isnan(curve.get_ydata()).tolist() == [False, False, True, False, False]


def test_loss_lines_are_named_beside_their_ends():
    panel = draw_curves(evaluations(30)).axes[0]
    assert sorted(texts(panel)) == ["au", "expression", "total"]


def test_curves_of_a_training_without_evaluation_split_are_drawn():
    records = [{k: v for k, v in record.items() if k != "scores"} for record in evaluations(2)]
    assert len(draw_curves(records).axes) == 2
