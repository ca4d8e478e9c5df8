"""Sound, rates and lengths of videos.

python -m data_pipelines.video audio VIDEOS OUT     a wav for each video, 16 kHz, mono, 16 bit
python -m data_pipelines.video probe VIDEOS         frames a second of each, videos_fps.csv

Videos are mp4, mkv, mov, avi, webm and m4v, in the folder or below it. The wav of a/b.mp4 is
a/b.wav in OUT; one that is there already stays, unless --overwrite is given. Its first sample is
heard with the first frame: sound that begins later follows silence, and what is before it is left
out. Two persons in a video (tracks that end in _left or _right) share its sound.

They are read by the library av, which comes with the extra `video`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import sys
import wave
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any, TypeVar

from data_pipelines import folder as folders
from data_pipelines.audio import RATE
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.labels.lines import read_lines
from data_pipelines.labels.rates import (
    HIGHEST,
    NAME,
    decimals,
    stems,
    video_of,
    write_rates,
)
from data_pipelines.labels.segments import VIDEO_SUFFIXES
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_file
from data_pipelines.report import Report
from data_pipelines.side_by_side import results
from data_pipelines.store_specs import rate

_LATEST = 60  # seconds between the beginnings of sound and pictures; beyond is damage
_SHORTER = 1.0  # seconds by which two lengths may differ without a note
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Probe:
    """Rate and length of a video, as it says itself.

    Attributes:
        fps: frames a second, exact (29.97 is 30000/1001); None where not known.
        frames: number of them.
        seconds: that they last, or where the video does not say, all of it; 0 where not known.
    """

    fps: Fraction | None
    frames: int
    seconds: float

    @property
    def odd(self) -> bool:
        """Frames and rate tell of another length: the rate is a mean or a wish."""
        told = self.frames / (self.fps or 1)
        return bool(self.fps and self.seconds) and abs(told - self.seconds) > _SHORTER


def probe(path: pathlib.Path) -> Probe:
    """Rate and number of frames of a video. UserError where it is none.

    Its average rate is taken to three decimals, as videos_fps.csv has it, so that both are one.
    """
    with _opened(path) as container:
        if not container.streams.video:
            raise UserError(f"{path}: no pictures in it.")
        stream = container.streams.video[0]
        frames = stream.frames
        if not frames:  # such as mkv, which does not say
            frames = sum(packet.size > 0 for packet in container.demux(stream))
        number = round(float(stream.average_rate or 0), 3)
        own = (stream.duration or 0) * (stream.time_base or 0)
        seconds = float(own or Fraction(container.duration or 0, library().time_base))
        return Probe(rate(number) if 0 < number <= HIGHEST else None, frames, seconds)


def extract_sound(path: pathlib.Path, out: pathlib.Path) -> tuple[float, float]:
    """Write the sound of a video as a wav: 16 kHz, mono, 16 bit. UserError where it has none.

    Memory holds a piece of it; a kill leaves no part of the file.

    Returns:
        (seconds that were written, seconds that the video says it has).
    """
    av = library()
    with _opened(path) as container:
        if not container.streams.audio:
            raise UserError(f"{path}: no sound in it.")
        stream = container.streams.audio[0]
        late = _seconds_late(path, container)
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        with replace_file(out) as partial, wave.open(str(partial), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes(bytes(2 * max(0, round(late * RATE))))
            skip, heard = max(0, round(-late * RATE)), 0
            for frame in _frames(container, stream):
                for piece in resampler.resample(frame):
                    samples = piece.to_ndarray().reshape(-1)
                    heard += len(samples)
                    file.writeframes(samples[skip:].astype("<i2").tobytes())
                    skip = max(0, skip - len(samples))
            if not heard:
                raise UserError(f"{path}: no sound in it that can be decoded.")
        told = [container.duration / av.time_base] if container.duration else [0.0]
        told += [x.frames / float(x.average_rate or 1) for x in container.streams.video[:1]]
        return heard / RATE + float(late), max(told)


def _frames(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of sound, and None at the end, which empties a resampler."""
    for frame in container.decode(stream):
        frame.pts = None  # gaps between the pieces are not filled
        yield frame
    yield None


def _seconds_late(path: pathlib.Path, container: Any) -> Fraction:
    """Time from the first frame to the first sample; 0 without pictures."""
    pair = [*container.streams.audio[:1], *container.streams.video[:1]]
    begins = [(stream.start_time or 0) * (stream.time_base or 0) for stream in pair]
    late = Fraction(begins[0] - begins[-1])
    if abs(late) > _LATEST:
        raise UserError(f"{path}: sound begins {float(late):.0f} s after the pictures; damaged?")
    return late


def library() -> ModuleType:
    """The module av. UserError where it is not installed."""
    try:
        import av
    except (ImportError, OSError):  # OSError: a library that it needs
        raise UserError(
            "videos are read with av, which is missing: pip install av, or affect_jax with the "
            "extra video."
        ) from None
    return av


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[Any]:
    """The container, open in the block; what av complains of there is a UserError."""
    av = library()
    av.logging.set_level(av.logging.PANIC)  # it would write to the terminal, from its threads
    try:
        with av.open(str(path)) as container:
            yield container
    except av.FFmpegError as error:
        raise UserError(f"{path}: not a readable video ({error.strerror}).") from None
    except ValueError as error:  # sound of another form than before
        raise UserError(f"{path}: not a readable video ({error}).") from None


def videos(folder: pathlib.Path) -> list[pathlib.Path]:
    """The videos of a folder and those below it; UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. The videos belong there.")
    found = [p for each in folders.folders(folder) for p in folders.files(each, *VIDEO_SUFFIXES)]
    if not found:
        known = ", ".join(suffix[1:] for suffix in VIDEO_SUFFIXES)
        raise UserError(f"{folders.nothing(folder, f'video ({known})')}.")
    return found


def probe_folder(folder: pathlib.Path, report: Report) -> dict[str, Probe]:
    """{name of the file: what it says of itself} of the videos of a folder.

    Raises:
        UserError: two of one name, or one that cannot be read, after a line for each such.
    """
    found = videos(folder)
    stems([path.name for path in found], folder)
    probed = _each({path.name: path for path in found}, probe, report, "videos")
    odd = [
        f"{name} ({one.frames / float(one.fps):.1f} and {one.seconds:.1f} s)"
        for name, one in probed.items()
        if one.odd
    ]
    if odd:
        report.note("frames at their rate last longer or shorter; does the rate vary?", odd)
    if len(probed) < len(found):
        raise _failed(len(found) - len(probed), len(found))
    return probed


def _each(
    items: Mapping[str, Any], do: Callable[[Any], R], report: Report, label: str
) -> dict[str, R]:
    """{name: result} of those that succeed, several at a time; a line for each that does not."""
    found: dict[str, R] = {}
    for name, result in results(items, do, report, label):
        if isinstance(result, UserError):
            report.say(f"failed: {result}")
        else:
            found[name] = result
    return found


def _failed(count: int, total: int) -> UserError:
    return UserError(f"{count:,} of {total:,} videos cannot be read, see the lines above.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments, stopped="stopped; the same command goes on")


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m data_pipelines.video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("what", choices=("audio", "probe"))
    add("videos", metavar="VIDEOS", help="folder")
    add("out", metavar="OUT", nargs="?", help=f"folder of wavs; of probe the file, VIDEOS/{NAME}")
    add("--overwrite", action="store_true", help="audio: write wavs that are there anew")
    add("--annotations", metavar="FOLDER", help="probe: name texts of another length than videos")
    given = parser.parse_all(arguments)
    library()  # before what may take long
    report, folder = Report(sys.stdout), user_path(given.videos)
    folders.note_gone(folder, report)
    if given.what == "audio":
        if given.out is None:
            raise UserError("OUT is missing: the folder of the wavs. See --help.")
        if given.annotations is not None:
            raise UserError("--annotations belongs to probe. See --help.")
        _audio(folder, user_path(given.out), report, overwrite=given.overwrite)
        return
    if given.overwrite:
        raise UserError("--overwrite belongs to audio. See --help.")
    probed = probe_folder(folder, report)
    for name, one in probed.items():
        report.say(f"{name}: {decimals(one.fps) or 'unknown'} frames/s, {one.frames:,} frames")
    if given.annotations is not None:
        _compare(probed, user_path(given.annotations), report)
    path = folder / NAME if given.out is None else user_path(given.out)
    write_rates(path, {name: one.fps for name, one in probed.items()})
    report.say(f"{path} is ready")


def _audio(folder: pathlib.Path, out: pathlib.Path, report: Report, *, overwrite: bool) -> None:
    found = videos(folder)
    wavs: dict[pathlib.Path, pathlib.Path] = {}
    for path in found:
        wav = out / path.relative_to(folder).with_suffix(".wav")
        if wav in wavs:
            raise UserError(f"{path} and {wavs[wav]} would both be {wav}. Rename one.")
        wavs[wav] = path
    todo = {str(wav): (path, wav) for wav, path in wavs.items() if overwrite or not wav.exists()}
    if len(todo) < len(wavs):
        report.say(f"{len(wavs) - len(todo):,} wavs are there already and stay (--overwrite)")

    def extract(pair: tuple[pathlib.Path, pathlib.Path]) -> tuple[float, float]:
        pair[1].parent.mkdir(parents=True, exist_ok=True)
        return extract_sound(*pair)

    done = _each(todo, extract, report, "sound")
    short = [
        f"{wav} ({heard:.1f} of {told:.1f} s)"
        for wav, (heard, told) in done.items()
        if heard < told - _SHORTER
    ]
    if short:
        report.note("sound that ends before the video, which may be cut off", short)
    report.say(f"{out}: {len(done):,} wavs written")
    if len(done) < len(todo):
        raise _failed(len(todo) - len(done), len(todo))


def _compare(probed: Mapping[str, Probe], folder: pathlib.Path, report: Report) -> None:
    """Notes of the annotation texts below a folder that are longer or shorter than their video."""
    texts = folders.by_name(p for f in folders.folders(folder) for p in folders.files(f, ".txt"))
    if not texts:
        raise UserError(f"{folders.nothing(folder, 'annotation text (<track>.txt)')}.")
    of_stem, without = stems(probed, folder), []
    for track, path in sorted(texts.items()):
        name = video_of(track, of_stem)
        if name is None:
            without.append(track)
            continue
        rows, one = len(read_lines(path, report.note)) - 1, probed[name]
        if rows != one.frames:
            report.note(f"{track}: {one.frames:,} frames in {name}, {rows:,} rows in {path}")
    if without:
        report.note("annotations without a video", without)


if __name__ == "__main__":
    sys.exit(main())
