r"""Which members does an ensemble want? Every subset of them, scored out of fold on one split.

    python -m benchmarks.subsets 'folds:runs/linear_{}' 'folds:runs/fclstm_{}' ... [--seeds=0,1,2] \
        [--root=STORE] --split=train

A member is what affect_jax.ensemble takes; {} in its name stands for the seed. Prints, for each
number of members, the best subsets: the mean over the tasks of the score that affect_jax.ensemble
chooses by, averaged over the seeds before the best way to combine is taken. Nothing but the split
named is looked at, so name the one that the members were held out of.
"""

from __future__ import annotations

import itertools
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from affect_jax.ensemble.agree import common_tasks
from affect_jax.ensemble.choose import METHODS, Options, fit
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.members import parse
from affect_jax.prediction_files import Predictions
from affect_jax.tasks import Task
from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError
from data_pipelines.join import open_store

OPTIONS = Options(METHODS, windows=(0, 5, 10, 20, 50), match=(False, True))  # of the command
BEST = 3  # subsets shown of each size

Read = dict[Task, tuple[Predictions, list[np.ndarray]]]  # labels, raw predictions of the members


def read(names: Sequence[str], root: str | None, split: str) -> Read:
    """Predictions of the members of one seed; stored predictions without a store."""
    store = open_store(root) if root else None
    members = parse(names, store)
    tasks = common_tasks(members, None, store)
    draft = Fitted(pathlib.Path(), tuple(members), tasks, {})
    with tempfile.TemporaryDirectory() as scratch:
        opened = draft.open(root, split, pathlib.Path(scratch))
        return {task: opened.gather(task) for task in tasks}


def score(seeds: Sequence[Read], chosen: Sequence[int]) -> dict[str, tuple[float, str]]:
    """{task: (score out of fold, how it is reached)} of the members chosen.

    Of values with several dimensions the mean over them, and how the first one is reached.
    """
    scored = {}
    for task in seeds[0]:
        tried = []
        for one in seeds:
            reference, raws = one[task]
            tried.append(fit(task, [raws[i] for i in chosen], reference, OPTIONS).tried)
        scores = np.mean([[candidate.score for candidate in row] for row in tried], axis=0)
        dimension = np.array([candidate.dimension for candidate in tried[0]])
        best = [np.where(dimension == k, scores, -np.inf).argmax() for k in np.unique(dimension)]
        first = tried[0][best[0]]
        change = " +change" if first.match else ""
        how = f"{first.method}, window {first.window}{change}"
        scored[task.name] = float(scores[best].mean()), how
    return scored


def main(argv: Sequence[str]) -> None:
    """Print the best subsets of each size."""
    parser = Parser(
        prog="python -m benchmarks.subsets", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("members", nargs="+", metavar="MEMBER")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--root")
    parser.add_argument("--split", default="train")
    flags = parser.parse_all(argv)
    if len(set(flags.members)) < len(flags.members):
        raise UserError("a member is named twice.")
    seeds = [
        read([name.replace("{}", seed) for name in flags.members], flags.root, flags.split)
        for seed in flags.seeds.split(",")
    ]
    for size in range(1, len(flags.members) + 1):
        subsets = list(itertools.combinations(range(len(flags.members)), size))
        scored = []
        for place, chosen in enumerate(subsets, 1):
            print(f"\r{size} members: {place} of {len(subsets)}", end="", file=sys.stderr)
            scored.append((score(seeds, chosen), chosen))
        print(file=sys.stderr)
        scored.sort(key=lambda one: -np.mean([value for value, _ in one[0].values()]))
        for of_task, chosen in scored[:BEST]:
            mean = np.mean([value for value, _ in of_task.values()])
            tasks = "; ".join(f"{name} {v:.3f} ({how})" for name, (v, how) in of_task.items())
            print(f"{mean:.4f}  {' '.join(flags.members[i] for i in chosen)}: {tasks}", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
