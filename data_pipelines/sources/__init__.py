"""Data sets that `data_pipelines.prepare` can turn into a store, one module a source.

A source is a module here with a docstring (its first line is shown by --help) and

    fill(folder, store, report, **flags) -> None

which writes a store (`data_pipelines.store_writer`), tells `report` what is missing or odd and
what in the folder it does not read (`data_pipelines.folder`), and hands `report.notes` to the
writer, so that `verify` repeats them. Optional `FLAGS`, {name:
keywords of argparse's add_argument}, are its own command-line flags; optional `DATA_SETS` are the
names under which people know the data (data_pipelines/trained_on.py). The module's name is the
source's; there is no list to keep.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from data_pipelines.errors import UserError, nearest


def names() -> list[str]:
    """Every source there is."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a source; UserError with the nearest name where there is none."""
    if name not in names():
        raise UserError(f"--source={name}: no such source. {nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}")
