"""One run from its config to its report: begun, gone on with, or left alone where finished."""

from __future__ import annotations

import sys

from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.check import check
from affect_jax.disk import writing
from affect_jax.finish import finish
from affect_jax.padding import settled
from affect_jax.run import Run
from affect_jax.train import train
from affect_jax.trained_data import require_same_data


def train_run(config: ConfigDict, run: Run) -> str:
    """Train the run to its end and write its report; returns what to print.

    Raises:
        Stopped: a signal asked for the end; the same call goes on from there.
    """
    config = settled(configs.absolute_paths(config), run)
    run.create()
    with writing(run.folder), run.lock():
        changes = configs.differences(configs.read(run.config_file), config) if run.exists else []
        if run.exists and not changes and run.finished:
            return f"{run.folder}: this run is finished. Its report: {run.folder / 'README.md'}"
        started = run.started
        system = systems.build(config, statistics=run.read_statistics(config) if started else None)
        if changes or not started:
            check(system, run if started else None)
        require_same_data(system, run, started=started)
        for key, old, new in changes:
            print(f"config.{key} was {old!r}, is {new!r} from here on", file=sys.stderr)
        run.finished_file.unlink(missing_ok=True)
        run.write_tasks(system.tasks)
        if not started:
            run.write_statistics(system.data.statistics)
        configs.save(config, run.config_file)  # last: from here on the folder is a run
        train(system, run)
        return finish(system, run)
