"""Places of predictions, and the data that they are of.

RUN/predictions/<split>/            of the run's own data, or where nothing else lies there
RUN/predictions/<split>@<digest>/   of other data: what is there of that name stays
FOLDER                              with --output
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from affect_jax.prediction_files import ORIGIN
from affect_jax.run import Run
from data_pipelines.errors import UserError
from data_pipelines.files import read_json
from data_pipelines.join import open_store
from data_pipelines.paths import user_path
from data_pipelines.replace_folder import clear_leftovers
from data_pipelines.store import AnyStore

OURS = (ORIGIN, "tasks.json", "scores.json", "README.md", "plots")  # in FOLDER, beside these:
ENDINGS = (".npz", ".csv")


@contextlib.contextmanager
def reporting(run: Run) -> Iterator[None]:
    """While predictions take their place and pictures are drawn of them: the next one waits."""
    run.predictions.mkdir(parents=True, exist_ok=True)
    folder = os.open(run.predictions, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        clear_leftovers(run.predictions)
        yield
    finally:
        os.close(folder)


def origin_of(run: Run, store: AnyStore, split: str, step: int) -> dict[str, Any]:
    """origin.json: which step of which run predicted which data."""
    return {
        "run": run.folder.name,
        "step": step,
        "split": split,
        "store": real_path(store),
        "sha256": fingerprint(store),
    }


def fingerprint(store: AnyStore) -> str:
    """SHA-256 of a store's manifest, which holds those of its arrays."""
    specs = (*store.features.values(), *store.labels.values())
    parts = [store.manifest, *(spec.sha256 for spec in specs)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def real_path(store: AnyStore) -> str:
    """The folders of a store, links followed, joined by commas."""
    return ",".join(os.path.realpath(part) for part in str(store.path).split(","))


def place_of(run: Run, own: ConfigDict, origin: dict[str, Any]) -> pathlib.Path:
    """The folder of a split's predictions in the run: its own data's, or that of other data.

    Args:
        own: the config of the run.
        origin: of the predictions to come.
    """
    split = origin["split"]
    place = run.predictions / split
    file = place / ORIGIN
    if file.is_file():
        there = read_json(file, "the origin of predictions", f"Delete {place}.")
        ours = isinstance(there, dict) and any(
            there.get(key) == origin[key] for key in ("store", "sha256")
        )
    else:  # of before there were origins; the training keeps the place that it will take
        taken = split == own.data.split or any(place.glob("*.npz"))
        ours = not taken or _is_at(own.data.root, origin["store"])
    return place if ours else place.with_name(f"{split}@{origin['sha256'][:8]}")


def _is_at(root: str, place: str) -> bool:
    """Is the store of a config's `data.root` the one at `place`?"""
    try:
        return real_path(open_store(root)) == place
    except UserError:  # it is gone
        return False


def require_writable_run(run: Run) -> pathlib.Path:
    """The run's folder of predictions; UserError where nothing can be written in it."""
    there = next(p for p in (run.predictions, run.folder) if p.is_dir())
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{there}: cannot be written. Write elsewhere with --output=FOLDER.")
    return run.predictions


def require_free(output: str) -> pathlib.Path:
    """The folder of --output; UserError where something else is in it."""
    folder = user_path(output).resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output={output}: is a file. Give a folder.")
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    other = [name for name in names if not (name in OURS or name.endswith(ENDINGS))]
    if other or (names and ORIGIN not in names):
        raise UserError(
            f"--output={output}: holds {(other or names)[0]}, so it is no folder that predictions "
            "were written to. Give another."
        )
    return folder
