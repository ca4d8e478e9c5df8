"""Confusions and F1 of classes."""

import numpy as np

from affect_jax.report.figure_classes import draw_confusion, draw_f1_bars
from tests.drawn import UNITS, texts


def test_a_confusion_matrix_shows_shares_of_its_rows_and_counts():
    matrix = np.array([[30, 10, 0], [0, 0, 0], [1, 2, 1]])
    axes = draw_confusion(matrix, ["a", "b", "c"]).axes[0]
    shown = texts(axes)
    assert shown[:6] == ["75 %", "30", "25 %", "10", "0 %", "0"]
    assert len(shown) == 12  # nothing in the row without labels
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a\n40", "b\nnone", "c\n4"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a\n31", "b\n12", "c\n1"]


def test_f1_bars_keep_the_order_of_the_task_and_say_how_many_frames_each_has():
    values = np.linspace(0.9, 0.1, 12)
    figure = draw_f1_bars(values, UNITS, support=range(12000, 0, -1000), total=40000)
    axes = figure.axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], values)
    ticks = [tick.get_text().split("\n") for tick in axes.get_xticklabels()]
    assert [tick[0] for tick in ticks] == list(UNITS)
    assert ticks[0] == ["AU1", "0.900", "12\u202f000", "30.0 %"]
    assert "mean\n0.500" in texts(axes)


def test_f1_references_are_a_line_for_a_mean_and_marks_for_one_each():
    references = {"oracle": np.full(3, 0.8), "linear baseline": 0.3}
    axes = draw_f1_bars([0.5, np.nan, 0.7], "abc", references=references).axes[0]
    (marks,) = axes.collections
    assert [segment[0, 1] for segment in marks.get_segments()] == [0.8, 0.8, 0.8]
    assert "linear\nbaseline\n0.300" in texts(axes) and "mean\n0.600" in texts(axes)
