"""Refusals of a disk (no room, no permission, no more files), in one line with the folder."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

from data_pipelines.errors import UserError
from data_pipelines.files import reason

# Of these the disk is the cause; others, a file that is not there, say it better themselves.
_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ESTALE,
}
# How TensorStore begins, and where it quotes the system.
_CODE = re.compile(r"([A-Z]+_[A-Z_]+|UNAVAILABLE|ABORTED|INTERNAL|UNKNOWN|CANCELLED): ")
_QUOTED = re.compile(r"\[OS error \d+: \w+ ([^\]]+)\]")


def refused(error: BaseException) -> str | None:
    """Why the disk refused to write; None for an error of another kind."""
    if isinstance(error, OSError):
        return reason(error) if error.errno in _DISK else None
    code, quoted = _CODE.match(str(error)), _QUOTED.search(str(error))
    if quoted:
        return quoted[1]
    if code and code[1] == "RESOURCE_EXHAUSTED":
        return os.strerror(errno.ENOSPC)
    return code[1].replace("_", " ").lower() if code else None


@contextlib.contextmanager
def writing(
    folder: pathlib.Path, what: str = "", kind: type[Exception] = OSError
) -> Iterator[None]:
    """A block that writes below `folder`; what the disk refuses in it is a UserError.

    Args:
        what: is written, for the message; by default the file that the error names.
        kind: of error that is looked at. XLA words errors as TensorStore does, so whoever runs
            programs in the block keeps to OSError.
    """
    try:
        yield
    except UserError:
        raise
    except kind as error:
        why = refused(error)
        if why is None:
            raise
        named = getattr(error, "filename", None)
        where = named if named and not what else folder
        raise UserError(
            f"{where}: {what or 'a file'} cannot be written ({why}). What was written before is "
            "whole: make room there, or give another folder, and start the same command again."
        ) from None


def require_writable(folder: pathlib.Path) -> None:
    """UserError where the folder cannot be made, or takes no file."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        try:
            probe.write_bytes(b"\0")
        finally:
            probe.unlink(missing_ok=True)


@contextlib.contextmanager
def without_late_answers() -> Iterator[None]:
    """A block that saves with Orbax; where that fails, whoever called it says so, once.

    Orbax logs a traceback for each leaf. It saves in an event loop of its own, too; one that has
    failed is closed while writers still answer to it, each with a traceback, or is thrown away with
    answers that nobody read, which asyncio logs; some of them when the block has ended.
    """
    before, logs = sys.unraisablehook, [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [log.level for log in logs]

    def hook(what: Any) -> None:
        if str(what.exc_value) != "Event loop is closed":
            before(what)

    sys.unraisablehook = hook
    for log in logs:
        log.setLevel(logging.CRITICAL)
    yield
    sys.unraisablehook = before
    for log, level in zip(logs, levels):
        log.setLevel(level)
