"""Python files that a user names: configs and systems."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import pathlib
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from data_pipelines.errors import UserError


def function_in(path: pathlib.Path, name: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
    """The function of that name in a file; UserError where none can be called with these."""
    function = getattr(execute(path), name, None)
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        given = ", ".join([*map(str, args), *(f"{key}=" for key in kwargs)])
        raise UserError(f"{path}: has no function {name}({given}).") from None
    return function


def execute(path: pathlib.Path) -> ModuleType:
    """The module in a file."""
    name = f"_{path.stem}_{zlib.crc32(str(path.absolute()).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickle look a class up
    try:
        with blamed(path):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def blamed(path: pathlib.Path) -> Iterator[None]:
    """Whatever goes wrong in a file is one line, with the file and the line in it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == str(path.absolute())]
        lines += [error.lineno] if isinstance(error, SyntaxError) else []
        where = ":".join([str(path), *map(str, lines[-1:])])
        text = " ".join(str(error).split())
        raise UserError(f"{where}: {type(error).__name__}: {text}.") from None
