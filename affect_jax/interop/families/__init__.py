"""Originals of the model families: a module here for each family, by the name of its file.

A module gives three functions, all that the rest of the program knows of an original:

    load(path, model) -> state_dict                 tensors as the original's program saves them
    table(model, tasks, state_dict) -> Table        rules for the names as this file spells them
    to_original(model, tasks, variables) -> state_dict    what the original's program loads

`model` is config.model, `tasks` are the names of what it predicts, `path` is config.init.weights.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from data_pipelines.errors import UserError, nearest


def family_of(name: str) -> ModuleType:
    """The module of `config.model.name`; UserError where the family has no original."""
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise UserError(
            f"config.model.name = {name!r}: no original of it is known. {nearest(name, known)}"
        )
    return importlib.import_module(f"{__name__}.{name}")
