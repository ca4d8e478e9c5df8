"""Tables and numbers in markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from affect_jax.report.records import number
from affect_jax.shown import decimals, printable


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; whatever is in a cell stays in it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def score(value: Any) -> str:
    """Three decimals, or nothing where there is no finite number."""
    return decimals(number(value), none="")


def cell(value: Any) -> str:
    """A value on one line, without what ends a cell of a table."""
    return printable(" ".join(str(value).split())).replace("|", "\\|")
