"""Kinds of plain values, as annotations: what a default or a dataclass says may stand there."""

from __future__ import annotations

import math
import typing
from typing import Any

_WORDS = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
_TUPLES = {int: "whole numbers, (8,)", float: "finite numbers, (0.5,)", str: "names, ('a', 'b')"}


def kind_of(default: Any) -> Any:
    """The annotation of values like `default`: int, tuple[str, ...]. An empty tuple is of text."""
    if isinstance(default, tuple | list):
        return tuple[kind_of(default[0]) if default else str, ...]
    return type(default)


def fits(value: Any, kind: Any) -> bool:
    """Is the value of that kind? Of an annotation that names no plain value everything is.

    A whole number is also a number, True is none, and text can be written as UTF-8.
    """
    if typing.get_origin(kind) is tuple:
        of = typing.get_args(kind)[0]
        return isinstance(value, tuple | list) and all(fits(item, of) for item in value)
    if kind not in _WORDS:
        return True
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (isinstance(value, int) or math.isfinite(value))
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return False
    return kind is not str or _is_text(value)


def expected(kind: Any) -> str:
    """The values that `fits` takes, in words."""
    if typing.get_origin(kind) is tuple:
        return _TUPLES.get(typing.get_args(kind)[0], "values in brackets")
    return _WORDS.get(kind, getattr(kind, "__name__", str(kind)))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value
