"""Tables and numbers in markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from affect_jax.report.records import number


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; whatever is in a cell stays in it."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def score(value: Any) -> str:
    """Three decimals, or nothing where there is no finite number."""
    return f"{number(value):.3f}" if math.isfinite(number(value)) else ""


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
