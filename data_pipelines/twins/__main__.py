"""Writes the files of a synthetic twin, to look at or to prepare by hand.

python -m data_pipelines.twins --name=mtl --output=FOLDER
python -m data_pipelines.prepare --source=SOURCE --input=FOLDER --store=STORE
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from data_pipelines import twins
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m data_pipelines.twins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--name", required=True, metavar="NAME", help=", ".join(twins.NAMES))
    parser.add_argument("--output", required=True, metavar="FOLDER", help="new or empty")
    parser.add_argument("--seed", default="0", metavar="N", help="a whole number from 0")
    parser.add_argument("--size", default="default", metavar="SIZE", help="default or small")
    given = parser.parse_all(arguments)
    seed = twins.seed_of(given.seed, "--seed=")
    if given.name not in twins.NAMES:
        raise UserError(f"--name={given.name}: no such twin. {nearest(given.name, twins.NAMES)}")
    twin = twins.module(given.name)
    if given.size not in twin.SIZES:
        raise UserError(f"--size={given.size}: no such size. {nearest(given.size, twin.SIZES)}")
    folder = user_path(given.output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--output={given.output}: not an empty folder. Give another.")
    try:
        twin.write(given.name, folder, twin.SIZES[given.size], seed)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}.") from None
    flags = "".join(f"--{flag}={value} " for flag, value in twin.FLAGS[given.name].items())
    print(f"{folder} is written. Next, make a store of it:")
    print(
        f"  python -m data_pipelines.prepare --source={twin.SOURCE} {flags}"
        f"--input={shlex.quote(str(folder))} --store=STORE"
    )


if __name__ == "__main__":
    sys.exit(main())
