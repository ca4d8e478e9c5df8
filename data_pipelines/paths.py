"""Paths as users write them, and names from data that become part of one."""

from __future__ import annotations

import os
import pathlib
import re
import unicodedata

from data_pipelines.errors import UserError, shown

# A file system takes 255 bytes; what is written under a name has an ending behind it.
LONGEST_NAME = 240


def user_path(text: str | os.PathLike) -> pathlib.Path:
    """The path that a user names, a leading ~ resolved.

    Raises:
        UserError: a home that is not known, or a name that no file can have.
    """
    name = os.fspath(text)
    try:
        size = max(map(len, name.encode().split(b"/")))
    except UnicodeEncodeError:
        raise UserError(f"{name[:100]!a}: not UTF-8. Give it another name.") from None
    if size > 255 or len(name) > 4000 or "\0" in name:
        why = "holds a null byte" if "\0" in name else "longer than the name of a file can be"
        raise UserError(f"{shown(name)}: {why}. Give it another name.")
    try:
        return pathlib.Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: no such home folder. Write the path out.") from None


def is_repository(text: str | os.PathLike) -> bool:
    """Is it a name as repositories of the Hugging Face Hub have, and no path into a folder here?"""
    name = os.fspath(text)
    known = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name)
    return known is not None and not os.path.exists(name.partition("/")[0])


def require_name(name: str, what: str) -> str:
    """The name, if a file can be called by it and by nothing else; UserError where not.

    Args:
        name: of a track, split, group, feature or label, as some data has it.
        what: whose it is, for the message: "STORE: track".
    """
    if not isinstance(name, str):
        raise UserError(f"{what} {shown(name)}: {type(name).__name__}, expected a name.")
    wrong = ""
    if not name.strip():
        wrong = "is empty"
    elif name in (".", ".."):
        wrong = "is a folder's"
    elif bad := next((c for c in name if c in "/\\" or _invisible(c)), ""):
        wrong = f"holds {bad!r}"
    elif len(name.encode()) > LONGEST_NAME:
        wrong = f"has {len(name.encode()):,} bytes, over {LONGEST_NAME}"
    if wrong:
        raise UserError(f"{what} {shown(name)}: the name {wrong}. Files are called by it; rename.")
    return name


def _invisible(character: str) -> bool:
    """Control characters, line and paragraph ends, and halves of a character (not UTF-8)."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
