"""Flags and exit codes of the programs: one line, and no traceback, for what is wrong."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from data_pipelines.errors import UserError


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


def exit_code(
    run: Callable[[Sequence[str]], None],
    arguments: Sequence[str] | None = None,
    *,
    stopped: str = "stopped",
) -> int:
    """Run a program and say in one line why it failed.

    Args:
        run: takes the arguments; those of the process where None are given here.
        stopped: what to say when Ctrl-C ends it.

    Returns:
        0; 2 for a user's mistake or a file that cannot be used; 130 for Ctrl-C, as shells have it.
    """
    try:
        run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, no permission: nothing of ours to trace
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"error: {where}{error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    return 0
