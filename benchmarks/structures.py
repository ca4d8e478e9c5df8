"""Do tasks help each other? Single tasks, SE, SBE and SBE-HSF on one store, over several seeds.

    python -m benchmarks.structures --workdir=runs/structures [--seeds=3] [--root=twin:mtl]
        [--config=configs/mtl.py] [--epochs=80]

Prints a table in Markdown: mean and standard deviation of each score over the seeds, in brackets
the 95 % interval of that mean by resampling videos, and beside them the store's references. Every
run is scored at its last step, so that nothing is chosen on the scored split. Runs one after the
other; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from affect_jax.compilation import compilation_cache
from affect_jax.config import load
from affect_jax.prediction_files import Predictions, read_split
from affect_jax.report import markdown
from affect_jax.report.interval import DrawnScores, bootstrap_by_group
from affect_jax.run import Run
from affect_jax.scoring import Total
from affect_jax.tasks import Task
from affect_jax.train import Stopped
from affect_jax.train_run import train_run
from configs.abaw_tasks import P_MTL, SCORES
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.join import open_store
from data_pipelines.paths import user_path

# {row of the table: [(variant, tasks)]}: its runs, each of some tasks.
MODELS = {
    "single task": [("se", (task,)) for task in SCORES],
    "SE": [("se", tuple(SCORES))],
    "SBE": [("sbe", tuple(SCORES))],
    "SBE-HSF": [("hsf", tuple(SCORES))],
}
COLUMNS = (*SCORES.values(), "P_MTL")


def config_of(flags: argparse.Namespace, variant: str, tasks: Sequence[str]) -> ConfigDict:
    """The config of one run, but for its seed."""
    path, _, more = flags.config.partition(":")
    config = load(f"{path}:{','.join(name for name in (variant, more) if name)}")
    config.tasks, config.checkpoint = tuple(tasks), "last"
    config.data.root = flags.root or config.data.root
    config.epochs = flags.epochs or config.epochs
    return config


def predicted(config: ConfigDict, folder: pathlib.Path) -> dict[Task, Predictions]:
    """Train the run, unless it is finished; what it predicts for the evaluation split."""
    run = Run(folder)
    print(train_run(config, run), file=sys.stderr, flush=True)
    return read_split(run.predictions / config.data.split, run.read_tasks())


def summary(seeds: Sequence[DrawnScores]) -> dict[str, str]:
    """{score: mean over the seeds, their deviation, and the interval of the mean}."""
    groups = seeds[0].groups
    scores = np.concatenate([seed(np.ones((1, groups))) for seed in seeds])
    limits = bootstrap_by_group(lambda n: np.mean([seed(n) for seed in seeds], axis=0), groups)
    cells = {}
    for name, values, low, high in zip(seeds[0].names, scores.T, *limits):
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        cells[name] = f"{np.mean(values):.3f}{spread} ({low:.3f} to {high:.3f})"
    return cells


def compare(flags: argparse.Namespace) -> str:
    """Train what is not trained yet; the table."""
    base = config_of(flags, "se", tuple(SCORES))
    store = open_store(base.data.root)
    group_of = {track.name: track.group for track in store.tracks}
    rows = []
    for model, parts in MODELS.items():
        seeds = []
        for seed in range(flags.seeds):
            loaded: dict[Task, Predictions] = {}
            for variant, tasks in parts:
                config = config_of(flags, variant, tasks)
                config.seed = seed
                of = f"-{tasks[0]}" if len(parts) > 1 else ""
                folder = flags.workdir / f"{model.replace(' ', '-').lower()}{of}-seed{seed}"
                loaded |= predicted(config, folder)
            seeds.append(DrawnScores(loaded, group_of, Total("P_MTL", P_MTL)))
        cells = summary(seeds)
        rows.append([model, *(cells[name] for name in COLUMNS)])
    for who, scores in store.references(base.data.split).items():
        rows.append([who, *(markdown.score(scores.get(name)) for name in COLUMNS)])
    return markdown.table(("model", *COLUMNS), rows)


def main(arguments: Sequence[str]) -> None:
    """Run the comparison; a signal ends it where the same command goes on."""
    parser = Parser(
        prog="python -m benchmarks.structures",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", type=user_path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=whole(1, 1000), default=3)
    parser.add_argument("--config", default="configs/mtl.py", help="variants go to every model")
    parser.add_argument("--root", default="", help="store; default: the config's")
    parser.add_argument("--epochs", type=whole(), default=0, help="default: the config's")
    flags = parser.parse_all(arguments)
    compilation_cache()
    try:
        print(compare(flags))
    except Stopped as stopped:
        print(f"stopped at step {stopped}; the same command goes on.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_code(main))
