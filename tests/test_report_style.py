"""Whatever is drawn is readable, the same for the same data, and named by any letters."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from affect_jax import progress
from affect_jax.report import markdown, style
from affect_jax.report.figure_classes import draw_confusion, draw_f1_bars
from affect_jax.report.figure_curves import draw_curves
from affect_jax.report.figure_members import Panel, draw_members
from affect_jax.report.figure_traces import draw_traces
from affect_jax.shown import decimals
from tests.drawn import a_track, evaluations


def test_labels_that_would_touch_are_moved_apart_and_stay_in_the_panel():
    centres, sizes = [0.98, 0.5, 0.51, 0.02], [0.2, 0.1, 0.1, 0.2]
    placed = style.spread(centres, sizes)
    assert np.argsort(placed).tolist() == np.argsort(centres).tolist()
    order = np.argsort(placed)
    edges = [(placed[i] - sizes[i] / 2, placed[i] + sizes[i] / 2) for i in order]
    assert edges[0][0] >= 0 and edges[-1][1] <= 1 + 1e-12
    assert all(a[1] <= b[0] + 1e-12 for a, b in itertools.pairwise(edges))


def test_a_label_with_room_stays_at_its_own_place():
    assert style.spread([0.2, 0.7], [0.1, 0.1]) == [0.2, 0.7]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    figures = [draw_f1_bars([0.5, 0.7], "ab") for _ in range(2)]
    files = [style.save(figure, tmp_path / f"{i}" / "f1.png") for i, figure in enumerate(figures)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_drawing_needs_no_pyplot_and_importing_the_report_no_matplotlib(tmp_path):
    code = (
        "import sys; from affect_jax import report; from affect_jax.report import style\n"
        "assert 'matplotlib' not in sys.modules\n"
        "style.save(style.new_figure(1, 1, 'x'), sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.png")], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "name", ["$x", "$\\foo$ $", "a\udcff\0b", "日本 العربية 👩‍👩‍👧", "x" * 5000]
)
def test_a_name_of_any_letters_is_drawn(name, tmp_path):
    figures = [
        draw_traces([a_track(name=name)], title=name),
        draw_confusion(np.eye(2), [name, "b"], title=name),
        draw_f1_bars([0.1, 0.2], [name, "b"], references={name: 0.5}, title=name),
        draw_curves(evaluations(2), references={name: {"P_MTL": 1.0}}, title=name),
        draw_members([Panel("s", [(name, 0.5, 0.5)], {name: 0.1})], title=name),
    ]
    for i, figure in enumerate(figures):
        style.save(figure, tmp_path / f"{i}.png")


def test_members_are_drawn_with_their_weights_named():
    axes = draw_members([Panel("s", [("gru", 0.5, 0.25)], {"ensemble": 0.1})]).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["gru, weight 0.25"]


def test_zero_has_no_sign():
    assert markdown.score(-0.0001) == style.score_text(-0.0001) == decimals(-0.0001) == "0.000"
    assert (
        markdown.score(np.nan) == ""
        and style.score_text(np.nan) == "–"
        and decimals(np.nan) == "nan"
    )
    text = progress.table({"a": -1e-9}, {"b": {"a": -1e-9}}, "ours", {"a": (-1e-9, -0.1)})
    assert "0.000 to -0.100" in text and "-0.000" not in text
