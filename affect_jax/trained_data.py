"""The data of a run: its data.json, compared with the store as it is now."""

from __future__ import annotations

import hashlib
import shlex
import sys

import numpy as np

from affect_jax import config as configs
from affect_jax.run import Run
from affect_jax.systems.supervised import Supervised
from affect_jax.workdir import Workdir
from data_pipelines.errors import UserError
from data_pipelines.files import read_json, readable
from data_pipelines.identity import bytes_of, hashes
from data_pipelines.replace_file import replace_json

# What is read before a training, in seconds, to be compared with its hashes.
READ_BYTES = 4 * 2**30
KEPT = "the rows of config.data.keep"  # the entry that is of no store


def require_same_data(system: Supervised, run: Workdir, *, started: bool) -> None:
    """Check the arrays against the store's hashes, and those against the run's, if it has started.

    Writes data.json where there is none.

    Raises:
        UserError: the store is damaged, or is not what the run was trained on so far.
    """
    store = system.data.store
    about = store, system.data.features, [task.name for task in system.tasks]
    size = bytes_of(*about)
    if size > READ_BYTES:
        _say(
            f"{store.path}: {size / 2**30:,.1f} GiB are not compared with their hashes; "
            f"python -m data_pipelines.verify --store={shlex.quote(str(store.path))} does it"
        )
    now = hashes(*about, trust=False, limit=READ_BYTES) | _rows_kept(system)
    then = _read(run) if started else None
    if started and then is None:
        _say(
            f"{run.folder}: does not say what it was trained on (it was begun by an older "
            "version): what the store holds now is taken for it"
        )
    if then is not None and (changes := _changes(then, now)):
        only_rows = all(
            then.get(key) == now.get(key) for key in (then.keys() | now.keys()) - {KEPT}
        )
        what = f"config.data.keep = {system.config.data.keep!r}" if only_rows else store.path
        raise UserError(
            f"{what} is not what {run.folder} was trained on so far: {changes}. Give another "
            f"--workdir, or put the old {'list' if only_rows else 'store'} back."
        )
    if then is None:
        replace_json(run.data_file, now)


def _rows_kept(system: Supervised) -> dict[str, str]:
    """The hash of the rows that `config.data.keep` leaves, where it names a file."""
    if not system.config.data.keep:
        return {}
    rows = system.data.training_rows
    table = np.stack([rows.track, rows.start, rows.stop]).tobytes()
    return {KEPT: hashlib.sha256(table).hexdigest()}


def say_other_data(system: Supervised, run: Run) -> None:
    """One line where the store that the run names has changed since its training."""
    if system.config.data.root != configs.read(run.config_file).data.root:
        return
    store = system.data.store
    about = store, system.data.features, [task.name for task in system.tasks]
    try:
        then = _read(run) or {}
    except UserError as error:
        _say(f"warning: {error}")
        return
    now = hashes(*about, trust=True, limit=READ_BYTES)
    both = then.keys() & now.keys()
    if changes := _changes(*({key: table[key] for key in both} for table in (then, now))):
        _say(f"warning: {store.path} has changed since the training: {changes}")


def _read(run: Workdir) -> dict[str, str] | None:
    if not run.data_file.is_file():
        return None
    about = run.data_file, "the hashes of what a run was trained on", "Delete it to go on without."
    with readable(*about):
        return {key: str(value) for key, value in dict(read_json(*about)).items()}


def _changes(then: dict[str, str], now: dict[str, str]) -> str:
    """The first entry that differs, with both hashes; empty where all are the same."""
    names = [k for k in sorted(then.keys() | now.keys()) if then.get(k) != now.get(k)]
    if not names:
        return ""
    before, after = (table.get(names[0], "none")[:12] for table in (then, now))
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"SHA-256 of {names[0]} was {before}, is {after}{more}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
