"""A file replaced as a whole: after a kill the old one or the new one is there, complete."""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def replace_file(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file beside `path` to be written, which takes its place when the block ends.

    An exception in the block leaves `path` as it was and nothing beside it.
    """
    partial = path.with_name(f".{path.name}.partial")  # no pattern like *.npz takes it for one
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: pathlib.Path, text: str) -> None:
    """Write a text as the file."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def replace_json(path: pathlib.Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write a value as the file, in `to_json` and indented."""
    replace_text(path, to_json(value, indent=1, sort_keys=sort_keys) + "\n")


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = True) -> str:
    """JSON of a value. A number that is not finite becomes null: JSON has no other."""

    def plain(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, list | tuple):
            return [plain(v) for v in x]
        return None if isinstance(x, float) and not math.isfinite(x) else x

    return json.dumps(plain(value), indent=indent, sort_keys=sort_keys, allow_nan=False)
