"""Writes the weights of a run as a file of the original, under its names.

python -m affect_jax.interop export RUN OUT.safetensors [--checkpoint=best]

The other way, --config.init.weights=FILE starts a training from such a file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, nearest


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return exit_code(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    parser = Parser(
        prog="python -m affect_jax.interop",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", metavar="export")
    parser.add_argument("run", metavar="RUN", help="the --workdir of a run")
    parser.add_argument("out", metavar="OUT", help="file, OUT.safetensors")
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="WHICH",
        help="best (default), last, a monitored score, or epoch:17",
    )
    given = parser.parse_all(arguments)
    if given.command != "export":
        raise UserError(f"command {given.command!r}. {nearest(given.command, ('export',))}")
    from affect_jax.interop.export import export  # loads jax, which takes a second

    print(export(given.run, given.out, given.checkpoint))


if __name__ == "__main__":
    sys.exit(main())
