r"""Compare with the original systems.

    python -m tests.golden [FOLDER] [--only GLOB] [--strict]

Prints one line a fixture below FOLDER: name, verdict, worst error. Verdicts: pass; differs (ours
does something else on purpose, with the reason); fail; not built (no adapter yet). Without FOLDER
it is ../shared/golden beside this checkout, and nothing is compared where that does not exist.

Exit code: 0; 1 if a fixture fails, or is not built with --strict; 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import pathlib
import sys
import traceback

os.environ["JAX_PLATFORMS"] = "cpu"  # before jax is imported: the fixtures were made on a CPU

import jax

from affect_jax.compilation import compilation_cache
from tests.golden import compare, fixture

DEFAULT = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "golden"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.golden", description=__doc__.split("\n")[0]
    )
    parser.add_argument("folder", nargs="?", type=pathlib.Path, help="default: ../shared/golden")
    parser.add_argument("--only", default="*", metavar="GLOB", help="names of fixtures to run")
    parser.add_argument("--strict", action="store_true", help="not built counts as a failure")
    flags = parser.parse_args(arguments)
    if flags.folder is None and not DEFAULT.is_dir():
        print("No fixtures on this machine (../shared/golden): nothing was compared.")
        return 0
    folder = flags.folder or DEFAULT
    if not folder.is_dir():
        print(f"{folder}: no such folder of fixtures.", file=sys.stderr)
        return 2
    found = [f for f in fixture.fixtures(folder) if fnmatch.fnmatchcase(f.name, flags.only)]
    if not found:
        print(f"{folder}: no fixture there is called {flags.only!r}.", file=sys.stderr)
        return 2
    compilation_cache()
    counts = dict.fromkeys(("pass", "differs", "fail", "not built"), 0)
    width = max(len(f.name) for f in found)
    for one in found:
        result = run(one)
        counts[result.verdict] += 1
        print(result.line(one.name, width), flush=True)
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count))
    return int(bool(counts["fail"] or (flags.strict and counts["not built"])))


def run(one: fixture.Fixture) -> compare.Result:
    """The verdict on one fixture; what an adapter raises is a failure with its text."""
    try:
        with jax.default_matmul_precision("highest"):
            return compare.judge(one, fixture.adapters().get(one.name))
    except fixture.Mismatch as error:
        return compare.Result("fail", str(error))
    # Whatever one fixture raises, the others are still to be compared.
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        return compare.Result("fail", f"{type(error).__name__}: {text}")


if __name__ == "__main__":
    sys.exit(main())
