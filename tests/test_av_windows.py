import gzip
import pathlib
from fractions import Fraction

import numpy as np
import pytest

from data_pipelines import av_windows, labels
from data_pipelines.av_windows import Window
from data_pipelines.errors import UserError
from data_pipelines.labels.segments import Segment, read_segments
from data_pipelines.store_specs import rate

SLICE = pathlib.Path(__file__).parents[2] / "shared" / "data" / "affwild2_va"
# Tracks whose videos were a frame shorter than their annotations when the table was made.
SHORTER = (
    *("1-30-1280x720", "13-30-1920x1080", "16-30-1920x1080", "26-60-1280x720", "48-30-720x1280"),
    *("53-30-360x480", "72-30-1280x720", "76-30-640x280", "77-30-1280x720", "79-30-960x720"),
    "8-30-1280x720",
)


def frames(found):
    return [(w.start, w.stop) for w in found]


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0.5, [(0, 15)]),
        (4, [(0, 120)]),
        (4.5, [(0, 120), (60, 135)]),
        (6, [(0, 120), (60, 180)]),
        (7, [(0, 120), (60, 180), (120, 210)]),
    ],
)
def test_windows_begin_every_two_seconds_until_one_reaches_the_end(duration, expected):
    assert frames(av_windows.windows(duration, 30)) == expected


def test_what_is_left_is_no_window_if_it_is_shorter_than_the_shortest():
    rule = dict(length=4, hop=4, shortest=1)
    assert frames(av_windows.windows(8.9, 10, **rule)) == [(0, 40), (40, 80)]
    assert frames(av_windows.windows(9, 10, **rule)) == [(0, 40), (40, 80), (80, 90)]


def test_frames_are_exact_for_rates_of_television_and_halves_go_to_the_even_one():
    ntsc = rate(29.97)
    late = av_windows.windows(Fraction(1800) / ntsc, ntsc)[25]
    assert late.start == 1499  # 50 * 30000 / 1001 is 1498.501, 50 * 29.97 is 1498.5
    assert frames(av_windows.windows(5, Fraction(5, 4)))[1] == (2, 6)  # of 2.5 and 6.25


def test_labels_of_a_window_are_means_of_those_there_are_each_channel_by_itself():
    values = np.array([[1, 10], [2, np.nan], [4, 30], [8, 40]], float)
    mask = np.array([[1, 1], [1, 0], [0, 1], [1, 1]], bool)
    means, there = av_windows.label_means(values, mask, 0, 3)
    np.testing.assert_array_equal(means, [1.5, 20])
    assert there.all()
    assert not av_windows.label_means(values, mask, 4, 9)[1].any()
    assert av_windows.label_means(values, mask, 1, 3)[0].tolist() == [2, 30]


def test_the_rules_for_labels_of_steps_agree_for_whole_rates_and_not_for_others():
    values = np.arange(400.0)[:, None]
    mask = np.ones_like(values, bool)

    def steps(window, fps, rule):
        return av_windows.step_labels(values, mask, window, fps, rule=rule)

    whole, broken = Window(2, 6, 60, 180), Window(2, Fraction(9, 2), 60, 135)
    for window in (whole, broken):
        for one, other in zip(steps(window, 30, "shipped"), steps(window, 30, "script")):
            np.testing.assert_array_equal(one, other)
    assert steps(broken, 30, "shipped")[1].ravel().tolist() == [True, True, True, False]
    fps = rate(29.97)
    window = av_windows.windows(Fraction(400) / fps, fps)[1]
    shipped, script = (steps(window, fps, rule)[0].ravel() for rule in ("shipped", "script"))
    np.testing.assert_array_equal(shipped, [74.5, 104.5, 134.5, 164.5])
    np.testing.assert_array_equal(script, [74.0, 104.0, 134.0, 164.0])  # 59.94 to 89.91, ...


def test_a_mouth_is_smoothed_by_opening_gaps_and_then_closing_what_is_brief():
    def smooth(text, fps):  # gaps up to 0.15 s, runs up to 0.2 s
        found = av_windows.smoothed(np.array([x == "o" for x in text]), fps)
        return "".join("o" if x else "." for x in found)

    assert smooth("o....ooo", 30) == "oooooooo"  # a gap of 4 of 4.5 frames
    assert smooth("o.....oo", 30) == "........"  # one of 5: what is left is too brief
    assert smooth("oooooo..", 30) == "........"  # 6 frames are no longer than 6
    assert smooth("ooooooo..", 30) == "ooooooo.."  # an end is no gap
    assert smooth("", 30) == ""


def test_frames_behind_the_end_have_no_face_and_a_window_without_frames_has_none():
    is_open, face = np.array([1, 1, 0, 1], bool), np.array([1, 1, 1, 1], bool)
    assert av_windows.mouth(Window(0, 1, 2, 7), is_open, face, 5) == (0.2, 0.4)
    assert av_windows.mouth(Window(2, 3, 10, 15), is_open, face, 5) == (0, 0)
    assert av_windows.mouth(Window(0, 0, 0, 0), is_open, face, 5) == (0, 0)


def test_the_rules_for_speech_differ_in_windows_that_are_short():
    short = Window(6, 8.4, 150, 210)
    assert not av_windows.speaks(short, 0.72, 0.97)
    assert av_windows.speaks(short, 0.72, 0.97, rule="script")
    assert av_windows.speaks(Window(0, 4, 0, 120), 1.0, 96 / 120)
    assert not av_windows.speaks(Window(0, 4, 0, 120), 1.0, 95 / 120)
    with pytest.raises(UserError, match="rule 'shiped'. Did you mean 'shipped'?"):
        av_windows.speaks(short, 1, 1, rule="shiped")


@pytest.mark.skipif(not SLICE.is_dir(), reason="needs ../shared/data")
def test_the_table_of_the_authors_is_made_again_from_annotations_and_mouths_in_every_row(
    tmp_path,
):
    """Every number of 4,281 rows. Their mouth arrays lie a frame too late, ours do not."""
    packed = SLICE / "segments" / "validation.csv.gz"
    (tmp_path / "val_audio_segment.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    stored: dict[str, list[Segment]] = {}
    for one in read_segments(tmp_path / "val_audio_segment.csv", warn=pytest.fail):
        stored.setdefault(one.track, []).append(one)
    mouths = np.load(SLICE / "mouth" / "validation.npz")
    assert len(stored) == 57 and sum(map(len, stored.values())) == 4281
    for track, rows in stored.items():
        fps = rows[0].speech.fps
        text = labels.read_text(SLICE / "annotations" / "validation" / f"{track}.txt", "va")
        values, mask = (np.concatenate(x, 1) for x in zip(*text.labels.values()))
        total = len(values) - (track in SHORTER)
        found = av_windows.windows(Fraction(total) / fps, fps)
        suffix = pathlib.Path(rows[0].video).suffix
        names = [av_windows.name(track, w, i, suffix) for i, w in enumerate(found)]
        assert names == [row.name for row in rows]
        state = np.concatenate([[0], mouths[f"{track}/state"]])
        face, is_open = state > 0, av_windows.smoothed(state == 2, fps)
        for window, row in zip(found, rows):
            assert (window.start, window.stop) == (row.window.start, row.window.stop)
            heard = av_windows.mouth(window, is_open, face, fps)
            assert av_windows.speaks(window, *heard) == row.speech.use
            steps, there = av_windows.step_labels(values, mask, window, fps)
            whole = av_windows.label_means(values, mask, window.start, window.stop)
            close(np.where(there, steps, np.nan), row.steps)
            close(np.where(whole[1], whole[0], np.nan), row.labels)
            close(heard, [row.speech.open_seconds, row.speech.coverage])
            times = window.start_time, window.end_time
            close(np.array(times, float), [row.window.start_time, row.window.end_time])


def close(ours, theirs):
    """Labels are float32 here, and seconds are exact, where theirs divide by 29.97."""
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1e-7)
