"""Checkpoints: Orbax writes them, ours know whether they are whole.

Orbax commits a step by renaming its folder, but restores an array with a flipped bit without a
word. So every step carries a SHA-256 digest of each leaf, and a step that does not match is
skipped with a message and the one before is used.

    python -m affect_jax.checkpoint RUN      prints the steps of a run and the digest of each
"""

from __future__ import annotations

import hashlib
import logging
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from affect_jax.optim import paths
from data_pipelines.errors import UserError


def digests(state: Any) -> dict[str, str]:
    """{path of the leaf: SHA-256 over its bytes, type and shape}."""
    result = {}
    for path, leaf in paths(state).items():
        array = np.asarray(_plain(leaf))
        head = f"{array.dtype.str}{array.shape}".encode()
        result[path] = hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()
    return result


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
        self._folder = folder
        # Which steps stay is decided by `keep`, from the scores in the state; Orbax's own rules
        # would delete the newest step when its score is worse.
        self._manager = ocp.CheckpointManager(
            folder, options=ocp.CheckpointManagerOptions(max_to_keep=None, create=True)
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps on disk, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Write a step in the background; `state` may be donated once this returns.

        A step that is there already (a broken one that was skipped, say) is replaced.
        """
        if step in self._manager.all_steps():
            self._manager.delete(step)
        host = jax.tree.map(lambda x: np.asarray(_plain(x)), state)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(host),
                    meta=ocp.args.JsonSave({"digests": digests(host), **meta}),
                ),
            )
        except OSError as error:
            raise _disk_error(self._folder, error) from None

    def wait(self) -> None:
        """Until the last save is on disk."""
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise _disk_error(self._folder, error) from None

    def keep(self, steps: Iterable[int]) -> None:
        """Delete every other step."""
        wanted = set(steps)
        for step in self.steps():
            if step not in wanted:
                self._manager.delete(step)

    def restore(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        """(state, meta) of a step, as numpy leaves in the structure of `like`.

        Raises:
            ValueError: a leaf does not match its digest. Orbax raises errors of many kinds for
                files that are cut or missing.
            UserError: a leaf has another shape than in `like`.
        """
        target = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), _abstract(like))
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(target), meta=ocp.args.JsonRestore()
            ),
        )
        state, meta = restored["state"], restored["meta"]
        for path, leaf in paths(state).items():
            wanted = paths(target)[path]
            if leaf.shape != wanted.shape:
                raise UserError(
                    f"{self._folder / str(step)}: {path} has shape {leaf.shape}, the config asks "
                    f"for {wanted.shape}. Leave --config out, or give another --workdir."
                )
        found, expected = digests(state), meta.pop("digests")
        broken = sorted(k for k in expected if found.get(k) != expected[k])
        if broken or found.keys() != expected.keys():
            raise ValueError(f"digest of {broken[0] if broken else 'the tree'} does not match")
        return state, meta

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


def _abstract(like: Any) -> Any:
    """Shapes and types as they are saved: typed random keys as their raw words."""

    def leaf(x: Any) -> Any:
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            return jax.eval_shape(jax.random.key_data, x)
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    return jax.tree.map(leaf, like)


def place(state: Any, like: Any, put: Callable[[Any], Any]) -> Any:
    """Host leaves as `restore` gives them -> device leaves in the types of `like`."""

    def leaf(x: np.ndarray, target: Any) -> Any:
        if jax.dtypes.issubdtype(target.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(x)
        return x

    return put(jax.tree.map(leaf, state, like))


def _disk_error(folder: pathlib.Path, error: OSError) -> UserError:
    return UserError(
        f"{folder}: a checkpoint could not be written ({error.strerror or error}). Earlier "
        "checkpoints are whole: make room and start the same command again."
    )


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


def read_meta(folder: pathlib.Path, step: int) -> dict[str, Any]:
    """The JSON that was saved beside the state."""
    with ocp.CheckpointManager(folder) as manager:
        return manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]


def steps_in(folder: pathlib.Path) -> list[int]:
    """Steps on disk, ascending; empty where there is no such folder."""
    if not folder.is_dir():
        return []
    with ocp.CheckpointManager(folder) as manager:
        return sorted(manager.all_steps())


def last_whole(folder: pathlib.Path) -> tuple[int, dict[str, Any]] | None:
    """(step, raw state) of the newest step that is whole; broken ones are named and skipped."""
    for step in reversed(steps_in(folder)):
        try:
            return step, read_raw(folder, step)
        except Exception as error:  # Orbax raises many kinds for broken files
            text = " ".join(str(error).split())[:200]
            logging.warning("checkpoint %d is broken and skipped: %s", step, text)
    return None


def main(argv: list[str]) -> int:
    """Print step and digest of every checkpoint of a run; 1 where one is broken."""
    folder = pathlib.Path(argv[0]).resolve() / "checkpoints" if len(argv) == 1 else None
    if folder is None or not folder.is_dir():
        print("usage: python -m affect_jax.checkpoint RUN (the --workdir of a run)")
        return 2
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of files it never wrote
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

    sys.exit(main(sys.argv[1:]))
