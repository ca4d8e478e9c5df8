"""A folder replaced as a whole: at every moment the old one or the new one is there, complete.

What is written lies in NAME.writing-XXXXXXXX beside it until it is done: `new` is what is written,
`old`, where two renames are needed, what it replaces. The writer holds a lock on that folder; one
without a lock was left by a process that is dead.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator

from data_pipelines.errors import UserError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """An empty folder to fill, which takes the place of `path` when the block ends.

    An exception in the block leaves `path` as it was and nothing beside it. A symbolic link stays
    a link; the folder that it names is replaced. What dead processes left beside is removed.

    Raises:
        UserError: `path` is a file, or no folder that can be replaced.
        OSError: a full disk, no permission.
    """
    target = _place(path)
    if not target.name or (target.exists() and not target.is_dir()):
        raise UserError(f"{path}: no folder that can be written. Give another.")
    _clear(target)
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work, lock = _locked_folder(target)
        try:
            new = work / "new"
            new.mkdir()
            yield new
            _move(new, target, work / "old")
        finally:
            _remove(work, target)
            os.close(lock)
    except BaseException:
        with contextlib.suppress(OSError):  # of folders that another uses by now
            for parent in made:
                parent.rmdir()
        raise


def restore_folder(path: str | os.PathLike) -> None:
    """Puts back a folder that a process had moved aside when it was killed; else does nothing."""
    with contextlib.suppress(OSError, ValueError):  # no path at all
        target = _place(path)
        if target.name and not target.exists():
            _clear(target)


def _place(path: str | os.PathLike) -> pathlib.Path:
    return pathlib.Path(os.path.realpath(path))


def _move(new: pathlib.Path, target: pathlib.Path, old: pathlib.Path) -> None:
    if not target.exists():
        with contextlib.suppress(OSError):  # another process was faster
            new.rename(target)
            return
    if not _exchange(new, target):
        if target.exists():
            target.rename(old)
        new.rename(target)


def _exchange(a: pathlib.Path, b: pathlib.Path) -> bool:
    """Swaps two folders in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is None:
        return False
    return rename(_AT_FDCWD, bytes(a), _AT_FDCWD, bytes(b), _RENAME_EXCHANGE) == 0


def _locked_folder(target: pathlib.Path) -> tuple[pathlib.Path, int]:
    """(a new folder beside the target, descriptor of its lock, which ends with this process)."""
    while True:
        work = target.with_name(f"{target.name}.writing-{uuid.uuid4().hex[:8]}")
        work.mkdir()
        lock = os.open(work, os.O_RDONLY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        if work.exists():  # another may have found it before it was locked, and removed it
            return work, lock
        os.close(lock)


def clear_leftovers(folder: str | os.PathLike) -> None:
    """Removes what dead processes left of any folder in `folder`; what they moved goes back."""
    for work in pathlib.Path(folder).glob("*.writing-*"):
        _clear(work.with_name(work.name.rpartition(".writing-")[0]))


def _clear(target: pathlib.Path) -> None:
    """Removes what dead processes left beside the target, the target itself put back first."""
    name = re.compile(re.escape(target.name) + r"\.writing-[0-9a-f]+")
    beside: list[pathlib.Path] = []
    with contextlib.suppress(OSError):  # not there yet, or not to be looked into
        beside = [path for path in target.parent.iterdir() if name.fullmatch(path.name)]
    for work in beside:
        with contextlib.suppress(OSError):
            lock = os.open(work, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(work, target)
            finally:
                os.close(lock)


def _remove(work: pathlib.Path, target: pathlib.Path) -> None:
    """Removes a folder of ours; an old folder in it whose place is empty goes back first."""
    old = work / "old"
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(work, ignore_errors=True)
