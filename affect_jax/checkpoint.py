"""Checkpoints: Orbax writes them, ours know whether they are whole.

Orbax commits a step by renaming its folder, but restores an array with a flipped bit without a
word. So every step carries a SHA-256 digest of each leaf, and a step that does not match is
skipped with a message and the one before is used.

    python -m affect_jax.checkpoint RUN      prints the steps of a run and the digest of each
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from affect_jax.disk import require_writable, without_late_answers, writing
from affect_jax.optim import paths
from data_pipelines.errors import UserError
from data_pipelines.files import read_json
from data_pipelines.paths import user_path


def digests(state: Any) -> dict[str, str]:
    """{path of the leaf: `digest_of` it}."""
    return {path: digest_of(leaf) for path, leaf in paths(state).items()}


def digest_of(leaf: Any) -> str:
    """SHA-256 over the bytes, type and shape of an array."""
    array = np.asarray(_plain(leaf))
    head = f"{array.dtype.str}{array.shape}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


def digest(state: Any) -> str:
    """One SHA-256 over the whole state."""
    lines = "".join(f"{k} {v}\n" for k, v in sorted(digests(state).items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _plain(leaf: Any) -> Any:
    typed = isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if typed else leaf


class Checkpoints:
    """The checkpoints folder of one run. Use it as a context: leaving waits for the last save."""

    def __init__(self, folder: pathlib.Path):
        self._folder, self._failed = folder, False
        require_writable(folder)
        # Which steps stay is decided by `keep`, from the scores in the state; Orbax's own rules
        # would delete the newest step when its score is worse.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None,
            # Where one cannot be made, Orbax's threads would wait for it for minutes.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
        )
        with self._writing():
            self._manager = ocp.CheckpointManager(folder, options=options)
        self._quiet = contextlib.ExitStack()

    def __enter__(self) -> Checkpoints:
        self._quiet.enter_context(without_late_answers())
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._failed:
            return  # there is no save to wait for, and late answers may still come
        with self._writing():
            self._manager.close()
        self._quiet.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with writing(self._folder, "a checkpoint", Exception):
                yield
        except UserError:
            self._failed = True
            raise

    def steps(self) -> list[int]:
        """Steps on disk, ascending."""
        return steps_in(self._folder)

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Write a step in the background; `state` may be donated once this returns.

        A step that is there already (a broken one that was skipped, say) is replaced.
        """
        host = jax.tree.map(lambda x: np.asarray(_plain(x)), state)
        with self._writing():
            if step in self._manager.all_steps():
                self._manager.delete(step)
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host),
                    meta=ocp.args.JsonSave(
                        {"digests": digests(host), "meta_digest": _meta_digest(meta), **meta}
                    ),
                ),
            )

    def wait(self) -> None:
        """Until the last save is on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def keep(self, steps: Iterable[int]) -> None:
        """Delete every other step."""
        wanted = set(steps)
        for step in self._manager.all_steps():
            if step not in wanted:
                with self._writing():
                    self._manager.delete(step)

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """(state, meta) of a step, as numpy leaves in the structure of `like`.

        What an older version did not keep, and the best of a score that was not monitored, is as in
        `like`.

        Raises:
            ValueError: a leaf does not match its digest. Orbax raises errors of many kinds for
                files that are cut or missing.
            UserError: the state is of another model, or a leaf has another shape than in `like`.
        """
        saved, meta = _read_leaves(self._folder, step)
        saved = {path.replace(_OF_TRAINED, ".opt_state/"): leaf for path, leaf in saved.items()}
        own = meta.pop("meta_digest", None)
        if own not in (None, _meta_digest(meta)):  # steps of before have none
            raise ValueError("digest of the data beside the state does not match")
        leaves, wanted = [], paths(_plain_tree(like))
        for path, target in wanted.items():
            old = path if path in saved else _RENAMED.get(path, path)
            if old not in saved and _part(path) in _OF_THE_MODEL:
                raise self._of_another(step, f"has no {path}")
            leaf = saved[old] if old in saved else _start(target)
            if leaf.shape != target.shape:
                self._require_same_devices(step, path, leaf, target, meta)
                raise UserError(
                    f"{self._folder / str(step)}: {path} has shape {leaf.shape}, the config asks "
                    f"for {target.shape}. Take back what was changed, or give another --workdir."
                )
            # A copy: two leaves that are equal are one array here, and would share a buffer.
            leaves.append(np.array(leaf, target.dtype))
        for path in saved.keys() - wanted.keys():
            # Averages of frozen parameters were kept once.
            if _part(path) in _OF_THE_MODEL and _part(path) != "ema":
                raise self._of_another(step, f"has {path}, which the model of this config has not")
        return jax.tree.unflatten(jax.tree.structure(like), leaves), meta

    def _of_another(self, step: int, what: str) -> UserError:
        return UserError(
            f"{self._folder / str(step)}: {what}: another config or an older version has "
            "written it. Take back what was changed, or give another --workdir."
        )

    def _require_same_devices(
        self, step: int, path: str, leaf: np.ndarray, wanted: np.ndarray, meta: dict[str, Any]
    ) -> None:
        """UserError where a carry has other rows because a batch fills other devices evenly."""
        then, now = (meta.get("environment") or {}).get("devices"), jax.device_count()
        carried = path.lstrip(".").startswith("carry")
        if carried and then != now and leaf.shape[1:] == wanted.shape[1:]:
            raise UserError(
                f"{self._folder / str(step)}: was saved on {then} device(s) with {leaf.shape[0]} "
                f"rows of recurrent state a batch; {now} devices need {wanted.shape[0]}, a "
                f"multiple of {now}. Go on with a number of devices that divides config.data."
                "batch_size, as before."
            )

    def restore_last(
        self, like: Any, steps: Iterable[int] | None = None
    ) -> tuple[int, Any, dict[str, Any]] | None:
        """(step, state, meta) of the newest whole step; a broken one is skipped with a message.

        Returns None where there is no step at all.

        Raises:
            UserError: there are steps, and none of them can be used.
        """
        candidates = sorted(self.steps() if steps is None else steps, reverse=True)
        reason: Exception | None = None
        for step in candidates:
            try:
                return (step, *self.restore(step, like))
            except UserError:
                raise
            except Exception as error:  # Orbax raises many kinds for broken files
                reason = error
                text = " ".join(str(error).split())[:200]
                logging.warning("checkpoint %d is broken and skipped: %s", step, text)
        if reason is not None:
            raise UserError(
                f"{self._folder}: none of the {len(candidates)} checkpoints can be used (the last "
                f"said: {' '.join(str(reason).split())[:300]}). Was the model's config changed? "
                "Give another --workdir to start anew."
            )
        return None


# Parts of the state that no other can stand in for.
_OF_THE_MODEL = ("params", "batch_stats", "opt_state", "ema", "weighting", "carry", "extra")
# Paths that older versions knew by another name.
_RENAMED = {".plateau/scale/default": ".plateau/scale", ".plateau/waited": ".plateau/stale"}
# Where they had the state of the optimiser if some parameters were frozen.
_OF_TRAINED = ".opt_state/.inner_states/trained/.inner_state/"


def _part(path: str) -> str:
    """The field of the state that a path is in."""
    return path.lstrip(".").partition("/")[0]


def _plain_tree(like: Any) -> Any:
    """The tree as it is saved, of arrays or of their shapes: typed random keys as raw words."""

    def leaf(x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct) and jax.dtypes.issubdtype(
            x.dtype, jax.dtypes.prng_key
        ):
            return jax.eval_shape(jax.random.key_data, x)
        return _plain(x)

    return jax.tree.map(leaf, like)


def _start(target: Any) -> np.ndarray:
    """The leaf of a state before its first step; zeros where only its shape is known."""
    shape_only = isinstance(target, jax.ShapeDtypeStruct)
    return np.zeros(target.shape, target.dtype) if shape_only else np.asarray(target)


def place(state: Any, like: Any, put: Callable[[Any], Any]) -> Any:
    """Host leaves as `restore` gives them -> device leaves in the types of `like`."""

    def leaf(x: np.ndarray, target: Any) -> Any:
        if jax.dtypes.issubdtype(target.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(x)
        return x

    return put(jax.tree.map(leaf, state, like))


def _meta_digest(meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def read_raw(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """The state of a step as nested dicts of numpy arrays, without knowing its structure.

    Raises:
        ValueError: a leaf does not match its digest; others where files are cut or missing.
    """
    path = folder / str(step) / "state"
    reader = ocp.PyTreeCheckpointer()
    tree = reader.metadata(path).item_metadata.tree
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    state = reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    # Optimiser tuples come back without their names: compare the digests without the paths.
    if sorted(digests(state).values()) != sorted(read_meta(folder, step)["digests"].values()):
        raise ValueError("the digests do not match")
    return state


def _read_leaves(folder: pathlib.Path, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """({path in the state that was saved: leaf}, meta without the digests) of a step.

    A leaf is found by its digest; where two are equal, it does not matter which is which.
    """
    leaves = jax.tree.leaves(read_raw(folder, step))
    meta = read_meta(folder, step)
    by_digest = {digest_of(leaf): leaf for leaf in leaves}
    return {path: by_digest[digest] for path, digest in meta.pop("digests").items()}, meta


def read_meta(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """The JSON that was saved beside the state."""
    return read_json(folder / str(step) / "meta" / "metadata")


def steps_in(folder: pathlib.Path) -> list[int]:
    """Steps on disk, ascending; empty where there is no such folder."""
    # A step that is not whole yet has another name; one that another process deletes is gone.
    return sorted(int(p.name) for p in folder.glob("*") if p.name.isdecimal())


def last_whole(folder: pathlib.Path) -> tuple[int, dict[str, Any]] | None:
    """(step, raw state) of the newest step that is whole; broken ones are named and skipped.

    One that a training deletes while it is read is no broken one: a newer one is there.
    """
    tried: dict[int, str] = {}
    while left := [step for step in steps_in(folder) if step not in tried]:
        try:
            newest = left[-1], read_raw(folder, left[-1])
        except Exception as error:  # Orbax raises many kinds for broken files
            tried[left[-1]] = " ".join(str(error).split())[:200]
            continue
        break
    else:
        newest = None
    for step in sorted(tried.keys() & set(steps_in(folder)), reverse=True):
        logging.warning("checkpoint %d is broken and skipped: %s", step, tried[step])
    return newest


def main(argv: list[str]) -> int:
    """Print step and digest of every checkpoint of a run; 1 where one is broken."""
    folder = user_path(argv[0]).resolve() / "checkpoints" if len(argv) == 1 else None
    if folder is None or not folder.is_dir():
        print("usage: python -m affect_jax.checkpoint RUN (the --workdir of a run)")
        return 2
    broken = 0
    for step in steps_in(folder):
        try:
            read_raw(folder, step)
            parts = read_meta(folder, step)["digests"]
            lines = "".join(f"{k} {v}\n" for k, v in sorted(parts.items()))
            print(step, hashlib.sha256(lines.encode()).hexdigest())
        except Exception as error:  # as above
            print(step, "BROKEN", " ".join(str(error).split())[:120])
            broken += 1
    return int(broken > 0)


if __name__ == "__main__":
    import sys

    from data_pipelines.command import exit_code

    sys.exit(exit_code(main))
