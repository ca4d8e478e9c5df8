"""Reading a config file, its overrides, and the copy in a run folder.

`--config=configs/mtl.py:paper,smoke` calls get_config("paper,smoke"); `--config.epochs=9` changes
one value. The type of a value is that of the default. No jax in here: `--help` is quick.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from affect_jax.kinds import expected, fits, kind_of
from affect_jax.python_file import blamed, execute, function_in
from data_pipelines.errors import UserError, listed, nearest, shown
from data_pipelines.paths import is_repository, user_path
from data_pipelines.replace_file import replace_json

# Whole numbers without a bound in configs/base.py: two of them have a sum below 2^31, what a device
# counts to. Those of a model are mostly widths, and it must be traced before its size is known.
_WHOLE_BELOW, _OF_MODEL_BELOW = 2**30, 100_001
# Keys whose values are checked where they are read: several forms will do.
_OF_SEVERAL_FORMS = ("tasks", "optim.groups", "total.terms", "keep_epochs", "sweep.space")


def load(spec: str) -> ConfigDict:
    """The config of "path/to/file.py" or "path/to/file.py:variant,variant", or a kept one (.json).

    A path that is not here is looked for among the configs installed with the package.
    """
    path_text, _, variants = spec.partition(":")
    path = user_path(path_text)
    if not path.is_file():
        folder = _installed()
        path = folder / path.name if path.parts[:1] == ("configs",) else path
        if not path.is_file():
            files = sorted(folder.glob("*.py"))
            known = [f"configs/{f.name}" for f in files if "def get_config" in f.read_text()]
            raise UserError(f"--config={spec}: no file {path_text}. {nearest(path_text, known)}")
    if path.suffix.lower() == ".json":  # of a run, or the best of a sweep
        if variants:
            raise UserError(f"--config={spec}: what a run has kept has no variants.")
        config = read(path)
        config.name = spec
        return config
    get_config = function_in(path, "get_config", "variants")
    with blamed(path):
        config = get_config(variants)
    if not isinstance(config, ConfigDict):
        kind = type(config).__name__
        raise UserError(f"{path}: get_config returns a {kind}, expected a ConfigDict.")
    config.name = spec
    _complete(config, path)
    base = installed("base.py").base_config()
    for part in ("data", "explain", "folds", "init", "optim", "sweep"):
        for key in config[part]:
            if key not in base[part]:
                raise UserError(f"{path}: config.{part}.{key}: {nearest(key, base[part])}")
    return config


def _installed() -> pathlib.Path:
    """The folder of the configs that came with the package."""
    # By place, not by import: a folder of that name may lie where the command is run.
    return pathlib.Path(__file__).resolve().parents[1] / "configs"


def installed(name: str) -> Any:
    """A module of the configs that came with the package, "base.py" say."""
    return execute(_installed() / name)


def _complete(config: ConfigDict, path: pathlib.Path) -> None:
    """Bring an older config up to date; UserError where a key is missing that all have."""
    module = installed("base.py")
    base = module.base_config()
    base.model = ConfigDict(dict(name=""))  # its other keys are the family's own

    def missing(given: ConfigDict, wanted: ConfigDict, prefix: str = "") -> Iterator[str]:
        for key, value in wanted.items():
            group = isinstance(value, ConfigDict)
            if key not in given and prefix + key in module.LATER:
                given[key] = value
            elif key not in given or (group and not isinstance(given[key], ConfigDict)):
                yield prefix + key
            elif group:
                yield from missing(given[key], value, f"{prefix}{key}.")

    lacking = list(missing(config, base))
    if lacking:
        more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
        raise UserError(f"{path}: config.{lacking[0]} is missing{more}. All keys: configs/base.py.")
    for old, new in module.RENAMED_MODELS.items():
        if config.model.name == old:
            config.model.name = new


def check(config: ConfigDict) -> None:
    """UserError for the first value of another kind than its default's, or out of its bounds."""
    base, values = installed("base.py"), dict(flat(config))
    defaults = dict(flat(base.base_config()))
    least = dict.fromkeys([*defaults, *base.BELOW], 0) | dict.fromkeys(base.FROM_1, 1)
    for key in defaults:
        if key not in values:
            raise UserError(f"config.{key}: a group of keys, expected a value.")
    for key, value in values.items():
        if key in defaults and key not in _OF_SEVERAL_FORMS:
            require_kind(f"config.{key}", value, kind_of(defaults[key]))
        for x in value if isinstance(value, tuple | list) else (value,):
            named = isinstance(x, str)  # one family's number is another's name
            if fits(x, float) or (key in least and key not in defaults and not named):
                _check_bounds(key, x, least.get(key), base.BELOW.get(key))
    terms = config.total.terms
    for term in terms if isinstance(terms, tuple | list) else (terms,):
        pair = isinstance(term, tuple | list) and len(term) == 2
        if not (pair and fits(term[0], str) and fits(term[1], float)):
            raise UserError(
                f"config.total.terms: expected (('task/metric', weight), ...), got {shown(term)}."
            )
    epochs_in(config.keep_epochs)


def require_kind(where: str, value: Any, kind: Any) -> None:
    """UserError that begins with `where` for a value that is not of the kind (affect_jax.kinds)."""
    if not fits(value, kind):
        raise UserError(f"{where} = {shown(value)}: expected {expected(kind)}.")


def names_in(key: str, parts: Any, table: str, defined: Mapping[str, Any]) -> list[str]:
    """The names that a key lists, in order; "a,b" on the command line arrives as ("a,b",).

    Raises:
        UserError: no names, one twice, or one that `table` does not define.
    """
    parts = (parts,) if isinstance(parts, str) else parts
    require_kind(key, parts, tuple[str, ...])
    names = [name.strip() for part in parts for name in part.split(",") if name.strip()]
    for i, name in enumerate(names):
        if name not in defined:
            hint = nearest(name, defined) or "It defines none; a config file does."
            raise UserError(f"{key} names {name!r}, which {table} does not define. {hint}")
        if name in names[:i]:
            raise UserError(f"{key} names {name!r} twice; leave one of them out.")
        if not isinstance(defined[name], Mapping | ConfigDict):
            raise UserError(f"{table}.{name} = {shown(defined[name])}: expected dict(KEY=VALUE).")
    return names


def _check_bounds(key: str, x: Any, least: int | None, below: int | None) -> None:
    """UserError for what is no number from `least` on and below `below`, None for no bound."""
    most = below
    if most is None and fits(x, int):
        most = _OF_MODEL_BELOW if key.startswith("model.") else _WHOLE_BELOW
    high = fits(x, float) and most is not None and x >= most
    if high or not fits(x, float) or (least is not None and x < least):
        parts = [f"from {least} on"] if least is not None else []
        parts += [f"below {most}"] if high or below is not None else []
        raise UserError(f"config.{key} = {shown(x)}: expected a number {' and '.join(parts)}.")


def variants_of(
    text: str, known: Sequence[str], exclusive: Sequence[Sequence[str]] = ()
) -> list[str]:
    """The names in "a,b".

    Args:
        text: as it stands after the colon of --config.
        known: all variants of the file.
        exclusive: sets of which at most one can be chosen.

    Raises:
        UserError: a name is unknown (the nearest is named), or two exclude each other.
    """
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            raise UserError(f"unknown config variant {name!r}. {nearest(name, known)}")
    for group in exclusive:
        both = sorted(set(names).intersection(group))
        if len(both) > 1:
            raise UserError(f"config variants {both[0]!r} and {both[1]!r} exclude each other.")
    return names


def override(config: ConfigDict, changes: Sequence[tuple[str, str]]) -> None:
    """Apply ("model.hidden", "64") pairs in place, each read as the type of the default."""
    for key, text in changes:
        *parents, last = key.split(".")
        node: Any = config
        for depth, part in enumerate([*parents, last]):
            if not isinstance(node, ConfigDict) or part not in node:
                inside = node if isinstance(node, ConfigDict) else ()
                known = [".".join([*parents[:depth], k]) for k in inside]
                hint = nearest(key, known) or "A config file defines those that are not in base.py."
                raise UserError(f"--config.{key}: no such key. {hint}")
            parent, node = node, node[part]
        if isinstance(node, ConfigDict):
            raise UserError(f"--config.{key}: a group of keys. Known: {listed(node) or 'none'}.")
        with parent.ignore_type():
            parent[last] = _parse(key, text, node)


def _parse(key: str, text: str, default: Any) -> Any:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind is str:
            return text
        if kind in (tuple, list):
            return _tuple(text, default)
    except (KeyError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    examples = {bool: "true or false", int: "a whole number", float: "a number"}
    example = examples.get(kind, "a,b or ('a', 'b')")
    raise UserError(
        f"--config.{key}={listed([text])}: expected {example} (default: {shown(default)})."
    )


def _tuple(text: str, default: Sequence[Any]) -> tuple[Any, ...]:
    """ "a,b", "1,2" or a Python literal; items take the type of the default's first item.

    Where the default is empty, whole numbers are numbers and everything else is text.
    """
    if text.strip()[:1] in ("(", "["):
        return tuple(ast.literal_eval(text))
    items = [item.strip() for item in text.split(",") if item.strip()]
    whole = all(item.isdecimal() for item in items)
    kind = type(default[0]) if default else int if whole else str
    return tuple(kind(item) for item in items) if kind in (int, float, str) else tuple(items)


@dataclasses.dataclass(frozen=True)
class Epochs:
    """Epochs, counted from 1, as ranges: those from 1 to 10^9 are no more work than one."""

    ranges: tuple[range, ...]

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, epoch: int) -> bool:
        return any(epoch in named for named in self.ranges)

    @property
    def ends(self) -> tuple[int, ...]:
        """The first and the last epoch of every range."""
        return tuple(end for named in self.ranges for end in (named[0], named[-1]))


def epochs_in(parts: Sequence[str]) -> Epochs:
    """The epochs of texts such as "17" and "10-19" (inclusive).

    Raises:
        UserError: a part is neither.
    """
    ranges = []
    for part in parts if isinstance(parts, tuple | list) else (parts,):
        first, dash, last = str(part).partition("-")
        numbers = [first, last] if dash else [first]
        if not all(n.isascii() and n.isdecimal() and len(n) < 19 for n in numbers):
            raise UserError(f"{shown(part)} names no epochs: expected one (17) or a range (10-19).")
        named = range(int(first), int(last or first) + 1)
        if not named:
            raise UserError(f"{shown(part)} names no epochs: the first comes after the last.")
        ranges.append(named)
    return Epochs(tuple(ranges))


def flat(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """("model.hidden", 64) for every value, in sorted order."""
    for key in sorted(config):
        value = config[key]
        if isinstance(value, ConfigDict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def differences(old: ConfigDict, new: ConfigDict) -> list[tuple[str, Any, Any]]:
    """(key, old value, new value) of everything that is not the same in both."""
    a, b = dict(flat(old)), dict(flat(new))
    return [
        (k, a.get(k), b.get(k))
        for k in sorted(a.keys() | b.keys())
        if _plain(a.get(k)) != _plain(b.get(k))
    ]


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def save(config: ConfigDict, path: pathlib.Path) -> None:
    """Write as JSON, keys sorted; a kill leaves the old file or the new one."""
    replace_json(path, config.to_dict())


def read(path: pathlib.Path) -> ConfigDict:
    """The config that `save` wrote; JSON's lists are tuples again, newer keys have their default.

    Raises:
        UserError: it is none, lacks a key that every config has, or holds a value of another kind.
    """
    from data_pipelines.files import read_json, readable  # not above: config files need no numpy

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: restore(v) for k, v in value.items()}
        return tuple(restore(v) for v in value) if isinstance(value, list) else value

    about = path, "a config as a run keeps it"
    with readable(*about):
        values = restore(read_json(*about))
        if not isinstance(values, dict):
            raise ValueError("expected keys and values")
        config = ConfigDict(values)
    _complete(config, path)
    try:
        check(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return absolute_paths(config)


def absolute_paths(config: ConfigDict) -> ConfigDict:
    """The config with its paths written out, so that a run is opened from anywhere."""
    config = config.copy_and_resolve_references()
    root = config.data.root
    if isinstance(root, str) and root:
        parts = [part.strip() for part in root.split(",")]
        config.data.root = ",".join(
            part if part.startswith("twin:") else os.path.abspath(user_path(part)) for part in parts
        )
    for group, key in ((config, "system"), (config.data, "keep"), (config.init, "weights")):
        path = group[key]
        if isinstance(path, str) and path:
            a_name = is_repository(path) if key == "weights" else not path.endswith(".py")
            if key == "keep" or not a_name:
                group[key] = os.path.abspath(user_path(path))
    return config
