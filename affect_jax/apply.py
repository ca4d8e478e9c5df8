"""Evaluate and predict: one split by a checkpoint of a run, into the run or a folder of its own.

The folder is filled beside its place and put there as a whole, so every file in it is of one
command, whoever else predicts or is killed. With --output nothing is written in the run.
"""

from __future__ import annotations

import contextlib
import sys

import jax
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import report
from affect_jax import tasks as task_table
from affect_jax.changes import require_same_tasks
from affect_jax.disk import writing
from affect_jax.places import origin_of, place_of, reporting, require_free, require_writable_run
from affect_jax.predict import predict_split
from affect_jax.prediction_files import read_split
from affect_jax.progress import table
from affect_jax.restore import fitting_state, system_of, variables_of
from affect_jax.run import Run
from affect_jax.scoring import Total, require_labels, require_terms
from affect_jax.systems.supervised import Supervised
from affect_jax.trained_data import say_other_data
from data_pipelines import folds
from data_pipelines.errors import UserError, listed
from data_pipelines.files import read_json
from data_pipelines.join import open_store
from data_pipelines.paths import require_name
from data_pipelines.replace_file import replace_text, to_json
from data_pipelines.replace_folder import replace_folder


def apply(config: ConfigDict, run: Run, *, evaluate: bool, output: str = "") -> None:
    """Predict `config.data.split` with the chosen checkpoint, score, draw and print.

    Args:
        config: the run's own, or one that differs in what does not change the model.
        evaluate: the split must have labels, and the scores are printed as JSON last.
        output: a folder to write instead of the run.
    """
    run.require()
    own = configs.read(run.config_file)
    require_same_tasks(run, own, config)
    folder = require_free(output) if output else require_writable_run(run)
    if config.data.feeder == "auto":
        config.data.feeder = "streamed"  # all is read once, so nothing has to stay in memory
    system = system_of(run, config)
    tasks = task_table.scored(system.tasks)
    require_terms(tasks, config)
    say_other_data(system, run)
    split, store = config.data.split, system.data.store
    if not split:
        known = listed(store.splits)
        mode = "evaluate" if evaluate else "predict"
        raise UserError(f"config.data.split is empty: name the split to {mode} ({known}).")
    store.split(split)
    require_name(split, f"{store.path}: split")
    if evaluate:
        require_labels(tasks, store, split)
    step, raw = fitting_state(system, run, config.checkpoint)
    variables = variables_of(raw)
    print(f"step {step} of {run.folder} on split {split!r} of {store.path}", file=sys.stderr)
    origin = origin_of(run, store, split, step)
    place = folder if output else place_of(run, own, origin)
    if not output and place.name != split:
        print(f"{run.predictions / split} is of other data and stays", file=sys.stderr)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    name = split if output else place.name
    references = {name: store.references(split)}
    with writing(place), contextlib.ExitStack() as held:
        with replace_folder(place) as new:
            scores = predict_split(system, variables, split, new, origin)
            system.write_split(new, split, raw)
            loaded = read_split(new, tasks)
            if output:
                replace_text(new / "tasks.json", task_table.to_json(system.tasks))
                shown = {name: new}
                report.write_all(run.folder, splits=shown, references=references, out=new)
                with report.optional(place / "README.md"):
                    report.write_card(run.folder, store, step=step, parameters=parameters, out=new)
            else:
                held.enter_context(reporting(run))
        if not output:
            shown = {name: place}
            report.write_all(run.folder, splits=shown, references=references)
            _card_again(run, own, system, parameters)
    without = [t.name for t in tasks if not any(s.startswith(f"{t.name}/") for s in scores)]
    if scores and without:
        names = ", ".join(without)
        print(f"no label of {names} in split {split!r}: not scored", file=sys.stderr)
    print(f"predictions: {place}   plots: {(place if output else run.folder) / 'plots'}")
    if scores:
        group_of = {track.name: track.group for track in store.tracks}
        intervals = report.score_intervals(loaded, group_of, Total.of(config))
        print(table(scores, store.references(split), "ours", intervals))
    if evaluate:
        print(to_json(scores))


def _card_again(run: Run, own: ConfigDict, system: Supervised, parameters: int) -> None:
    """Write the card of a finished run again, which shows the scores of all its predictions."""
    if not run.finished_file.is_file():
        return
    with report.optional(run.folder / "README.md"):
        store = system.data.store
        if own.data.root != system.config.data.root:
            cut = own.folds
            store = folds.cut(open_store(own.data.root), cut.cut, cut.count, cut.seed)
        step = read_json(run.finished_file)["step"]
        report.write_card(run.folder, store, step=step, parameters=parameters)
