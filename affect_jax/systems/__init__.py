"""Systems: what is trained on which rows in which order. A config names one by its file.

`config.system` is a file of this folder, or the path of any Python file; its `build(config, tasks=,
statistics=)` gives the system. systems/supervised.py is the system of every model that is trained
by losses on labelled rows, and the base of others: a subclass changes the parts that differ. What
the loop, evaluation and prediction ask of a system:

    config, tasks, data, model       what it was made of
    monitored                        scores and losses whose best steps are kept
    init() -> State                  the state before the first step, a function of the seed
    phase(state) -> Phase | None     what is done next; None where training ends (phases.py)
    programs() -> {name: Program}
    prepare(batch, keys, train)      examples as the model takes them, from examples as stored
    after(state, phase) -> State     what is done between two phases
    write_run(run)                   files of its own, in the folder of a finished run
    write_split(folder, split, raw)  files of its own, beside the predictions of a split

All that decides the future is in the state: `phase`, the programs and `after` are functions of it,
so a killed training takes the same way again.
"""

from __future__ import annotations

import functools
import importlib
import pathlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from affect_jax.python_file import function_in
from data_pipelines.errors import UserError, nearest
from data_pipelines.paths import user_path

if TYPE_CHECKING:
    from affect_jax.systems.supervised import Supervised


def build(config: ConfigDict, *, tasks: Any = None, statistics: Any = None) -> Supervised:
    """The system that `config.system` names.

    Args:
        tasks, statistics: those of an existing run; default from the config and the training split.

    Raises:
        UserError: there is no such system, or something in its config is wrong.
    """
    return builder("config.system", config.system)(config, tasks=tasks, statistics=statistics)


def builder(key: str, name: str) -> Callable[..., Supervised]:
    """The `build` of the system that a key of the config names; UserError where there is none."""
    return _builder(key, str(user_path(name).resolve()) if name.endswith(".py") else name)


@functools.cache
def _builder(key: str, name: str) -> Callable[..., Supervised]:
    if name.endswith(".py"):
        path = pathlib.Path(name)
        if not path.is_file():
            raise UserError(f"{key} = {name!r}: no such file.")
        return function_in(path, "build", "config", tasks=None, statistics=None)
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in known:
        raise UserError(f"{key} = {name!r}: {nearest(name, known)} Or give the path of a .py file.")
    return importlib.import_module(f"{__name__}.{name}").build
