"""Reports at best effort: a failure in one loses nothing that was trained or predicted."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

from data_pipelines.errors import UserError
from data_pipelines.files import reason

_log = logging.getLogger("affect_jax")


@contextlib.contextmanager
def optional(path: str | os.PathLike) -> Iterator[None]:
    """A block that draws or writes `path`; where it fails, a line says so and all else goes on.

    A full disk is an error still: with room, the same command makes the file.
    """
    try:
        yield
    except OSError:
        raise
    except UserError as error:
        _log.warning("%s: not written. %s", path, error)
    except Exception as error:
        _log.warning("%s: not written (%s: %s)", path, type(error).__name__, reason(error))
