"""Flags and exit codes of the programs: one line, and no traceback, for what is wrong."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from data_pipelines.errors import UserError, shown


class Parser(argparse.ArgumentParser):
    """argparse whose errors are UserErrors, one line, with the nearest flag."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}. See --help.")

    def parse_all(self, arguments: Sequence[str]) -> argparse.Namespace:
        """The arguments, or a UserError for the first that is unknown."""
        known = [option for action in self._actions for option in action.option_strings]
        for argument in arguments:
            # Before argparse looks: it would rather miss --input than see --inptu.
            flag = argument.partition("=")[0]
            if flag.startswith("--") and flag not in (*known, "--"):
                close = difflib.get_close_matches(flag, known, n=1)
                hint = f"Did you mean {close[0]}?" if close else "See --help."
                raise UserError(f"unknown argument {argument!r}. {hint}")
        return self.parse_intermixed_args(arguments)


def whole(least: int = 0, most: int = 10**9) -> Callable[[str], int]:
    """A `type` of flags: whole numbers from `least` to `most`."""

    def number(text: str) -> int:
        if text.removeprefix("-").isdecimal() and len(text) < 20 and least <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(
            f"{shown(text)}: expected a whole number from {least} to {most}"
        )

    return number


def exit_code(
    run: Callable[[Sequence[str]], int | None],
    arguments: Sequence[str] | None = None,
    *,
    stopped: str = "stopped",
) -> int:
    """Run a program and say in one line why it failed.

    Args:
        run: takes the arguments; those of the process where None are given here. Its result is
            the exit code, None stands for 0.
        stopped: what to say when Ctrl-C, SIGTERM or a terminal that closes (SIGHUP) ends it.

    Returns:
        The program's; 2 for a user's mistake, a file that cannot be used or too little memory;
        130 for Ctrl-C, 143 for SIGTERM and 129 for SIGHUP, as shells have it.
    """
    for stream in (sys.stdout, sys.stderr):  # names of files may be in no encoding
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax warns of files it never wrote
    try:
        with _signals():
            return run(list(sys.argv[1:] if arguments is None else arguments)) or 0
    except UserError as error:
        _say(f"error: {error}")
        return 2
    except OSError as error:  # a full disk, no permission: nothing of ours to trace
        where = f"{error.filename}: " if error.filename is not None else ""
        _say(f"error: {where}{error.strerror or error}.")
        return 2
    except MemoryError as error:
        why = " ".join(str(error).split()).rstrip(".")
        _say(f"error: not enough memory{f' ({why})' if why else ''}.")
        return 2
    except KeyboardInterrupt as stop:
        _say(stopped)
        return 128 + (stop.number if isinstance(stop, _Signal) else signal.SIGINT)


class _Signal(KeyboardInterrupt):
    """A signal that ends a program as Ctrl-C does: what it has begun is cleared away."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block with a _Signal; one that is ignored (nohup) stays so."""

    def stop(number: int, frame: Any) -> NoReturn:
        for each in taken:  # they may come together; the first is enough, and is cleared up after
            signal.signal(each, signal.SIG_IGN)
        raise _Signal(number)

    taken = []
    if threading.current_thread() is threading.main_thread():
        both = signal.SIGTERM, signal.SIGHUP
        taken = [number for number in both if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # of a terminal that is closed
        # Names of files may hold line ends.
        print(line.replace("\n", "\\n").replace("\r", "\\r"), file=sys.stderr)
