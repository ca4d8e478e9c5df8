"""Numbers, names and folders as people read them."""

from __future__ import annotations

import contextlib
import math
import pathlib
import shlex
import unicodedata


def decimals(value: float, digits: int = 3, none: str | None = None) -> str:
    """The number with that many decimals, never "-0.000"; `none`, if given, for nan and inf."""
    return f"{value:z.{digits}f}" if none is None or math.isfinite(value) else none


def printable(text: str) -> str:
    """The text without what no font or file has: halves of characters, and controls."""
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def as_argument(folder: pathlib.Path) -> str:
    """A folder as a shell takes it, from the present folder on where it lies below."""
    with contextlib.suppress(ValueError):
        folder = folder.relative_to(pathlib.Path.cwd())
    return shlex.quote(str(folder))
