"""What a finished training leaves: scores beside their references, predictions, plots, a card."""

from __future__ import annotations

from typing import Any

import jax

from affect_jax.predict import predict_split
from affect_jax.progress import table
from affect_jax.restore import weights
from affect_jax.run import Run, replace, to_json
from affect_jax.system import Supervised


def finish(system: Supervised, run: Run) -> str:
    """Score and predict the evaluation split with the best checkpoint, draw, write the card.

    Returns what to print. Doing it again gives the same files, so a kill in here costs nothing.
    """
    from affect_jax import report

    config = system.config
    step, variables = weights(system, run, config.checkpoint)
    lines, split = [f"finished: {run.folder}"], config.data.split
    scores: dict[str, Any] = {}
    if split:
        scores = predict_split(system, variables, split, run.predictions / split)
        references = system.store.references(split)
        lines.append(f"best checkpoint: step {step}; split {split!r}")
        lines.append(table(scores, references, "ours"))
    report.write_all(run.folder, references=system.store.references(split) if split else {})
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    report.write_card(run.folder, system.store, step=step, parameters=parameters)
    replace(run.finished_file, to_json({"step": step, "scores": scores}, indent=1) + "\n")
    lines.append(f"plots: {run.folder / 'plots'}   report: {run.folder / 'README.md'}")
    return "\n".join(lines)


def report_split(
    system: Supervised, run: Run, split: str, scores: dict[str, Any], *, as_json: bool
) -> None:
    """Print where the predictions are, the scores with their intervals, then the scores as JSON.

    The interval is the bootstrap's 95 % over groups (videos, speakers) of the split.
    """
    from affect_jax.prediction_files import read_split
    from affect_jax.report import score_intervals

    folder = run.predictions / split
    print(f"predictions: {folder}")
    if scores:
        group_of = {track.name: track.group for track in system.store.tracks}
        total = system.config.total
        intervals = score_intervals(
            read_split(folder, system.tasks), group_of, (total.name, total.terms)
        )
        print(table(scores, system.store.references(split), "ours", intervals))
    if as_json:
        print(to_json(scores))
