"""Time and memory of the commands on 1, 4 and 16 times the data.

    python -m benchmarks.run --suite=growth [--tracks=20] [--rows=200] [--scales=1,4,16]
        [--folder=FOLDER]

Writes the official files of a twin at every scale, trains a tiny model on each store, and runs
prepare, evaluate, predict, ensemble, submission write and check on them, every one a process of
its own. Prints seconds and peak memory of each, and how the time grows: what it takes more at the
last scale over what it takes more at the second, both against the first. Where time is linear that
is (16 - 1) / (4 - 1) = 5, whatever starting and compiling cost; where it is quadratic, 17.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import NamedTuple

from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path
from data_pipelines.twins import affwild2
from data_pipelines.twins.tracks import Size

TRAIN = (8, 800)  # tracks and rows, at every scale
MOST_TRACKS = 500  # of a twin's validation split: it has names for so many videos
MODEL = ("--config=configs/mtl.py:smoke", "--config.keep_epochs=('1-2',)")


class Cost(NamedTuple):
    """Cost of a command: seconds, and MiB of its largest process."""

    seconds: float
    memory: float


def commands(folder: pathlib.Path) -> dict[str, list[str]]:
    """{name: arguments of python -m} of the commands that are measured, in order."""
    official, store, run, fitted = (str(folder / n) for n in ("official", "store", "run", "fitted"))
    annotations = f"{official}/annotations/{affwild2.MTL_FILES['validation']}"
    data = [f"--config.data.root={store}", "--config.data.split=validation"]
    entry = ["--track=mtl", f"--list={annotations}"]
    main = ["affect_jax.main", f"--workdir={run}"]
    release = ["--source=affwild2", "--edition=4", f"--input={official}", f"--store={store}"]
    predictions = [f"--predictions={fitted}", "--split=validation", f"--out={folder}/entry.txt"]
    return {
        "prepare": ["data_pipelines.prepare", *release],
        "train": [*main, *MODEL, f"--config.data.root={store}"],
        "evaluate": [*main, "--mode=evaluate", *data],
        "predict": [*main, "--mode=predict", *data],
        "ensemble": ["affect_jax.ensemble", f"{run}@1", f"{run}@2", f"--out={fitted}", *data],
        "write": ["affect_jax.submission", "write", *entry, *predictions],
        "check": ["affect_jax.submission", "check", *entry, f"{folder}/entry.txt"],
    }


def measure(folder: pathlib.Path, tracks: int, rows: int) -> dict[str, Cost]:
    """{command: its cost} on a validation split of so many tracks, of `rows` rows on average."""
    # In a process of its own: a child's peak memory begins with that of its parent.
    size = Size(TRAIN, (tracks, tracks * rows))
    writer = multiprocessing.get_context("spawn").Process(
        target=affwild2.write, args=("mtl", folder / "official", size, 0)
    )
    writer.start()
    writer.join()
    return {name: _cost(name, words) for name, words in commands(folder).items()}


def _cost(name: str, words: Sequence[str]) -> Cost:
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", *words], stdout=said, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise UserError(f"{name} ended with {process.returncode}: {last}")
    return Cost(seconds, usage.ru_maxrss / 1024)


def report(scales: Sequence[int], costs: Sequence[dict[str, Cost]]) -> str:
    """The table: a line a command."""
    heads = [f"{scale}x" for scale in scales]
    lines = [
        f"{'seconds':<10}" + "".join(f"{head:>8}" for head in heads) + f"{'growth':>8}"
        f"{'MiB':>8}" + "".join(f"{head:>8}" for head in heads)
    ]
    for name in costs[0]:
        row = [one[name] for one in costs]
        more = [cost.seconds - row[0].seconds for cost in row]
        # Below a tenth of what starting takes, differences are noise.
        grows = f"{more[-1] / more[1]:.1f}" if more[1] > 0.1 * row[0].seconds else "-"
        lines.append(
            f"{name:<10}"
            + "".join(f"{cost.seconds:>8.1f}" for cost in row)
            + f"{grows:>8}{'':>8}"
            + "".join(f"{cost.memory:>8.0f}" for cost in row)
        )
    linear = (scales[-1] - scales[0]) / (scales[1] - scales[0])
    return "\n".join([*lines, f"growth: {linear:.1f} is linear in the data, - too short to tell"])


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m benchmarks.run --suite=growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--tracks", type=int, default=20, help="of the validation split at 1x")
    parser.add_argument("--rows", type=int, default=200, help="of a track, on average")
    parser.add_argument("--scales", default="1,4,16", help="two or more, rising")
    parser.add_argument("--folder", help="where the files stay; without it they are removed")
    given = parser.parse_all(arguments)
    texts = given.scales.split(",")
    if not all(text.isdecimal() and len(text) < 6 for text in texts):
        raise UserError(
            f"--scales={given.scales}: expected numbers joined by commas, as in 1,4,16."
        )
    scales = [int(text) for text in texts]
    if len(scales) < 2 or scales[0] < 1 or sorted({*scales}) != scales:
        raise UserError(f"--scales={given.scales}: expected two or more, rising from 1 or more.")
    if not 2 <= given.tracks * scales[-1] <= MOST_TRACKS:
        raise UserError(
            f"--tracks={given.tracks}: {given.tracks * scales[-1]:,} tracks at {scales[-1]}x, "
            f"expected 2 to {MOST_TRACKS}."
        )
    if not 12 <= given.rows <= 100_000:
        raise UserError(f"--rows={given.rows}: expected 12 to 100,000.")
    with tempfile.TemporaryDirectory() as scratch:
        place = user_path(given.folder or scratch)
        costs = []
        for scale in scales:
            folder = place / f"{scale}x"
            if folder.exists():
                raise UserError(f"{folder}: exists. Give another --folder.")
            folder.mkdir(parents=True)
            print(f"{scale}x: {given.tracks * scale:,} tracks of {given.rows} rows", flush=True)
            costs.append(measure(folder, given.tracks * scale, given.rows))
    print(report(scales, costs))


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code of the command."""
    return exit_code(_run, arguments)


if __name__ == "__main__":
    sys.exit(main())
