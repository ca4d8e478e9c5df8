"""Paths as users write them."""

from __future__ import annotations

import os
import pathlib

from data_pipelines.errors import UserError


def user_path(text: str | os.PathLike) -> pathlib.Path:
    """The path that a user names, a leading ~ resolved. UserError for a home that is not known."""
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError:
        raise UserError(f"{os.fspath(text)}: no such home folder. Write the path out.") from None
