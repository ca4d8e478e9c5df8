"""Progress of a long preparation, and notes that are kept with the result."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO, TypeVar

import tqdm

from data_pipelines.errors import listed

T = TypeVar("T")
SHOWN = 6


class Report:
    """Notes and progress. Without a stream it is silent and only collects.

    Attributes:
        notes: every note in full, in order.
        used: files that were read and folders that were named, see `use`.
    """

    def __init__(self, stream: TextIO | None = None):
        self.notes: list[str] = []
        self.used: set[pathlib.Path] = set()
        self._stream = stream

    def use(self, *paths: pathlib.Path) -> None:
        """Files that were read, or folders that were named: `folder.note_rest` passes over them."""
        self.used.update(paths)

    def say(self, line: str) -> None:
        """A line for the moment."""
        if self._stream is not None:
            print(_printable(line), file=self._stream, flush=True)

    def note(self, text: str, names: Sequence[str] = ()) -> None:
        """Something to look at: said (with the first names) and kept (with all of them)."""
        self.notes.append(_printable(f"{text}: {', '.join(names)}" if names else text))
        self.say("note: " + (f"{text}: {listed(names, SHOWN)}" if names else text))

    def note_not_finite(self, found: Mapping[str, Sequence[str]]) -> None:
        """A note for each feature in {feature: tracks}, as `StoreWriter.not_finite` has them."""
        for feature, tracks in found.items():
            self.note(f"feature {feature!r}: tracks with NaN or infinity", tracks)

    def progress(self, items: Sequence[T], label: str, unit: str = "track") -> Iterator[T]:
        """The items; meanwhile a bar on a terminal, elsewhere a line at the start."""
        if self._stream is None:
            yield from items
        elif sys.stderr.isatty():
            yield from tqdm.tqdm(items, desc=label, unit=unit, leave=False)
        else:
            self.say(f"{label}: {len(items):,} {unit}s ...")
            yield from items


def _printable(line: str) -> str:
    """The line, escaped where names from data would break it or cannot be written as UTF-8."""
    return line if line.isprintable() else ascii(line)[1:-1]
