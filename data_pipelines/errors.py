"""Mistakes of users: one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class UserError(Exception):
    """A mistake in the user's input. The message is one line: what, where, what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: "Did you mean 'x'? Known: x, y." (empty if nothing is known).

    Capitals make no difference: "DWA" is near "dwa".
    """
    known = [str(k) for k in known]
    if not known:
        return ""
    lower = {k.lower(): k for k in reversed(known)}
    close = difflib.get_close_matches(str(name)[:200].lower(), lower, n=1, cutoff=0.5)
    hint = f"Did you mean {shown(lower[close[0]])}? " if close else ""
    return f"{hint}Known: {listed(known)}."


def listed(names: Iterable[Any], most: int = 12) -> str:
    """The names, joined by commas for a message: the first `most` and how many there are."""
    names = list(names)
    text = ", ".join(_cut(str(name)) for name in names[:most])
    return text + (f", ... ({len(names):,} in all)" if len(names) > most else "")


def shown(value: Any) -> str:
    """The value as Python writes it, on one line, cut where it is too long for a message."""
    try:
        return _cut(" ".join(repr(value).split()))
    except ValueError:  # of a whole number of thousands of digits
        return f"<{type(value).__name__}>"


def _cut(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
