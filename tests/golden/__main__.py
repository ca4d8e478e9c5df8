r"""Compare with the original systems.

    python -m tests.golden [FOLDER] [--only GLOB] [--strict] [--jobs N]

Prints one line a fixture below FOLDER: name, verdict, worst error. Verdicts: pass; differs (ours
does something else on purpose, with the reason); fail; not built (no adapter yet). Without FOLDER
it is ../shared/golden beside this checkout, and nothing is compared where that does not exist.
With --jobs fixtures are compared in processes, whose programs are compiled without optimisation:
they run a few times and take minutes to compile. The lines and their order stay the same.

Exit code: 0; 1 if a fixture fails, or is not built with --strict; 2 for a wrong command line.
"""

from __future__ import annotations

import fnmatch
import os
import pathlib
import sys
from collections.abc import Sequence

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported: the fixtures were made on a CPU

from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path
from tests.golden import fixture
from tests.golden.work import run_all

DEFAULT = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "golden"


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code. UserError for a wrong command line."""
    parser = Parser(
        prog="python -m tests.golden", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument("folder", nargs="?", type=user_path, help="default: ../shared/golden")
    parser.add_argument("--only", default="*", metavar="GLOB", help="names of fixtures to run")
    parser.add_argument("--strict", action="store_true", help="not built counts as a failure")
    parser.add_argument("--jobs", type=whole(1, 64), default=1, help="processes (default: this)")
    flags = parser.parse_all(arguments)
    if flags.folder is None and not DEFAULT.is_dir():
        print("No fixtures on this machine (../shared/golden): nothing was compared.")
        return 0
    folder = flags.folder or DEFAULT
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of fixtures.")
    found = [f for f in fixture.fixtures(folder) if fnmatch.fnmatchcase(f.name, flags.only)]
    if not found:
        raise UserError(f"{folder}: no fixture there is called {flags.only!r}.")
    counts = dict.fromkeys(("pass", "differs", "fail", "not built"), 0)
    width = max(len(f.name) for f in found)
    for one, result in zip(found, run_all(found, flags.jobs), strict=True):
        counts[result.verdict] += 1
        print(result.line(one.name, width), flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    return int(bool(counts["fail"] or (flags.strict and counts["not built"])))


if __name__ == "__main__":
    sys.exit(exit_code(main))
