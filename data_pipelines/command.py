"""Flags of the programs that work on files: one line and exit code 2 for what is wrong."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
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
