from fractions import Fraction

import numpy as np
import pytest

from data_pipelines.av_windows import Window
from data_pipelines.errors import UserError
from data_pipelines.labels.mouths import read_mouth
from data_pipelines.labels.rates import rate_of_track, read_rates, video_of, write_rates
from data_pipelines.labels.segments import (
    Segment,
    Speech,
    read_segments,
    track_of,
    write_segments,
)
from data_pipelines.store_specs import rate


def put(folder, text, name="a.csv"):
    (folder / name).write_text(text)
    return folder / name


def read(reader, folder, text):
    return reader(put(folder, text), warn=lambda line: None)


def test_a_table_that_is_written_is_read_as_it_was(tmp_path):
    steps = np.array([[0.1, -0.2], [np.nan, np.nan]])
    speech = Speech(1.5, 0.9, True, rate(29.97))
    window = Window(2.0, 10.1101, 60, 303)
    one = Segment("v.mp4", "v___60_303_0001.mp4", window, np.array([0.1, np.nan]), steps, "a, b")
    for given in (one, Segment(**{**vars(one), "speech": speech})):
        write_segments(tmp_path / "s.csv", [given])
        (found,) = read_segments(tmp_path / "s.csv", warn=pytest.fail)
        for key, value in vars(given).items():
            np.testing.assert_array_equal(getattr(found, key), value, err_msg=key)
    assert (tmp_path / "s.csv").read_text() == (
        "full_video_name,video_name,text,start_frame,end_frame,start_time,end_time,valence_s0,"
        "arousal_s0,valence_s1,arousal_s1,valence,arousal,open_sec,coverage_ratio,use_for_audio,"
        "fps\n"
        'v.mp4,v___60_303_0001.mp4,"a, b",60,303,2.0,10.1101,0.1,-0.2,-5.0,-5.0,0.1,-5.0,1.5,0.9,'
        "True,29.97\n"
    )
    write_segments(tmp_path / "s.csv", [one], marked=False)
    assert ",0.1,-0.2,,,0.1,\n" in (tmp_path / "s.csv").read_text()


def test_a_table_needs_only_names_and_frames_of_its_windows(tmp_path):
    (one,) = read(read_segments, tmp_path, "start_frame,end_frame,video_name\n0,4.0,v.mp4\n")
    assert (one.track, one.window.start, one.window.stop) == ("v", 0, 4)
    assert np.isnan(one.labels).all() and one.steps.shape == (0, 2) and one.speech is None


@pytest.mark.parametrize(
    ("name", "track"),
    [
        ("v1___3_0_16.mp4", "v1"),
        ("v1___3_0_16", "v1"),
        (" v_left___0_120_0000.AVI ", "v_left"),
        ("v.2.MP4", "v.2"),
        ("y___1_2.mp4", "y___1_2"),
        ("z___1_2_3___4_5_6.mp4", "z___1_2_3"),
    ],
)
def test_a_track_is_known_by_the_name_of_its_window(name, track):
    assert track_of(name) == track


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video_name,start_frame\nv,0\n", ":1: no column 'end_frame'."),
        ("video_name,start_frame,end_frame\nv,0,1,2\n", ":2: 4 fields, expected 3"),
        ("video_name,start_frame,end_frame\nv,0,1.5\n", ":2: end_frame is '1.5', expected a whole"),
        ("video_name,start_frame,end_frame\n\nv,9,3\n", ":3: end_frame 3 is before start_frame 9"),
        ("video_name,start_frame,end_frame,valence\nv,0,1,high\n", ":2: valence is 'high'"),
        ("video_name,start_frame,end_frame,valence_s1\nv,0,1,0\n", "steps [1], expected 0, 1, 2"),
        ("video_name,start_frame,end_frame,use_for_audio\nv,0,1,yes\n", "use_for_audio is 'yes'"),
        ("video_name,video_name\n", ":1: the column 'video_name' comes twice."),
        ('video_name,start_frame,end_frame\n"v,0,1\n', "not a row of a csv file"),
    ],
)
def test_what_is_wrong_in_a_table_of_windows_is_told_by_its_line(tmp_path, text, said):
    with pytest.raises(UserError, match="a.csv") as error:
        read(read_segments, tmp_path, text)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_rates_are_exact_and_those_not_known_are_none(tmp_path):
    rates = {"a.mp4": rate(29.97), "b.avi": None, "c.mp4": Fraction(30), "d.mkv": rate(23.976)}
    write_rates(tmp_path / "videos_fps.csv", rates)
    assert (tmp_path / "videos_fps.csv").read_text() == (
        "video_name,fps\na.mp4,29.97\nb.avi,\nc.mp4,30.0\nd.mkv,23.976\n"
    )
    assert read_rates(tmp_path / "videos_fps.csv", warn=pytest.fail) == rates
    assert read(read_rates, tmp_path, "fps,video_name\n30000/1001,a.mp4\n") == {
        "a.mp4": Fraction(30000, 1001)
    }


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.mp4,0", ":2: fps is '0', expected frames a second, up to 1000."),
        ("a.mp4,fast", ":2: fps is 'fast'"),
        ("a.mp4,25\na.mp4,30", ":3: 'a.mp4' again, with another fps"),
        (",25", ":2: no video_name."),
    ],
)
def test_what_is_wrong_in_a_table_of_rates_is_told_by_its_line(tmp_path, row, said):
    with pytest.raises(UserError) as error:
        read(read_rates, tmp_path, f"video_name,fps\n{row}\n")
    assert said in str(error.value)


def test_two_persons_share_a_video_unless_it_is_called_so_itself():
    videos = {"v": "v.mp4", "w_left": "w_left.avi", "w": "w.mp4"}
    assert [video_of(t, videos) for t in ("v", "v_left", "v_right")] == ["v.mp4"] * 3
    assert video_of("w_left", videos) == "w_left.avi" and video_of("w_right", videos) == "w.mp4"
    assert video_of("x_left", videos) is None


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"v.mp4": None}, "fps.csv: the fps of 'v.mp4' is not known. Write it into the file."),
        ({"x.mp4": Fraction(25)}, "fps.csv: no video of track 'v_left'."),
        ({"v.mp4": Fraction(25), "v.avi": Fraction(25)}, "'v.mp4' and 'v.avi' are of one name"),
    ],
)
def test_a_rate_that_is_not_known_is_an_error(rates, said):
    with pytest.raises(UserError) as error:
        rate_of_track("v_left", rates, "fps.csv")
    assert said in str(error.value)


def test_mouths_are_put_by_image_number_and_images_without_a_face_have_none(tmp_path):
    text = ",frame,surface_area_mouth,mouth_open\n0,00002,0.01,1\n1,00003,0.001,0\n2,00005,0.02,1\n"
    face, is_open = read(read_mouth, tmp_path, text)
    assert face.tolist() == [False, True, True, False, True]
    assert is_open.tolist() == [False, True, False, False, True]
    assert [len(x) for x in read(read_mouth, tmp_path, "frame,mouth_open\n")] == [0, 0]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("00000,1", ":2: frame is '00000', expected a whole number from 1 to 10000000."),
        ("00001,2", ":2: mouth_open is '2', expected 0 or 1."),
        ("00001,1\n1,0", ":3: frame 1 comes twice."),
    ],
)
def test_what_is_wrong_in_a_table_of_mouths_is_told_by_its_line(tmp_path, rows, said):
    with pytest.raises(UserError) as error:
        read(read_mouth, tmp_path, f"frame,mouth_open\n{rows}\n")
    assert said in str(error.value)
