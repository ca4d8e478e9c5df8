"""Tracks over time, with labels where there are some."""

import numpy as np
import pytest

from affect_jax.metrics import METRICS
from affect_jax.report.figure_traces import POINTS, draw_traces, thinned
from affect_jax.report.predictions import choose_tracks
from affect_jax.tasks import Task
from tests.drawn import a_track


def test_the_title_of_a_trace_has_the_ccc_of_the_labelled_frames():
    track = a_track()
    track["label"]["valence"][50:90] = np.nan
    there = np.isfinite(track["label"]["valence"])
    metric, task = METRICS["ccc"], Task("valence", "values", 1)
    pred, label = (track[k]["valence"][:, None] for k in ("pred", "label"))
    ccc = metric.compute(metric.update(metric.init(task), pred, label, there[:, None]))
    panel = draw_traces([track]).axes[0]
    assert panel.get_title(loc="left") == "a: valence"
    assert panel.get_title(loc="right") == f"CCC {ccc:.3f}"


def test_the_label_line_has_a_gap_where_there_is_no_label():
    track = a_track()
    track["label"]["valence"][50:90] = np.nan
    lines = {line.get_label(): line for line in draw_traces([track]).axes[0].lines}
    assert np.isnan(lines["label"].get_ydata()[50:90]).all()
    assert np.isfinite(lines["prediction"].get_ydata()).all()


def test_frames_far_apart_are_not_joined():
    frame = np.append(np.arange(1, 101), np.arange(1001, 1101))
    lines = draw_traces([a_track(frame=frame)]).axes[0].lines
    for line in (line for line in lines if line.get_label() in ("label", "prediction")):
        assert np.flatnonzero(np.isnan(line.get_ydata())).tolist() == [100]


def test_a_track_without_labels_says_so_and_is_drawn_in_its_own_range():
    track = a_track()
    del track["label"]
    track["pred"]["valence"] = 10 + track["pred"]["valence"]
    panel = draw_traces([track], limits=None).axes[0]
    assert panel.get_title(loc="right") == "no label"
    assert panel.get_ylim()[0] > 8


def test_long_tracks_are_thinned_to_means_with_a_band_of_what_they_stand_for():
    frame, y = np.arange(1, 18001), np.random.default_rng(0).normal(size=18000)
    y[9000:9100] = np.nan
    x, middle, low, high = thinned(frame, y, POINTS)
    assert len(x) == POINTS and (np.diff(x) > 0).all()
    there = np.isfinite(middle)
    assert 2 <= (~there).sum() <= 3  # 36 frames a point
    assert (low[there] <= middle[there]).all() and (middle[there] <= high[there]).all()
    assert low[there].min() == np.nanmin(y) and high[there].max() == np.nanmax(y)
    np.testing.assert_allclose(middle[0], y[:36].mean())


def test_shown_tracks_go_from_the_best_to_the_worst():
    tracks = [a_track(name=str(i)) for i in range(20)]
    for i, track in enumerate(tracks):
        track["pred"]["valence"] = track["label"]["valence"] + 0.05 * i
    chosen, order = choose_tracks(tracks[::-1], 5)
    assert [track["name"] for track in chosen] == ["0", "5", "10", "14", "19"]
    assert order == "from highest to lowest CCC"


def test_a_row_of_several_dimensions_shows_the_mean_that_it_is_sorted_by():
    track = a_track()
    for part in ("pred", "label"):
        track[part]["arousal"] = track[part]["valence"] ** (3 if part == "pred" else 1)
    assert choose_tracks([track], 1)[1] == "from highest to lowest mean CCC"
    first, last = (axes.get_title(loc="right") for axes in draw_traces([track]).axes)
    ccc, mean = last.removeprefix("CCC ").split("   mean of the row ")
    assert float(mean) == pytest.approx(
        (float(first.removeprefix("CCC ")) + float(ccc)) / 2, abs=1e-3
    )


def test_no_line_goes_across_a_gap_of_a_long_track():
    frame = np.r_[np.arange(1, 5001), np.arange(5012, 9001)]  # 11 images are missing, 18 a point
    x, middle, _, high = thinned(frame, np.ones(len(frame)), POINTS)
    (at,) = np.flatnonzero(np.isnan(middle))
    assert np.isnan(high[at]) and x[at - 1] < 5001 and x[at + 1] >= 5012


@pytest.mark.parametrize(("noise", "named"), [(0.5, True), (0.001, False)])
def test_a_band_is_named_where_it_is_wide_enough_to_be_seen(noise, named):
    frame, rng = np.arange(1, 6001), np.random.default_rng(0)
    y = np.sin(frame / 900)
    track = a_track(frame=frame, pred={"v": y + noise * rng.normal(size=6000)}, label={"v": y})
    (legend,) = draw_traces([track]).legends
    assert named == any("range" in text.get_text() for text in legend.get_texts())
