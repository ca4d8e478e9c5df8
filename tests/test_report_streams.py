"""Streams of a track over time, and weights of a gate along it."""

from __future__ import annotations

import numpy as np
import pytest

from affect_jax.report.figure_gates import draw_gates_in_time
from affect_jax.report.figure_streams import draw_streams
from data_pipelines.errors import UserError
from tests.streams import FEATURES, tracks_store


def test_every_kind_of_stream_has_a_panel_over_the_seconds_of_its_track(tmp_path):
    store = tracks_store(tmp_path / "store")
    figure = draw_streams(store, "t0", spans={"windows": [(0, 0.5), (0.25, 0.75), (0.5, 1)]})
    panels = {axes.get_title("left"): axes for axes in figure.axes}
    assert list(panels) == [*FEATURES, "windows", "valence", "kind"]
    last = (store.frames[store.tracks[0].span][-1]) / (30000 / 1001)
    np.testing.assert_allclose(panels["kind"].get_xlim(), (0, last))
    boxes = [(bar.get_x(), bar.get_y(), bar.get_width()) for bar in panels["windows"].patches]
    np.testing.assert_allclose(boxes, [(0, -0.375, 0.5), (0.25, 0.625, 0.5), (0.5, -0.375, 0.5)])


def test_a_frame_without_a_feature_is_no_colour_and_a_track_without_a_stream_says_so(tmp_path):
    store = tracks_store(tmp_path / "store")
    gaps, audio = draw_streams(store, "t1", ("gaps", "audio")).axes
    there = store.feature_mask("gaps")[store.tracks[1].span]
    drawn = np.ma.getmaskarray(gaps.images[0].get_array())
    images = store.frames[store.tracks[1].span]
    np.testing.assert_array_equal(drawn[:, images - 1], np.tile(~there, (2, 1)))
    assert audio.get_title("right") == "nothing of it here"


def test_a_wrong_name_of_what_is_drawn_is_one_line_with_the_nearest(tmp_path):
    store = tracks_store(tmp_path / "store")
    with pytest.raises(UserError, match="no track 't9'"):
        draw_streams(store, "t9")
    with pytest.raises(UserError, match="no feature or label 'valense'.*valence"):
        draw_streams(store, "t0", ("valense",))


def test_gates_lie_one_above_the_other_and_are_nothing_where_no_modality_exists():
    weights = np.array([[0.25, 0.75], [0.5, 0.5], [0, 0]])
    figure = draw_gates_in_time(np.array([1, 2, 3]), weights, ("face-face", "face-audio"))
    below, above = (c.get_paths()[0].vertices for c in figure.axes[0].collections)
    assert below[:, 1].max() == 0.5 and above[:, 1].max() == 1 and above[:, 0].max() == 2
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["face-audio, mean 0.62", "face-face, mean 0.38"]
