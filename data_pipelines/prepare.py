"""Turns a data set into a store.

python -m data_pipelines.prepare --source=NAME --input=FOLDER --store=STORE

An existing store of that name is replaced, in one step, when the new one is complete; where a
preparation ends before, it stays as it was. What the source does not have is named and left out;
what contradicts itself is an error (exit code 2), and no store.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence

from data_pipelines import sources
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.store_writer import refuse_others


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments, stopped="stopped; the same command starts anew")


def _run(arguments: Sequence[str]) -> None:
    first = Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--source")
    source = first.parse_known_args(arguments)[0].source
    module = None if source is None else sources.load(source)

    parser = Parser(
        prog="python -m data_pipelines.prepare",
        description=__doc__,
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--source", required=True, metavar="NAME", help="the data set, see below")
    parser.add_argument("--input", required=True, metavar="FOLDER", help="where it lies")
    parser.add_argument("--store", required=True, metavar="STORE", help="folder to be written")
    flags = getattr(module, "FLAGS", {})
    group = parser.add_argument_group(f"of the source {source}") if flags else None
    for flag, keywords in flags.items():
        group.add_argument(f"--{flag}", **keywords)
    given = parser.parse_all(arguments)

    folder = user_path(given.input)
    if not folder.is_dir():
        there = "a file, expected the folder that holds it" if folder.exists() else "no such folder"
        raise UserError(f"--input={given.input}: {there}.")
    refuse_others(given.store)  # before what may take minutes
    report, start = Report(sys.stdout), time.monotonic()
    try:
        keywords = {name: getattr(given, name) for name in (f.replace("-", "_") for f in flags)}
        module.fill(folder, given.store, report, **keywords)
    except OSError as error:  # a full disk, no permission: nothing of ours to trace
        raise UserError(f"{error.filename or given.store}: {error.strerror or error}.") from None
    _summary(Store(given.store), report, time.monotonic() - start)


def _epilog() -> str:
    lines = ["sources (more about one, and its flags: --source=NAME --help):"]
    for name in sources.names():
        lines.append(f"  {name:16} {(sources.load(name).__doc__ or '').splitlines()[0]}")
    return "\n".join(lines)


def _summary(store: Store, report: Report, seconds: float) -> None:
    for split in store.splits:
        tracks = [track for track in store.tracks if track.split == split]
        frames = sum(track.frames for track in tracks)
        report.say(f"{split}: {len(tracks):,} tracks, {frames:,} frames")
    features = ", ".join(f"{f.name} {list(f.shape)}" for f in store.features.values())
    report.say(f"features: {features}; labels: {', '.join(store.labels) or 'none'}")
    report.say(f"{store.path} is ready after {seconds:.1f} s. Next, check it:")
    report.say(f"  python -m data_pipelines.verify --store={shlex.quote(str(store.path))}")


if __name__ == "__main__":
    sys.exit(main())
