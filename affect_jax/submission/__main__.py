"""Writes and checks the files of a challenge entry.

python -m affect_jax.submission write --track=mtl --predictions=RUN --list=LIST --out=FILE
python -m affect_jax.submission check --track=mtl --list=LIST FILE

LIST is the organisers' file of the test images (or, in the first three editions, of the test
videos); of A-VB a table with the test clips. Exit code 2 where something is wrong, with file,
line and reason of each problem.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from affect_jax.submission.check import SHOWN, Refused, check
from affect_jax.submission.formats import (
    DEFAULT_EDITION,
    ONE_FILE_FROM,
    TRACKS,
    format_of,
    require_file_name,
)
from affect_jax.submission.official import read_list
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    commands = {"write": _write, "check": _check}
    if not arguments:
        raise UserError(f"a command is missing. {nearest('', commands)} See --help.")
    if arguments[0] in ("-h", "--help"):
        _parser("{write,check}", __doc__).print_help()
        return
    if arguments[0] not in commands:
        raise UserError(f"command {arguments[0]!r}. {nearest(arguments[0], commands)}")
    try:
        commands[arguments[0]](arguments[1:])
    except Refused as error:
        for problem in error.problems[:SHOWN]:
            print(problem, file=sys.stderr)
        if len(error.problems) > SHOWN:
            print(f"... and {len(error.problems) - SHOWN:,} more", file=sys.stderr)
        raise


def _parser(command: str, about: str) -> Parser:
    return Parser(
        prog=f"python -m affect_jax.submission {command}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_common(parser: Parser) -> None:
    parser.add_argument("--track", required=True, metavar="|".join(TRACKS))
    parser.add_argument("--list", required=True, metavar="LIST", help="the organisers' list")
    parser.add_argument(
        "--edition",
        type=int,
        metavar="N",
        help=f"of ABAW (default: {DEFAULT_EDITION}): from {ONE_FILE_FROM} on an entry is one file, "
        "in 1 to 3 that of va, expr and au is a folder with a text a video",
    )


def _check(arguments: Sequence[str]) -> None:
    parser = _parser("check", "Checks every row of an entry against the official list.")
    _add_common(parser)
    parser.add_argument("path", metavar="PATH", help="file, or folder of texts")
    given = parser.parse_all(arguments)
    form, path = format_of(given.track, given.edition), user_path(given.path)
    require_file_name(path, form)
    print(check(path, read_list(user_path(given.list), form, warn=_note), form))


def _write(arguments: Sequence[str]) -> None:
    parser = _parser(
        "write", "Writes an entry in the official form, in the order of the list, and checks it."
    )
    _add_common(parser)
    parser.add_argument(
        "--predictions",
        required=True,
        action="append",
        metavar="FOLDER",
        help="a run, or a folder with <task>.npz; several times where one task comes from each",
    )
    parser.add_argument("--split", metavar="NAME", help="of the runs' predictions (default: test)")
    parser.add_argument("--out", required=True, metavar="OUT", help="file, or folder of texts")
    parser.add_argument(
        "--fill",
        nargs="?",
        const="line",
        default="",
        metavar="HOW",
        help="images without a prediction: valence and arousal on the line between their "
        "neighbours, classes and action units from the nearest image; --fill=nearest: all from "
        "the nearest",
    )
    parser.add_argument(
        "--drop", action="store_true", help="leave out what is predicted but not in the list"
    )
    given = parser.parse_all(arguments)
    form = format_of(given.track, given.edition)
    official = read_list(user_path(given.list), form, warn=_note)
    from affect_jax.submission.write import write  # loads jax, which takes a second

    folders = [user_path(folder) for folder in given.predictions]
    said = write(
        folders, given.split, official, form, user_path(given.out), fill=given.fill, drop=given.drop
    )
    print("\n".join(said))


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
