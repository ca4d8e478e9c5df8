"""Does fusion help? The chain from branches to fused models, over several seeds, in one table.

    python -m benchmarks.fusion --workdir=runs/fusions [--seeds=3] [--root=twin:ras]
        [--control=twin:ras?shuffle=1] [--folds=3] [--sizes=smoke]

For each seed, by the commands in configs/ras_fusion.py (benchmarks/fusion_chain.py):

1. A run of each branch, and a cross-validation of each inside the training split. The exports of
   the latter hold predictions by runs that have not seen the video, also for the training split.
2. On them, beside the features: experts, RAAV and Q/K/V; the plain mean; and the ensemble, whose
   weights, smoothing and scale are fitted by folds of the training split.
3. The control: the same branches read --control, where behaviour and sound tell of strangers, and
   experts are trained on that.

Every run is scored at its last step alone, so that nothing is chosen on the scored split. Runs one
after the other; the same command goes on where it stopped. The last lines of the table are the
store's references. "gap closed" is the share of the way from the best branch to the fusion ceiling,
in CCC, "gain" what is more than the best branch; in brackets 95 % intervals over videos. All
labelled frames count; one for which an ensemble has no member has the number that is nearest in its
track.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence

import numpy as np

from affect_jax.compilation import compilation_cache
from affect_jax.gaps import filled
from affect_jax.prediction_files import Predictions, find_tasks, read_split
from affect_jax.report import markdown
from affect_jax.report.interval import DrawnScores, bootstrap_by_group
from affect_jax.scoring import Total
from benchmarks.fusion_chain import BRANCHES, Chain, StoppedEarly
from configs.ras_face import branch_config
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.join import open_store
from data_pipelines.paths import user_path

TOTAL = "CCC"
COLUMNS = ("valence/ccc", "arousal/ccc", TOTAL)
CEILING = "fusion ceiling"


def compare(flags: argparse.Namespace) -> str:
    """Run what is not done yet; the table."""
    store = open_store(flags.root)
    group_of = {track.name: track.group for track in store.tracks}
    total = Total(TOTAL, branch_config().total.terms)
    drawn: dict[str, list[DrawnScores]] = {}
    for seed in range(flags.seeds):
        for name, folder in Chain(flags, seed).predictions():
            loaded = read_split(folder, find_tasks(folder))
            complete = {task: without_gaps(p) for task, p in loaded.items()}
            drawn.setdefault(name, []).append(DrawnScores(complete, group_of, total))
    references = store.references("validation")
    return markdown.table(
        ("model", *COLUMNS, "gap closed", "gain"), rows(drawn, references, BRANCHES)
    )


def without_gaps(p: Predictions) -> Predictions:
    """Predictions of one value; a frame without one has that of the nearest in its track."""
    bounds = np.searchsorted(p.track, np.arange(len(p.tracks) + 1))
    return dataclasses.replace(p, raw=filled(p.raw[:, 0], bounds)[:, None])


def rows(
    drawn: Mapping[str, Sequence[DrawnScores]],
    references: Mapping[str, Mapping[str, float]],
    branches: Sequence[str],
    **options: int,
) -> list[list[str]]:
    """A line a model, then one for each of the references.

    Args:
        drawn: {model: scores of each seed}.
        references: {who: {score: value}}; "fusion ceiling" is the end of the gap, where it is one.
        branches: models of which the best, in the mean over seeds, is the beginning of the gap.
        options: of `bootstrap_by_group`.
    """
    groups = next(iter(drawn.values()))[0].groups
    exact = {
        name: np.concatenate([_columns(one, np.ones((1, groups))) for one in seeds])
        for name, seeds in drawn.items()
    }
    best = max(branches, key=lambda name: exact[name][:, -1].mean())

    def means(counts: np.ndarray) -> np.ndarray:
        """[draws, models * scores]: means over the seeds, the gain the last score of a model."""
        found = {
            name: np.mean([_columns(one, counts) for one in seeds], axis=0)
            for name, seeds in drawn.items()
        }
        return np.concatenate(
            [np.column_stack([x, x[:, -1] - found[best][:, -1]]) for x in found.values()], axis=1
        )

    limits = np.stack(bootstrap_by_group(means, groups, **options), -1)
    limits = limits.reshape(len(drawn), len(COLUMNS) + 1, 2)
    begin = exact[best][:, -1].mean()
    gap = references.get(CEILING, {}).get(TOTAL, np.nan) - begin
    lines = []
    for (name, values), own in zip(exact.items(), limits, strict=True):
        spread = [f" ± {x:.3f}" for x in values.std(0, ddof=1)] if len(values) > 1 else [""] * 3
        line = [
            f"{mean:.3f}{more} ({low:.3f} to {high:.3f})"
            for mean, more, (low, high) in zip(values.mean(0), spread, own)
        ]
        gain, (low, high) = values[:, -1].mean() - begin, own[-1]
        fused = [
            f"{gain / gap:.2f}" if gap > 0 else "",
            f"{gain:+.3f} ({low:+.3f} to {high:+.3f})",
        ]
        lines.append([name, *line, *(("", "") if name in branches else fused)])
    for who, scores in references.items():
        lines.append([who, *(markdown.score(scores.get(name)) for name in COLUMNS), "", ""])
    return lines


def _columns(scores: DrawnScores, counts: np.ndarray) -> np.ndarray:
    """[draws, COLUMNS] of counts [draws, groups]."""
    return scores(counts)[:, [scores.names.index(name) for name in COLUMNS]]


def main(arguments: Sequence[str]) -> None:
    """Run the comparison; a signal ends it where the same command goes on."""
    parser = Parser(
        prog="python -m benchmarks.fusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--workdir", type=user_path, required=True, help="folder of the runs")
    add("--seeds", type=whole(1, 1000), default=3)
    add("--root", default="twin:ras", help="store with face, behaviour and sound")
    add("--control", default="twin:ras?shuffle=1", help="the same, shuffled; empty: no control")
    add("--folds", type=whole(2, 1000), default=3, help="of the training split")
    add("--sizes", default="", help="smoke; default: those of the configs")
    flags = parser.parse_all(arguments)
    compilation_cache()
    try:
        print(compare(flags))
    except StoppedEarly:
        print("stopped; the same command goes on.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_code(main))
