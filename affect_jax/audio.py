r"""Predict recordings of any length, window by window, with runs that hear clips.

    python -m affect_jax.audio FILE --run=RUN --out=FOLDER
    python -m affect_jax.audio FOLDER --run=RUN --out=FOLDER --hop=0.5
    python -m affect_jax.audio FOLDER --run=RUN --run=RUN@10-19 --run=FOLDS --out=FOLDER

Windows are as long as the clips of the run (config.data.seconds) and half overlapping, or begin
--hop seconds apart; the last is shifted back to end with the sound. A shorter file is one window,
padded. Of each file, in folders as they are, FOLDER has <file>.csv with a row a window: start and
end in seconds, the name and the probability of a class or a label, values. origin.json says which
step of which run predicted them. Of several runs these are the means of their probabilities and
values, as of python -m affect_jax.ensemble where nothing is fitted.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import pathlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from data_pipelines import audio
from data_pipelines import folder as folders
from data_pipelines.audio_windows import windows
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, listed
from data_pipelines.paths import user_path
from data_pipelines.replace_file import replace_json
from data_pipelines.replace_folder import replace_folder
from data_pipelines.report import Report

if TYPE_CHECKING:
    from affect_jax.recordings import Recordings, Together
    from affect_jax.tasks import Task

ORIGIN = "origin.json"
BLOCK = 10.0  # seconds that are read at once

Place = tuple[pathlib.Path, int, int]  # file, first and last sample + 1 of a window


def find(source: pathlib.Path, report: Report) -> dict[pathlib.Path, pathlib.Path]:
    """{audio file: path of its csv below the folder that is written}, by name.

    Args:
        source: a file of any name, or a folder, in which audio files have their usual suffixes.

    Raises:
        UserError: there are none, or one of them is not audio, as far as its beginning shows.
    """
    if not source.exists():
        raise UserError(f"{source}: no such file or folder.")
    root, files = source.parent, [source]
    if source.is_dir():
        root = source
        inner = folders.folders(source)
        files = sorted(path for one in inner for path in folders.files(one, *audio.SUFFIXES))
        if not files:
            known = ", ".join(f"*{suffix}" for suffix in audio.SUFFIXES)
            raise UserError(f"{folders.nothing(source, f'audio file ({known})')}.")
        report.use(*files)
        folders.note_rest(source, report)
    for path in files:  # before hours of work on the others
        next(audio.blocks(path, seconds=0.1))
    return {p: p.relative_to(root).with_name(f"{p.name}.csv") for p in files}


def write(
    recordings: Recordings | Together,
    files: dict[pathlib.Path, pathlib.Path],
    folder: pathlib.Path,
    hop: int,
) -> int:
    """Write the csv of each of {file: its place below `folder`}; the number of windows.

    Args:
        hop: samples from a window to the next.

    Raises:
        UserError: a file is broken, or a prediction is no number.
    """
    predicted = recordings.predict(_windows(files, recordings.size, hop))
    count = 0
    for path, rows in itertools.groupby(predicted, key=lambda item: item[0][0]):
        place = folder / files[path]
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["start", "end", *columns(recordings.tasks)])
            for (_, start, end), raw in rows:
                times = [start / audio.RATE, end / audio.RATE]
                _require_finite(path, times[0], raw)
                cells = (cell for task in recordings.tasks for cell in _cells(task, raw[task.name]))
                writer.writerow([*times, *cells])
                count += 1
    return count


def _windows(
    files: Iterable[pathlib.Path], size: int, hop: int
) -> Iterator[tuple[Place, np.ndarray]]:
    """((file, first sample, last + 1), samples) of all files, with a bar of seconds of sound."""
    files = list(files)
    with tqdm(unit="s", unit_scale=True, leave=False, disable=None) as bar:
        for number, path in enumerate(files, 1):
            bar.set_description(f"file {number:,} of {len(files):,}")
            blocks = _counted(audio.blocks(path, seconds=BLOCK), bar)
            for start, samples in windows(blocks, size, hop):
                yield (path, start, start + len(samples)), samples


def _counted(blocks: Iterable[np.ndarray], bar: tqdm) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block
        bar.update(len(block) / audio.RATE)


def columns(tasks: Sequence[Task]) -> list[str]:
    """Names of the columns of all tasks; with the task in front where one would come twice."""
    named = [(task.name, name) for task in tasks for name in _columns(task)]
    plain = [name for _, name in named]
    if len({"start", "end", *plain}) == len(plain) + 2:
        return plain
    return [name if name.startswith(task) else f"{task}_{name}" for task, name in named]


def _columns(task: Task) -> list[str]:
    if task.kind == "classes":
        return [task.name, f"{task.name}_probability"]
    names = list(task.names) or [f"{task.name}_{i + 1}" for i in range(task.size)]
    if task.kind == "labels":
        return names + [f"{name}_probability" for name in names]
    return names if task.names or task.size > 1 else [task.name]


def _cells(task: Task, raw: np.ndarray) -> list[object]:
    """Cells of the columns of a task for one window."""
    from scipy.special import expit, softmax

    from affect_jax.tasks import decode

    decoded = decode(task, raw)
    if task.kind == "classes":
        name = task.names[int(decoded)] if task.names else int(decoded)
        return [name, str(softmax(raw).max())]
    if task.kind == "labels":
        return [*decoded.tolist(), *map(str, expit(raw))]
    return [str(x) for x in np.asarray(decoded, np.float32)]


def _require_finite(path: pathlib.Path, second: float, raw: dict[str, np.ndarray]) -> None:
    for name, x in raw.items():
        if not np.isfinite(x).all():
            raise UserError(
                f"{path}: the prediction of {name} at {second:g} s is no finite number. The run "
                "has diverged: take another checkpoint of it, --checkpoint=epoch:N."
            )


def _require_free(text: str) -> pathlib.Path:
    """The folder that is written; UserError where something else is in it."""
    folder = user_path(text).resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out={text}: is a file. Give a folder.")
    others = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if ORIGIN in others:
        inside = (p for p in folder.rglob("*") if not p.is_dir())
        others = [p.name for p in inside if p.suffix != ".csv" and p != folder / ORIGIN]
    if others:
        raise UserError(
            f"--out={text}: holds {listed(others, 1)}, so it is no folder that recordings were "
            "written to. Give another."
        )
    return folder


def _hop(text: str | None, size: int) -> int:
    """Samples of --hop, or of half a window."""
    if text is None:
        return -(-size // 2)
    try:
        hop = round(float(text) * audio.RATE)
    except (ValueError, OverflowError):
        hop = 0
    if not 1 <= hop <= size:
        raise UserError(
            f"--hop={text[:50]}: expected seconds, above 0 and at most the {size / audio.RATE:g} "
            "of a window."
        )
    return hop


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.audio",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="FILE|FOLDER", help="wav, flac, ogg, opus or mp3, of any rate")
    add("--run", required=True, action="append", metavar="RUN", help="a run that hears clips, "
        "epochs of one (RUN@10-19) or a folder of folds; several times: the mean")  # fmt: skip
    add("--out", required=True, metavar="FOLDER", help="where the csv files are written")
    add("--hop", metavar="SECONDS", help="from a window to the next (default: half a window)")
    add("--checkpoint", default="", metavar="WHICH", help="best, last, epoch:17 or a score "
        "(default: as the config has it)")  # fmt: skip
    add("--tasks", metavar="A,B", help="predict only these (default: all, which runs must share)")
    return parser


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    audio.libraries()
    out = _require_free(flags.out)
    files = find(user_path(flags.source), Report(sys.stderr))
    from affect_jax.compilation import compilation_cache
    from affect_jax.disk import writing
    from affect_jax.recordings import open_runs

    compilation_cache()
    with open_runs(flags.run, flags.checkpoint, flags.tasks) as recordings, writing(out):
        hop = _hop(flags.hop, recordings.size)
        seconds = {"seconds": recordings.size / audio.RATE, "hop": hop / audio.RATE}
        with replace_folder(out) as new:
            count = write(recordings, files, new, hop)
            replace_json(new / ORIGIN, {**recordings.origin, **seconds})
    some, many = (
        f"{n:,} {x}{'' if n == 1 else 's'}" for n, x in ((len(files), "file"), (count, "window"))
    )
    print(f"{out}: {some}, {many} of {seconds['seconds']:g} s")


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv, stopped="stopped; the same command starts anew")


if __name__ == "__main__":
    sys.exit(cli())
