"""Heads and weightings of A-VB on one store: configs/vocal_bursts.py over several seeds.

    python -m benchmarks.bursts --workdir=runs/bursts [--seeds=3] [--root=twin:bursts]
        [--heads=vanilla,chain,branch] [--weightings=fixed,dwa,rruw,druw] [--sizes=smoke]
        [--epochs=20]

Prints a table in Markdown: mean and standard deviation of each score over the seeds, in brackets
the 95 % interval of that mean by resampling clips (or what else is a group of the store), and
beside them the store's references. Every run is scored at its last step alone, so that nothing is
chosen on the scored split. Runs one after the other, seed by seed; the same command goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ml_collections import ConfigDict

from affect_jax.compilation import compilation_cache
from affect_jax.config import load
from affect_jax.report import markdown
from affect_jax.report.interval import DrawnScores
from affect_jax.scoring import Total
from affect_jax.train import Stopped
from benchmarks.structures import predicted, summary
from configs.vocal_bursts import HEADS, SCORES, WEIGHTINGS
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.errors import UserError, nearest
from data_pipelines.join import open_store
from data_pipelines.paths import user_path

COLUMNS = (*SCORES.values(), "total")


def config_of(flags: argparse.Namespace, head: str, weighting: str) -> ConfigDict:
    """The config of one run, but for its seed."""
    sizes = f",{flags.sizes}" if flags.sizes else ""
    config = load(f"configs/vocal_bursts.py:{head},{weighting}{sizes}")
    config.checkpoint = "last"
    config.data.root = flags.root or config.data.root
    config.epochs = flags.epochs or config.epochs
    config.eval_every_epochs = config.epochs
    return config


def compare(flags: argparse.Namespace) -> str:
    """Train what is not trained yet; the table."""
    configs = {(w, h): config_of(flags, h, w) for w in flags.weightings for h in flags.heads}
    first = next(iter(configs.values()))
    store = open_store(first.data.root)
    group_of = {track.name: track.group for track in store.tracks}
    seeds: dict[tuple[str, str], list[DrawnScores]] = {model: [] for model in configs}
    for seed in range(flags.seeds):
        for (weighting, head), config in configs.items():
            config.seed = seed
            loaded = predicted(config, flags.workdir / f"{head}-{weighting}-seed{seed}")
            total = Total("total", config.total.terms)
            seeds[weighting, head].append(DrawnScores(loaded, group_of, total))
    rows = []
    for (weighting, head), drawn in seeds.items():
        cells = summary(drawn)
        rows.append([weighting, head, *(cells[name] for name in COLUMNS)])
    for who, scores in store.references(first.data.split).items():
        rows.append(["-", who, *(markdown.score(scores.get(name)) for name in COLUMNS)])
    return markdown.table(("weighting", "model", *COLUMNS), rows)


def main(arguments: Sequence[str]) -> None:
    """Run the comparison; a signal ends it where the same command goes on."""
    parser = Parser(
        prog="python -m benchmarks.bursts",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", type=user_path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=whole(1, 1000), default=3)
    parser.add_argument("--root", default="", help="store; default: the config's")
    parser.add_argument("--heads", default="vanilla,chain,branch", help="joined by commas")
    parser.add_argument("--weightings", default="fixed,dwa,rruw,druw", help="joined by commas")
    parser.add_argument("--sizes", default="", help="paper, script or smoke; default: small")
    parser.add_argument("--epochs", type=whole(), default=0, help="default: the config's")
    flags = parser.parse_all(arguments)
    for name, known in (("heads", HEADS), ("weightings", WEIGHTINGS)):
        chosen = tuple(getattr(flags, name).split(","))
        for one in chosen:
            if one not in known:
                raise UserError(f"--{name}: {one!r}: {nearest(one, known)}")
        setattr(flags, name, chosen)
    compilation_cache()
    try:
        print(compare(flags))
    except Stopped as stopped:
        print(f"stopped at step {stopped}; the same command goes on.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_code(main))
