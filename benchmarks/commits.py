r"""Two states of the code beside each other: is AFTER slower than BEFORE?

    python -m benchmarks.commits BEFORE AFTER [--rounds=20] [--suite=temporal] [--shapes=8x64] ...

Each is a commit, a branch, or a folder with a work tree; commits are checked out in a temporary
folder. Every round runs benchmarks.run of both trees, each in a fresh process, in the other order
than the round before, so that what slows the machine for minutes slows both; all other flags are
handed on. Prints for every case the median over the rounds of AFTER's time over BEFORE's (1.05: 5 %
slower) with its 95 % bootstrap interval. PyTorch is left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path

ROOT = pathlib.Path(__file__).resolve().parents[1]
DRAWS = 10_000
# A name that is None cannot be found: benchmarks.run then measures our side alone.
PROGRAM = (
    "import runpy, sys; sys.modules['torch'] = None; sys.argv[0] = 'benchmarks.run'; "
    "runpy.run_module('benchmarks.run', run_name='__main__')"
)

Times = dict[str, float]  # {case: seconds}
Suite = tuple[Times, bool]  # of one run; whether the machine was quiet


@contextlib.contextmanager
def work_tree(name: str) -> Iterator[pathlib.Path]:
    """The folder of a state of the code, a commit's for as long as the block runs."""
    if user_path(name).is_dir():
        yield user_path(name).resolve()
        return
    commit = _git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if commit.returncode:
        raise UserError(f"{name}: neither a folder nor a commit of {ROOT}.")
    with tempfile.TemporaryDirectory(prefix="commits-") as folder:
        tree = pathlib.Path(folder) / "tree"
        made = _git("worktree", "add", "--detach", str(tree), commit.stdout.strip())
        if made.returncode:
            raise UserError(f"{name}: cannot be checked out: {_last(made.stderr)}")
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def run_suite(tree: pathlib.Path, flags: Sequence[str]) -> Suite:
    """One round of benchmarks.run in a tree; UserError where it fails."""
    with tempfile.TemporaryDirectory(prefix="commits-") as folder:
        numbers = pathlib.Path(folder) / "numbers.json"
        command = [sys.executable, "-c", PROGRAM, *flags, "--rounds=1", f"--json={numbers}"]
        environment = os.environ | {"PYTHONPATH": str(tree)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
        if done.returncode or not numbers.is_file():
            raise UserError(f"{tree}: benchmarks.run failed: {_last(done.stderr)}")
        return read(numbers.read_text())


def read(text: str) -> Suite:
    """The numbers of `benchmarks.run --json`: medians over its rounds."""
    times, quiet = {}, True
    for result in json.loads(text)["results"]:
        rounds = result["rounds"]
        quiet &= all(one["quiet"] for one in rounds)
        for what in (key for key in rounds[0] if key.startswith("ours ")):
            case = f"{result['model']} {result['shape']} {what.removeprefix('ours ')}"
            times[case] = float(np.median([one[what] for one in rounds]))
    return times, quiet


def alternate(
    trees: Sequence[pathlib.Path], rounds: int, flags: Sequence[str]
) -> Iterator[tuple[Suite, Suite]]:
    """(before, after) of every round, in turns."""
    for number in range(rounds):
        suites = {i: run_suite(trees[i], flags) for i in ((0, 1) if number % 2 == 0 else (1, 0))}
        yield suites[0], suites[1]


def ratio(before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """(median over the rounds of after / before, ends of its 95 % interval).

    Percentile bootstrap over the rounds (Efron, Ann. Stat. 7(1), 1979).
    """
    each = np.asarray(after) / np.asarray(before)
    drawn = np.random.default_rng(0).integers(0, len(each), (DRAWS, len(each)))
    low, high = np.percentile(np.median(each[drawn], axis=1), (2.5, 97.5))
    return float(np.median(each)), float(low), float(high)


def report(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> str:
    """A line a case that both trees have; times are those of each round."""
    cases = [case for case in before[0] if case in after[0]]
    if not cases:
        raise UserError(f"no case in common: {', '.join(before[0])}; {', '.join(after[0])}.")
    lines = []
    for case in cases:
        a, b = ([times[case] for times in side] for side in (before, after))
        middle, low, high = ratio(a, b)
        lines.append(
            f"{case}: before {1e3 * np.median(a):.2f} ms a step, after {1e3 * np.median(b):.2f} "
            f"ms, after / before {middle:.3f} ({low:.3f} to {high:.3f}, {len(a)} rounds)"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Measure both and print the ratios."""
    parser = Parser(
        prog="python -m benchmarks.commits",
        description=__doc__.split("\n")[0],
        epilog="All other flags go to benchmarks.run of both.",
        allow_abbrev=False,
    )
    parser.add_argument("before", metavar="BEFORE", help="a commit, or a folder with a work tree")
    parser.add_argument("after", metavar="AFTER")
    parser.add_argument("--rounds", type=whole(1, 1000), default=20)
    flags, others = parser.parse_known_args(arguments)
    with contextlib.ExitStack() as stack:
        trees = [stack.enter_context(work_tree(name)) for name in (flags.before, flags.after)]
        sides: tuple[list[Times], list[Times]] = [], []
        loaded = 0
        for number, suites in enumerate(alternate(trees, flags.rounds, others), 1):
            for side, (times, _) in zip(sides, suites, strict=True):
                side.append(times)
            loaded += not all(quiet for _, quiet in suites)
            each = "   ".join(
                f"{case} {after / suites[0][0][case]:.3f}"
                for case, after in suites[1][0].items()
                if case in suites[0][0]
            )
            print(f"round {number}   {each}", flush=True)
    print(report(*sides))
    if loaded:
        print(f"{loaded} of {flags.rounds} rounds were taken under load")


def _git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1]


if __name__ == "__main__":
    sys.exit(exit_code(main))
