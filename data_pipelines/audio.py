"""Sound of audio files: mono, int16 at one rate, whole or in blocks of bounded memory.

wav, flac, ogg, opus and mp3 are decoded by libsndfile, which knows them by their content. Channels
are averaged, then resampled by soxr. A stored sample stands for the float sample / 32768. What is
louder than full scale, as lossy codecs make of loud sound, is cut to it: so does every player of 16
bit, another scale would cost all quiet sound a bit, and 32768 is what all other int16 sound has.

The libraries come with the extra `audio`.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from data_pipelines import mp3
from data_pipelines.errors import UserError
from data_pipelines.files import readable
from data_pipelines.report import Report
from data_pipelines.side_by_side import side_by_side

RATE = 16000
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")
# What a StoreWriter is told of the stream, and flags of a source.
FEATURES = {"audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=RATE)}
FLAGS = {
    "skip-bad": dict(
        action="store_true",
        help="leave out files that are broken, empty, silent or no audio, instead of stopping",
    )
}
_BLOCK, _MOST = 10.0, 1 << 22  # seconds, and numbers in all channels, that are decoded at once
_RATES = (1000, 768_000)  # Hz, of files; beyond is damage, and would be a flood of samples
_LOUDEST = 2.0  # times full scale: codecs stay below, floats in another unit do not
_STEPS = 2  # of int16, between which sound is silence: dither, an offset
_CANCELLED = 0.01  # of a channel, at most, is left in the mean of channels that cancel
_UNKNOWN = 0x7FFFF000  # bytes of data, from which on a header means that it does not know
_CUT = re.compile(r"^\s*data : (\d+) \(should be (\d+)\)", re.MULTILINE)
_CUT_OGG = "Junk after the last page"


def decode(path: str | os.PathLike, rate: int = RATE) -> np.ndarray:
    """int16 [S]: the sound of a file at `rate` Hz.

    Raises:
        UserError: the file is none that can be decoded, cut off, empty or silent, or holds NaN; its
            channels cancel; or the extra `audio` is missing.
    """
    return _decode(path, rate)[0]


def blocks(
    path: str | os.PathLike, rate: int = RATE, seconds: float = 60.0
) -> Iterator[np.ndarray]:
    """int16 [round(seconds * rate)], the last one shorter: a file of any length, end to end.

    Joined they are what `decode` gives. Silence is no error here: a recording has pauses.

    Raises:
        UserError: as `decode`, where the reading comes to it; channels cancel at the end.
    """
    size, rest = max(1, round(seconds * rate)), np.zeros(0, np.int16)
    for piece in _pieces(path, rate, min(seconds, _BLOCK)):
        rest = np.concatenate([rest, _int16(piece)])
        while len(rest) >= size:
            yield rest[:size]
            rest = rest[size:]
    if len(rest):
        yield rest


def clips(
    files: Mapping[str, pathlib.Path], report: Report, label: str, *, skip_bad: bool = False
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, int16 [S] at RATE) of {name: file}, in their order; several are decoded at once.

    Notes which were cut to full scale, and with `skip_bad` which are left out.

    Raises:
        UserError: at the end, naming those that are bad; none is given behind the first. With
            `skip_bad`: all are.
    """
    libraries()
    cut = []
    for name, (samples, over) in side_by_side(
        files, lambda path: _decode(path, RATE), report, label, skip_bad=skip_bad
    ):
        if over:
            cut.append(f"{name} ({over:,} of {len(samples):,})")
        yield name, samples
    if cut:
        report.note(f"{label}: samples above full scale, cut to it", cut)


def _decode(path: str | os.PathLike, rate: int) -> tuple[np.ndarray, int]:
    """(int16 [S], number of samples that were cut to full scale)."""
    pieces, over = [], 0
    for x in _pieces(path, rate, _BLOCK):
        pieces.append(_int16(x))
        over += int(np.count_nonzero((x < -1) | (x * 32768 > 32767.5)))
    samples = np.concatenate(pieces)
    if int(samples.max()) - int(samples.min()) <= _STEPS:
        raise UserError(f"{os.fspath(path)}: not usable audio (it is silent).")
    return samples, over


def _int16(x: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(x * 32768), -32768, 32767).astype(np.int16)


def _pieces(path: str | os.PathLike, rate: int, seconds: float) -> Iterator[np.ndarray]:
    """float32 [n]: mono, at `rate`, about so many seconds each; at least one sample in all."""
    soundfile, soxr = libraries()
    empty = True
    with readable(path, "readable audio"):
        with open(path, "rb") as opened:  # the system says better why one cannot be
            if not opened.read(1):
                raise ValueError("it has 0 bytes")
        try:
            with _opened(soundfile, path) as (file, untold):
                size = max(1, min(round(seconds * file.samplerate), _MOST // file.channels))
                blocks = _blocks(file, mp3.FRAME if untold else size)
                if untold:
                    blocks = mp3.to_the_end(blocks, untold, soundfile.LibsndfileError)
                for x in _resampled(soxr, _mono(path, blocks), file.samplerate, rate):
                    empty = empty and not len(x)
                    yield x
        except soundfile.LibsndfileError as error:  # its text has the path in it
            raise ValueError(error.error_string) from None
        if empty:
            raise ValueError("it holds no sound")


@contextlib.contextmanager
def _opened(
    soundfile: ModuleType, path: str | os.PathLike
) -> Iterator[tuple[Any, mp3.SeemsLonger | None]]:
    """The file, to be read in its order; and what it is read from, if that tells no length."""
    name = os.fsencode(path)  # names in no encoding are names too
    with soundfile.SoundFile(name) as file:
        _require_whole(file)
        if file.format != "MP3" or mp3.tells_length(path):
            yield _forward(file), None
            return
        reckoned = file.frames
    with mp3.SeemsLonger(name, reckoned) as raw, soundfile.SoundFile(raw) as file:
        yield _forward(file), raw


def _forward(file: Any) -> Any:
    """The file, which is not to be sought in.

    soundfile seeks behind each block to where it is. An mp3 loses by that what its frames keep for
    the next ones, and the sound jumps.
    """
    file.seekable = lambda: False
    return file


def _blocks(file: Any, size: int) -> Iterator[np.ndarray]:
    """float32 [size, channels], the last one shorter: all that comes."""
    # The length that a header tells is a guess in some formats.
    block = np.empty((size, file.channels), np.float32)
    while len(read := file.read(out=block)):
        yield read


def _mono(path: str | os.PathLike, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """float32 [n]: means of the channels."""
    low, high = np.full(2, np.inf), np.full(2, -np.inf)  # of the mean, of the first channel
    for read in blocks:
        x = read.mean(1, dtype=np.float32)
        if not np.isfinite(x).all():
            raise ValueError("it holds NaN or infinity")
        if (loudest := np.abs(x).max()) > _LOUDEST:
            raise ValueError(f"it goes up to {loudest:.3g}, expected -1 to 1")
        both = np.stack([x, read[:, 0]])
        low, high = np.minimum(low, both.min(1)), np.maximum(high, both.max(1))
        yield x
    mean, first = high - low
    if first * 32768 > _STEPS and mean < _CANCELLED * first:
        raise UserError(
            f"{os.fspath(path)}: not usable audio (its channels cancel: each has sound, and their "
            "mean, which is taken, has none, as if one were wired the wrong way round). Keep one "
            "of them: ffmpeg -i IN -af 'pan=mono|c0=c0' OUT"
        )


def _resampled(
    soxr: ModuleType, pieces: Iterable[np.ndarray], given: int, rate: int
) -> Iterator[np.ndarray]:
    if given == rate:
        yield from pieces
        return
    stream = soxr.ResampleStream(given, rate, 1, dtype="float32")
    for x in pieces:
        yield stream.resample_chunk(x)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _require_whole(file: Any) -> None:
    """ValueError where the header is wrong: a rate that cannot be, more data than there is."""
    if not _RATES[0] <= file.samplerate <= _RATES[1]:
        low, high = _RATES
        raise ValueError(f"{file.samplerate:,} Hz, expected {low:,} to {high:,}")
    if (sizes := _CUT.search(file.extra_info)) and int(sizes[1]) < _UNKNOWN:
        raise ValueError(f"cut off: {int(sizes[2]):,} of {int(sizes[1]):,} bytes are there")
    if _CUT_OGG in file.extra_info:
        raise ValueError("cut off: its last page is not whole")


def libraries() -> tuple[ModuleType, ModuleType]:
    """The modules soundfile and soxr. UserError where they are not installed."""
    try:
        import soundfile
        import soxr
    except (ImportError, OSError):  # OSError: no libsndfile
        raise UserError(
            "audio files are read with soundfile and soxr, which are missing: "
            "pip install soundfile soxr, or affect_jax with the extra audio."
        ) from None
    return soundfile, soxr
