"""Files that are read several at a time, in their order; the bad ones are named together."""

from __future__ import annotations

import collections
import concurrent.futures
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from data_pipelines.errors import UserError, listed
from data_pipelines.report import Report

T = TypeVar("T")
R = TypeVar("R")
_THREADS = 4  # what decodes sound and pictures works outside of Python's lock


def side_by_side(
    items: Mapping[str, T],
    read: Callable[[T], R],
    report: Report,
    label: str,
    *,
    skip_bad: bool = False,
) -> Iterator[tuple[str, R]]:
    """(name, what `read` makes of the item) of {name: item}, in their order.

    Args:
        items: files, or what `read` takes; `str` of one names it in messages.
        read: called in several threads; a UserError says that the item is bad.
        label: of the bar of progress and of notes.
        skip_bad: leave out those that are bad, and note which.

    Raises:
        UserError: at the end, naming those that are bad; none is given behind the first. With
            `skip_bad`: all are.
    """
    bad: dict[str, str] = {}
    for name, result in results(items, read, report, label):
        if isinstance(result, UserError):
            bad[str(items[name])] = str(result)
        elif skip_bad or not bad:
            yield name, result
    if bad and (len(bad) == len(items) or not skip_bad):
        first, *more = bad
        also = f" Bad are also {len(more):,} of {len(items):,}: {listed(more, 5)}." if more else ""
        hint = "" if skip_bad else " Mend or delete them, or leave them out with --skip-bad."
        raise UserError(f"{bad[first]}{also}{hint}")
    if bad:
        report.note(f"{label}: bad files, left out", list(bad.values()))


def results(
    items: Mapping[str, T], read: Callable[[T], R], report: Report, label: str
) -> Iterator[tuple[str, R | UserError]]:
    """(name, what was read, or the UserError that says what is wrong) of each item, as above."""

    def task(item: T) -> R | UserError:
        try:
            return read(item)
        except UserError as error:
            return error

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        todo, running = iter(items.values()), collections.deque()
        try:
            for name in report.progress(list(items), label, "file"):
                ahead = itertools.islice(todo, _THREADS + 1 - len(running))
                running.extend(pool.submit(task, item) for item in ahead)
                yield name, running.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
