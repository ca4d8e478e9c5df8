"""End of a training: scores beside their references, predictions, plots, a card."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import jax

from affect_jax import report
from affect_jax.places import origin_of, reporting
from affect_jax.predict import predict_split
from affect_jax.progress import table
from affect_jax.restore import fitting_state, variables_of
from affect_jax.run import Run
from affect_jax.systems.supervised import Supervised
from data_pipelines.replace_file import replace_json
from data_pipelines.replace_folder import replace_folder

# What the end needs and imports late is missed here, before days of training.
for _name in ("matplotlib.figure", "matplotlib.ticker", "matplotlib.backends.backend_agg"):
    importlib.import_module(_name)


def finish(system: Supervised, run: Run) -> str:
    """Score and predict the evaluation split with the best checkpoint, draw, write the card.

    Returns what to print. Doing it again gives the same files, so a kill in here costs nothing.
    """
    config = system.config
    step, raw = fitting_state(system, run, config.checkpoint)
    variables = variables_of(raw)
    lines, split = [f"finished: {run.folder}"], config.data.split
    scores: dict[str, Any] = {}
    with contextlib.ExitStack() as held:
        if split:
            origin = origin_of(run, system.data.store, split, step)
            with replace_folder(run.predictions / split) as new:
                scores = predict_split(system, variables, split, new, origin)
                system.write_split(new, split, raw)
                held.enter_context(reporting(run))
            references = system.data.store.references(split)
            lines.append(f"checkpoint {config.checkpoint}: step {step}; split {split!r}")
            lines.append(table(scores, references, "ours"))
        system.write_run(run)
        report.write_all(run.folder, references={split: references} if split else {})
        parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        with report.optional(run.folder / "README.md"):
            report.write_card(run.folder, system.data.store, step=step, parameters=parameters)
        replace_json(run.finished_file, {"step": step, "scores": scores})
    lines.append(f"plots: {run.folder / 'plots'}   report: {run.folder / 'README.md'}")
    return "\n".join(lines)
