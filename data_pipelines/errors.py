"""What a user did wrong: one line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in the user's input. The message is one line: what, where, what to do."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: "Did you mean 'x'? Known: x, y." (empty if nothing is known)."""
    known = [str(k) for k in known]
    if not known:
        return ""
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(known[:12]) + (f", ... ({len(known)} in all)" if len(known) > 12 else "")
    return f"{hint}Known: {shown}."
