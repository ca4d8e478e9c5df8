"""Trained models as a command line names them: runs, folders of folds, and epochs of a run.

runs/mtl           a run; its checkpoint is the one that its config chooses
runs/mtl6          the folder of a cross-validation: all its folds
runs/mix@17        a run at the end of epoch 17, runs/mix@10-19 at the end of each of ten
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Iterator

from affect_jax.config import epochs_in, read
from affect_jax.shown import as_argument
from data_pipelines.errors import UserError
from data_pipelines.folds import names
from data_pipelines.paths import user_path

FOLDS_FILE = "folds.json"  # in the folder of a cross-validation
SWEEP_FILE, BEST_FILE = "sweep.json", "best.json"  # in the folder of a search
MOST = 1000  # epochs of a run at once


def expand(name: str | os.PathLike) -> Iterator[tuple[pathlib.Path, str]]:
    """(run folder, checkpoint as `config.checkpoint` names it, or "") of all that is named.

    A folder that is neither comes back as it is: whoever opens it says what is missing. UserError
    as `all_folds`.
    """
    path, at, epochs = str(name).rpartition("@")
    if not at or not re.fullmatch(r"\d+(-\d+)?", epochs):
        path, epochs = str(name), ""
    folder = user_path(path)
    named = epochs_in([epochs]).ranges[0] if epochs else ()
    if len(named) > MOST:
        raise UserError(f"{name}: names {len(named):,} epochs, expected at most {MOST}.")
    checkpoints = [f"epoch:{e}" for e in named] if epochs else [""]
    for run in all_folds(folder) if (folder / FOLDS_FILE).is_file() else [folder]:
        for checkpoint in checkpoints:
            yield run, checkpoint


def fold_runs(folder: pathlib.Path) -> list[pathlib.Path]:
    """The run folders of a cross-validation, in order; none for any other folder."""
    if not (folder / FOLDS_FILE).is_file():
        return []
    runs = (p for p in folder.glob("fold*") if re.fullmatch(r"fold\d+", p.name))
    return sorted(runs, key=lambda p: int(p.name.removeprefix("fold")))


def all_folds(folder: pathlib.Path) -> list[pathlib.Path]:
    """The run folders of a cross-validation that is finished; UserError where one is missing."""
    c = read(folder / FOLDS_FILE).folds
    runs = [folder / name for name in names(c.count + bool(c.official))]
    if not (folder / "scores.json").is_file():
        raise UserError(
            f"{folder}: not all folds are trained. Go on with: python -m affect_jax.main "
            f"--mode=folds --workdir={as_argument(folder)}"
        )
    for run in runs:
        if not (run / "config.json").is_file():
            raise UserError(
                f"{run}: this fold is gone. Put it back, or name the others one by one."
            )
    return runs
