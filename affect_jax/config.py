"""Reading a config file, its overrides, and the copy in a run folder.

`--config=configs/mtl.py:paper,smoke` calls get_config("paper,smoke"); `--config.epochs=9` changes
one value. The type of a value is that of the default. No jax in here: `--help` is quick.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_pipelines.errors import UserError, nearest


def load(spec: str) -> ConfigDict:
    """The config of "path/to/file.py" or "path/to/file.py:variant,variant".

    A path that does not exist here is looked for among the configs installed with the package,
    so that `--config=configs/mtl.py` works in any folder.
    """
    path_text, _, variants = spec.partition(":")
    path = pathlib.Path(path_text)
    if not path.is_file():
        import configs

        installed = pathlib.Path(configs.__file__).parent
        path = installed / path.name if path.parts[:1] == ("configs",) else path
        if not path.is_file():
            known = sorted(f"configs/{f.name}" for f in installed.glob("[!_]*.py"))
            raise UserError(f"--config={spec}: no file {path_text}. {nearest(path_text, known)}")
    module_spec = importlib.util.spec_from_file_location(f"_config_{path.stem}", path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"--config={spec}: {path} is no Python file.")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path}: has no function get_config(variants).")
    config = module.get_config(variants)
    config.name = spec
    return config


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
                known = (
                    [".".join([*parents[:depth], k]) for k in node]
                    if isinstance(node, ConfigDict)
                    else []
                )
                raise UserError(f"--config.{key}: no such key. {nearest(key, known)}")
            parent, node = node, node[part]
        if isinstance(node, ConfigDict):
            raise UserError(f"--config.{key}: a group of keys. Known: {', '.join(node)}.")
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
    except (KeyError, ValueError, SyntaxError):
        pass
    example = {bool: "true or false", tuple: "a,b or ('a', 'b')"}.get(kind, f"a {kind.__name__}")
    raise UserError(f"--config.{key}={text}: expected {example} (default: {default!r}).")


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


def epochs_in(parts: Sequence[str]) -> frozenset[int]:
    """The epochs, counted from 1, of texts such as "17" and "10-19" (inclusive).

    Raises:
        UserError: a part is neither.
    """
    epochs: set[int] = set()
    for part in parts:
        first, dash, last = str(part).partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise UserError(f"{part!r} names no epochs: expected one (17) or a range (10-19).")
        named = range(int(first), int(last or first) + 1)
        if not named:
            raise UserError(f"{part!r} names no epochs: the first comes after the last.")
        epochs.update(named)
    return frozenset(epochs)


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
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(config.to_dict(), indent=1, sort_keys=True) + "\n")
    partial.replace(path)


def read(path: pathlib.Path) -> ConfigDict:
    """The config that `save` wrote; JSON's lists are tuples again."""

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: restore(v) for k, v in value.items()}
        return tuple(restore(v) for v in value) if isinstance(value, list) else value

    try:
        found = restore(json.loads(path.read_text()))
        if not isinstance(found, dict):
            raise ValueError("expected keys and values")
        return ConfigDict(found)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a config ({error}).") from None
