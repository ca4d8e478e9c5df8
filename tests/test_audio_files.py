"""Decoding: the sound of a file at 16 kHz, whatever wrote it, or one line that names it."""

import itertools
import struct
import sys

import numpy as np
import pytest
import soundfile

from data_pipelines import audio
from data_pipelines.errors import UserError
from data_pipelines.report import Report


def tone(rate=16000, seconds=0.5, hertz=440.0, level=0.5):
    """float32 [S]: a sine with soft ends."""
    time = np.arange(round(rate * seconds)) / rate
    envelope = np.sin(np.pi * time / seconds) ** 2
    return (level * np.sin(2 * np.pi * hertz * time) * envelope).astype(np.float32)


def close(samples, wanted, within):
    assert samples.dtype == np.int16 and samples.shape == wanted.shape
    return np.abs(samples / 32768 - wanted).max() < within


@pytest.mark.parametrize("suffix", audio.SUFFIXES)
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_each_format_gives_the_same_sound_at_16_khz_from_any_rate(tmp_path, suffix, rate):
    path = tmp_path / f"tone{suffix}"
    kind = ("OGG", "OPUS") if suffix == ".opus" else (None, None)
    soundfile.write(path, tone(rate), rate, format=kind[0], subtype=kind[1])
    lossy = suffix not in (".wav", ".flac")
    assert close(audio.decode(path), tone(), 0.1 if lossy else 1e-4)


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 96000])
def test_rates_that_are_no_multiple_and_very_high_ones_are_resampled(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(rate), rate)
    assert close(audio.decode(tmp_path / "a.wav"), tone(), 1e-4)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        ("WAV", "PCM_24"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("WAVEX", "PCM_16"),
        ("RF64", "FLOAT"),
    ],
)
def test_every_kind_of_wav_is_read(tmp_path, kind, subtype):
    soundfile.write(tmp_path / "a.WAV", tone(), 16000, format=kind, subtype=subtype)
    assert close(audio.decode(tmp_path / "a.WAV"), tone(), 4e-5)  # libsndfile writes the lower step


def test_samples_of_16_bit_are_kept_exactly_and_channels_are_averaged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, (500, 6)).astype(np.int16)
    soundfile.write(tmp_path / "one.wav", samples[:, 0], 16000)
    np.testing.assert_array_equal(audio.decode(tmp_path / "one.wav"), samples[:, 0])
    soundfile.write(tmp_path / "six.wav", samples, 16000)
    np.testing.assert_allclose(audio.decode(tmp_path / "six.wav"), samples.mean(1), atol=0.51)


def with_chunk(path, chunk, *, first):
    """The wav file rewritten with a chunk of another kind before its data."""
    data = path.read_bytes()
    head = data[12:36]
    body = b"WAVE" + (chunk + head if first else head + chunk) + data[36:]
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.parametrize("first", [True, False])
def test_chunks_before_the_data_are_passed_over(tmp_path, first):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    plain = audio.decode(path)
    for size in (3, 70_000):
        with_chunk(path, b"abcd" + struct.pack("<I", size) + bytes(size + size % 2), first=first)
        np.testing.assert_array_equal(audio.decode(path), plain)


def test_a_wav_that_was_written_to_a_pipe_has_no_length_and_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert close(audio.decode(path), tone(), 4e-5)  # libsndfile writes the lower step


def damaged(path):
    """{what a file holds that is no sound: how it is named}, written to `path` one by one."""
    soundfile.write(path, tone(), 16000, subtype="PCM_16")
    whole = path.read_bytes()
    flac = path.with_name("whole.flac")
    soundfile.write(flac, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)

    def wav(samples, **how):
        soundfile.write(path, samples, 16000, **how)
        return path.read_bytes()

    nan, loud = tone(), tone() * 30_000
    nan[300] = np.nan
    rate = bytearray(whole)
    rate[24:28] = struct.pack("<I", 3)
    return {
        b"": "it has 0 bytes",
        b"no sound at all\n": "Format not recognised",
        whole[:60]: "cut off: 16 of 16,000 bytes are there",
        whole[:40] + bytes(4): "it holds no sound",
        flac.read_bytes()[:9000]: "lost sync",
        bytes(rate): "3 Hz, expected 1,000 to 768,000",
        wav(np.zeros(100)): "it is silent",
        wav(np.full(100, 0.25)): "it is silent",
        wav(np.stack([tone(), -tone()], 1)): "its channels cancel: each has sound",
        wav(np.stack([tone(), -0.995 * tone()], 1)): "its channels cancel: each has sound",
        wav(np.full((100, 2), 0.25)): "it is silent",
        wav(nan, subtype="FLOAT"): "it holds NaN or infinity",
        wav(loud, subtype="FLOAT"): "it goes up to 1.5e[+]04, expected -1 to 1",
        b"version https://git-lfs.github.com/spec/v1\n": "a pointer to a file that is not here",
    }


@pytest.mark.parametrize("share", [0.4, 0.9])
@pytest.mark.parametrize(
    ("suffix", "message"),
    [(".ogg", "cut off: its last page is not whole"), (".mp3", "cut off: .* bytes are there")],
)
def test_files_that_end_too_early_are_named(tmp_path, suffix, message, share):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 96_000), 16000)
    whole = path.read_bytes()
    assert len(audio.decode(path)) == 96_000
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=f"{path}: not readable audio .{message}"):
        audio.decode(path)
    with pytest.raises(UserError, match="cut off"):
        next(audio.blocks(path, seconds=0.1))  # before hours are read
    if suffix == ".mp3":  # as streams are recorded: nothing tells the length
        untold = whole.replace(b"Info", b"----").replace(b"Xing", b"----")
        path.write_bytes(untold[: int(share * len(whole))])
        assert len(audio.decode(path)) > 10_000


def variable_mp3(path, rate=8000, seconds=24, quiet=0):
    """Write an mp3 whose bit rate varies; its bytes from the second frame on tell no length."""
    time = np.arange(seconds * rate) / rate - quiet
    noise = np.random.default_rng(0).normal(0, 0.2, len(time))
    sound = (time > 0) * np.where(time % 2 < 1, noise, 0.1 * np.sin(2000 * time))
    how = dict(format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    soundfile.write(path, sound, rate, **how)
    whole = path.read_bytes()
    assert whole[:4096].count(b"Xing") == 1
    return whole[whole.index(whole[:2], 2) :]


def test_an_mp3_of_variable_rate_that_does_not_tell_its_length_is_read_to_its_end(tmp_path):
    path = tmp_path / "a.mp3"
    untold = variable_mp3(path)
    sound = audio.decode(path, 8000)
    path.write_bytes(untold)
    with soundfile.SoundFile(path) as file:
        assert file.frames < 0.9 * len(sound)  # as libsndfile reckons
    got = audio.decode(path, 8000)
    # The tag that is gone also said how many samples of the coder's delay stand in front.
    assert 0 <= len(got) - len(sound) < 3 * 1152
    start = sound[:2000].astype(int)
    delay = min(range(2304), key=lambda i: np.abs(got[i : i + 2000] - start).sum())
    np.testing.assert_allclose(got[delay:][: len(sound)], sound, atol=2)
    np.testing.assert_array_equal(np.concatenate(list(audio.blocks(path, 8000, 0.7))), got)
    for cut, more in ((len(untold) // 2, b""), (len(untold), b"APETAGEX" + bytes(5000))):
        path.write_bytes(untold[:cut] + more)
        part = audio.decode(path, 8000)
        np.testing.assert_array_equal(part[: len(part) - 1152], got[: len(part) - 1152])
        assert len(part) > 0.4 * cut / len(untold) * len(got)


def test_an_mp3_that_is_reckoned_too_long_ends_where_it_ends(tmp_path):
    path = tmp_path / "a.mp3"
    untold = variable_mp3(path, quiet=3)
    sound = audio.decode(path, 8000)
    path.write_bytes(untold[:-20])  # half a frame at the end
    with soundfile.SoundFile(path) as file:
        assert file.frames > 1.5 * len(sound)
    assert abs(len(audio.decode(path, 8000)) - len(sound)) < 2 * 1152


def test_an_mp3_is_the_same_in_blocks_as_in_one_piece(tmp_path, monkeypatch):
    variable_mp3(tmp_path / "a.mp3")
    small = audio.decode(tmp_path / "a.mp3", 8000)
    monkeypatch.setattr(audio, "_BLOCK", 100.0)
    np.testing.assert_allclose(small, audio.decode(tmp_path / "a.mp3", 8000), atol=1)


def test_what_is_no_sound_is_named_with_the_reason(tmp_path):
    path = tmp_path / "a.wav"
    for data, message in damaged(path).items():
        path.write_bytes(data)
        with pytest.raises(UserError, match=message) as error:
            audio.decode(path)
        assert str(error.value).count(str(path)) == 1 and "\n" not in str(error.value)
    for gone, message in ((tmp_path / "gone.wav", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"{gone}: not readable audio .{message}"):
            audio.decode(gone)


def test_what_is_louder_than_full_scale_is_cut_and_counted(tmp_path):
    sound = tone(level=1.1)
    soundfile.write(tmp_path / "a.wav", sound, 16000, subtype="FLOAT")
    report = Report()
    ((name, samples),) = audio.clips({"a": tmp_path / "a.wav"}, report, "mine")
    assert samples.max() == 32767 and samples.min() == -32768
    over = np.count_nonzero(np.abs(sound) > 1)
    assert over and report.notes == [
        f"mine: samples above full scale, cut to it: {name} ({over:,} of 8,000)"
    ]


@pytest.mark.parametrize("rate", [16000, 44100])
def test_blocks_joined_are_the_whole_file(tmp_path, rate):
    sound = tone(rate, seconds=1.3)
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    pieces = list(audio.blocks(tmp_path / "a.wav", seconds=0.25))
    assert [len(piece) for piece in pieces] == [4000] * 5 + [800]
    np.testing.assert_array_equal(np.concatenate(pieces), audio.decode(tmp_path / "a.wav"))


def test_many_channels_are_read_in_smaller_pieces(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).integers(-99, 99, (300, 7)).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    whole = audio.decode(tmp_path / "a.wav")
    monkeypatch.setattr(audio, "_MOST", 700)
    np.testing.assert_array_equal(audio.decode(tmp_path / "a.wav"), whole)


def test_a_pause_in_a_recording_is_no_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000), 16000)
    (piece,) = audio.blocks(tmp_path / "a.wav")
    assert not piece.any() and len(piece) == 1000


def test_only_so_much_of_a_long_file_is_read_as_is_asked_for(tmp_path, monkeypatch):
    read, reader = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile,
        "read",
        lambda self, **k: (read.append(len(k["out"])), reader(self, **k))[1],
    )
    soundfile.write(tmp_path / "a.wav", tone(8000, seconds=20), 8000)
    list(itertools.islice(audio.blocks(tmp_path / "a.wav", seconds=2), 3))
    assert read == [16000] * 4  # two seconds each; the resampler holds some back


def test_clips_come_in_their_order_and_names_may_be_in_no_encoding(tmp_path):
    files = {}
    for i, name in enumerate((b"\xff.wav", "ä.wav".encode(), *(b"%d.wav" % i for i in range(20)))):
        path = tmp_path / name.decode(sys.getfilesystemencoding(), "surrogateescape")
        with open(path, "wb") as file:
            soundfile.write(file, np.eye(1, 100, i)[0], 16000, format="WAV")
        files[str(i)] = path
    got = list(audio.clips(files, Report(), "mine"))
    assert [(name, int(samples.argmax())) for name, samples in got] == [
        (str(i), i) for i in range(22)
    ]


def test_bad_files_are_all_named_at_the_end_and_left_out_where_that_is_asked(tmp_path):
    files = {name: tmp_path / f"{name}.wav" for name in "abcd"}
    for name in "bd":
        soundfile.write(files[name], tone(), 16000)
    files["a"].write_bytes(b"")
    files["c"].write_bytes(b"text")
    given = []
    with pytest.raises(UserError, match=r"a.wav: .* Bad are also 1 of 4: .* --skip-bad") as error:
        given.extend(audio.clips(files, Report(), "mine"))
    assert not given and str(files["c"]) in str(error.value)
    report = Report()
    assert [name for name, _ in audio.clips(files, report, "mine", skip_bad=True)] == ["b", "d"]
    assert len(report.notes) == 1 and all(str(files[name]) in report.notes[0] for name in "ac")
    with pytest.raises(UserError, match="Bad are also 1 of 2"):
        list(audio.clips({n: files[n] for n in "ac"}, Report(), "mine", skip_bad=True))


def test_without_the_libraries_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(UserError, match="pip install soundfile soxr"):
        audio.decode(tmp_path / "a.wav")
