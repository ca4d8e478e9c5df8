"""Fixtures as they are stored, answers of adapters, and where the adapters are."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import importlib
import json
import pathlib
import pkgutil
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from affect_jax import interop

# Files that no adapter writes.
INPUTS = ("meta.json", "cases.npz", "*.safetensors")


@dataclasses.dataclass(frozen=True)
class Fixture:
    """One folder of stored inputs and outputs. The folder's name says what it is."""

    folder: pathlib.Path

    @property
    def name(self) -> str:
        return self.folder.name

    @functools.cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text())

    @functools.cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / "cases.npz") as cases:
            return {name: cases[name] for name in cases.files}

    @functools.cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return interop.load(self.folder / "weights.safetensors")

    def expected(self, inputs: Sequence[str]) -> dict[str, pathlib.Path]:
        """{path: file} of the files that an adapter must write; `inputs` as an answer has them."""
        inside = self.folder / "expected"
        root, left_out = (inside, ()) if inside.is_dir() else (self.folder, (*INPUTS, *inputs))
        found = {str(p.relative_to(root)): p for p in sorted(root.rglob("*")) if p.is_file()}
        return {
            name: path
            for name, path in found.items()
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in left_out)
        }

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """All that ours must have: every array that is no input, and weights_final/NAME."""
        stored = {name: x for name, x in self.arrays.items() if not name.startswith("in_")}
        final = self.folder / "weights_final.safetensors"
        if final.is_file():
            stored |= {f"weights_final/{name}": x for name, x in interop.load(final).items()}
        return stored


@dataclasses.dataclass(frozen=True)
class Answer:
    """Our side of a fixture, as its adapter answers.

    Attributes:
        arrays: ours, by the stored names. Every stored output must be here or in one of the
            others.
        differs: {glob of stored names: why ours does something else}, as golden/README.md allows.
        ignored: {glob of stored names: why meta.json says not to compare}.
        files: {path below expected/: text} of ours, where the fixture holds such a folder; else
            below the fixture's own, where all that it holds beside INPUTS and `inputs` is expected.
        inputs: globs of files of the fixture that the adapter reads.
    """

    arrays: dict[str, Any] = dataclasses.field(default_factory=dict)
    differs: dict[str, str] = dataclasses.field(default_factory=dict)
    ignored: dict[str, str] = dataclasses.field(default_factory=dict)
    files: dict[str, str] | None = None
    inputs: tuple[str, ...] = ()


class Mismatch(Exception):
    """Ours is not the original for a reason that is no single array (names of weights, say)."""


Adapter = Callable[[Fixture], Answer]
_ADAPTERS: dict[str, Adapter] = {}


def adapter(*names: str) -> Callable[[Adapter], Adapter]:
    """Decorator: the function answers the fixtures of these folder names."""

    def register(function: Adapter) -> Adapter:
        for name in names:
            if name in _ADAPTERS:
                raise ValueError(f"two adapters for {name}")
            _ADAPTERS[name] = function
        return function

    return register


@functools.cache
def adapters() -> dict[str, Adapter]:
    """{fixture name: adapter} of every module in tests/golden/adapters/."""
    package = importlib.import_module("tests.golden.adapters")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    return dict(_ADAPTERS)


def fixtures(folder: pathlib.Path) -> list[Fixture]:
    """Every fixture in `folder` or below it, by name."""
    return [Fixture(path.parent) for path in sorted(folder.rglob("meta.json"))]
