import sys
import wave

import av
import numpy as np
import pytest

from data_pipelines import video
from data_pipelines.errors import UserError
from data_pipelines.store_specs import rate

HERTZ = 440


def make(path, *, fps=25, frames=20, hertz=48000, channels=2, late=0.0, sound=True, apart=1):
    """A video of grey pictures with a tone as long, of which the left channel alone is heard.

    Pictures are shown every `apart` frames of its rate.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=fps)
        stream.width = stream.height = 32
        grey = np.full((32, 32, 3), 128, np.uint8)
        streams = [(stream, [av.VideoFrame.from_ndarray(grey) for _ in range(frames)])]
        for i, frame in enumerate(streams[0][1]):
            frame.pts, frame.time_base = i * apart, 1 / rate(fps)
        if sound:
            time = np.arange(round(frames / float(fps) * hertz)) / hertz
            tone = np.zeros((1, len(time) * channels), np.int16)
            tone[0, ::channels] = 16000 * np.sin(2 * np.pi * HERTZ * time)
            layout = "stereo" if channels == 2 else "mono"
            stream = file.add_stream("pcm_s16le", rate=hertz, layout=layout)
            frame = av.AudioFrame.from_ndarray(tone, format="s16", layout=layout)
            frame.rate, frame.pts, frame.time_base = hertz, round(late * hertz), rate(1) / hertz
            streams.append((stream, [frame]))
        for stream, parts in streams:
            for part in (*parts, None):
                file.mux(stream.encode(part))


def heard(path):
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize("suffix", ["avi", "mov", "MKV"])
@pytest.mark.parametrize(("hertz", "channels"), [(48000, 2), (22050, 1)])
def test_the_sound_of_a_video_is_16_khz_mono_and_as_long(tmp_path, suffix, hertz, channels):
    make(tmp_path / f"v.{suffix}", hertz=hertz, channels=channels)
    video.extract_sound(tmp_path / f"v.{suffix}", tmp_path / "v.wav")
    samples = heard(tmp_path / "v.wav")
    assert abs(len(samples) - 12800) <= 32
    spectrum = np.abs(np.fft.rfft(samples[:12000]))
    assert spectrum.argmax() == HERTZ * 12000 // 16000
    loudest = 16000 / channels  # the mean of the channels
    assert np.abs(samples).max() == pytest.approx(loudest, rel=0.03)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"v.{suffix}", "v.wav"])


def test_sound_that_begins_behind_the_pictures_follows_silence(tmp_path):
    make(tmp_path / "v.mkv", late=0.25)
    video.extract_sound(tmp_path / "v.mkv", tmp_path / "v.wav")
    samples = heard(tmp_path / "v.wav")
    assert not samples[:3990].any() and np.abs(samples[4000:4100]).max() > 2000
    assert abs(len(samples) - 16800) <= 32


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_rates_of_videos_are_exact_and_frames_are_counted(tmp_path, suffix):
    path = tmp_path / f"v.{suffix}"
    make(path, fps=rate(29.97), frames=7, sound=False)
    found = video.probe(path)
    assert (found.fps, found.frames) == (rate(29.97), 7)
    assert found.seconds == pytest.approx(7 / 29.97, abs=1e-3)


def test_all_videos_are_tried_and_a_line_names_each_that_fails(tmp_path, capsys):
    make(tmp_path / "in" / "a.avi")
    make(tmp_path / "in" / "deep" / "b.mov")
    make(tmp_path / "in" / "mute.avi", sound=False)
    (tmp_path / "in" / "cut.mp4").write_bytes(b"no video")
    arguments = ["audio", str(tmp_path / "in"), str(tmp_path / "out")]
    assert video.main(arguments) == 2
    said = capsys.readouterr()
    assert "mute.avi: no sound in it." in said.out
    assert "cut.mp4: not a readable video (Invalid data" in said.out
    assert said.err == "error: 2 of 4 videos cannot be read, see the lines above.\n"
    wavs = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.wav"))
    assert wavs == ["a.wav", "deep/b.wav"]


def test_sound_of_a_video_that_is_cut_off_is_named_with_both_lengths(tmp_path, capsys):
    make(tmp_path / "in" / "v.avi", frames=200)
    whole = (tmp_path / "in" / "v.avi").read_bytes()
    (tmp_path / "in" / "v.avi").write_bytes(whole[: len(whole) // 2])
    assert video.main(["audio", str(tmp_path / "in"), str(tmp_path)]) == 0
    assert "v.wav (4.0 of 8.0 s)" in capsys.readouterr().out


def test_wavs_that_are_there_stay_unless_they_are_to_be_written_anew(tmp_path, capsys):
    make(tmp_path / "in" / "a.avi")
    (tmp_path / "a.wav").write_bytes(b"mine")
    arguments = ["audio", str(tmp_path / "in"), str(tmp_path)]
    assert video.main(arguments) == 0
    assert (tmp_path / "a.wav").read_bytes() == b"mine"
    assert "1 wavs are there already" in capsys.readouterr().out
    assert video.main([*arguments, "--overwrite"]) == 0
    assert len(heard(tmp_path / "a.wav")) > 10_000


def test_two_videos_do_not_share_a_wav(tmp_path, capsys):
    for name in ("a.avi", "a.mov"):
        (tmp_path / name).write_bytes(b"")
    assert video.main(["audio", str(tmp_path), str(tmp_path / "out")]) == 2
    assert "a.wav. Rename one." in capsys.readouterr().err


def test_a_probe_names_both_numbers_where_video_and_annotation_differ(tmp_path, capsys):
    make(tmp_path / "in" / "v.mp4", fps=rate(23.976), frames=5, sound=False)
    for name, rows in (("v_left", 5), ("v_right", 6), ("w", 1)):
        path = tmp_path / "texts" / "Train_Set" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("valence,arousal\n" + "0,0\n" * rows)
    arguments = ["probe", str(tmp_path / "in"), f"--annotations={tmp_path / 'texts'}"]
    assert video.main(arguments) == 0
    said = capsys.readouterr().out
    assert "v.mp4: 23.976 frames/s, 5 frames" in said and "v_left" not in said
    assert "v_right: 5 frames in v.mp4, 6 rows in" in said
    assert "annotations without a video: w" in said
    table = (tmp_path / "in" / "videos_fps.csv").read_text()
    assert table == "video_name,fps\nv.mp4,23.976\n"


def test_videos_whose_rate_varies_and_links_that_point_nowhere_are_named(tmp_path, capsys):
    make(tmp_path / "even.mkv", frames=50, sound=False)
    make(tmp_path / "slow.mkv", frames=50, sound=False, apart=2)
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    assert video.main(["probe", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "does the rate vary?: slow.mkv (2.0 and 4.0 s)\n" in said
    assert "links that point nowhere, without what they stand for: gone.mp4\n" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audio", "."], "OUT is missing"),
        (["audio", "nowhere", "out"], "nowhere: no such folder"),
        (["audio", ".", "out"], ".: no video (mp4, mkv, mov, avi, webm, m4v) in it."),
        (["sound", ".", "out"], "invalid choice: 'sound'"),
        (["probe", ".", "--overwrite"], "--overwrite belongs to audio"),
    ],
)
def test_what_is_wrong_in_the_command_is_one_line(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert video.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_without_the_library_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UserError, match="pip install av, or affect_jax with the extra video"):
        video.probe(tmp_path / "v.mp4")
