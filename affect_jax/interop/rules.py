"""One table of rules a model: original tensor names to our parameter paths, and back."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from data_pipelines.errors import UserError, listed

Transform = Callable[[np.ndarray], np.ndarray]


def same(x: np.ndarray) -> np.ndarray:
    """As it is."""
    return x


def transposed(x: np.ndarray) -> np.ndarray:
    """A linear layer: [out, in] there, [in, out] here."""
    return x.T


@dataclasses.dataclass(frozen=True)
class Rule:
    """How one family of tensors is called and laid out on both sides.

    Attributes:
        original: name with numbers in braces, "encoder.layers.{i}.linear1.weight".
        path: our path with the same braces, "encoder/layer_{i}/linear_1/kernel".
        forward: original array -> ours.
        backward: its inverse.
    """

    original: str
    path: str
    forward: Transform = same
    backward: Transform = same


def linear(original: str, path: str) -> tuple[Rule, Rule]:
    """torch.nn.Linear <-> nn.Dense."""
    return (
        Rule(f"{original}.weight", f"{path}/kernel", transposed, transposed),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


def norm(original: str, path: str) -> tuple[Rule, Rule]:
    """torch.nn.LayerNorm <-> nn.LayerNorm."""
    return (
        Rule(f"{original}.weight", f"{path}/scale"),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """The rules of a model, and the tensors that have no parameter here. `a | b` joins two.

    Attributes:
        rules: the first that matches a name or path counts.
        unused: {glob of original names: why we have no use for them}.
        constants: {glob of original names: function of a shape that gives the array which must
            stand there}: fixed tables, which we compute.
    """

    rules: tuple[Rule, ...]
    unused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    constants: Mapping[str, Callable[[tuple[int, ...]], np.ndarray]] = dataclasses.field(
        default_factory=dict
    )

    def __or__(self, other: Table) -> Table:
        return Table(
            self.rules + other.rules,
            {**self.unused, **other.unused},
            {**self.constants, **other.constants},
        )


@dataclasses.dataclass(frozen=True)
class Report:
    """What became of each tensor.

    Attributes:
        mapped: {original name: our path}; for a constant the path is "".
        unused: {original name: why}, known to be of no use.
        unknown: original names that no rule knows.
        missing: our paths that got no tensor.
        mismatched: one sentence a tensor whose shape or value is not what it must be.
    """

    mapped: dict[str, str]
    unused: dict[str, str]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every parameter has its tensor, and every tensor is accounted for."""
        return not (self.unknown or self.missing or self.mismatched)

    def require_complete(self, where: object) -> None:
        """UserError that begins with `where`, naming the first of each kind, unless complete."""
        if self.complete:
            return
        faults = list(self.mismatched[:1])
        if self.missing:
            first = listed(self.missing[:3])
            faults.append(f"{len(self.missing)} parameters have no tensor, {first} first")
        if self.unknown:
            first = listed(self.unknown[:3])
            faults.append(f"{len(self.unknown)} tensors fit nowhere, {first} first")
        raise UserError(
            f"{where}: not the weights of this model: {'; '.join(faults)}. "
            "Check config.model and the tasks."
        )

    def __str__(self) -> str:
        lines = [f"{len(self.mapped)} tensors mapped"]
        lines += [f"unused: {name} ({why})" for name, why in self.unused.items()]
        lines += [f"unknown: {name}" for name in self.unknown]
        lines += [f"missing: {path}" for path in self.missing]
        lines += [f"mismatched: {fault}" for fault in self.mismatched]
        return "\n".join(lines)


def to_params(
    table: Table, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> tuple[dict[str, Any], Report]:
    """Original tensors as our parameters.

    Args:
        table: of the model.
        state_dict: {original name: array}.
        template: nested dict with the shape and dtype of every parameter, from
            `jax.eval_shape(model.init, ...)`. Linen ignores unknown parameters silently, so the
            paths are compared here.

    Returns:
        (params in the template's dtypes, report). Parameters without a tensor are left out: look
        at `report.complete`, or call `report.require_complete`.
    """
    shapes = {
        path: (tuple(leaf.shape), leaf.dtype)
        for path, leaf in traverse_util.flatten_dict(dict(template), sep="/").items()
    }
    params: dict[str, np.ndarray] = {}
    mapped, unused, unknown, mismatched = {}, {}, [], []
    for name, tensor in state_dict.items():
        tensor = np.asarray(tensor)
        path, rule = _first(table.rules, name, "original", "path")
        if path in shapes:
            value, (shape, dtype) = rule.forward(tensor), shapes[path]
            mapped[name] = path
            if path in params:
                mismatched.append(f"{name} is a second tensor for {path}")
            elif value.shape != shape:
                mismatched.append(f"{name} {tensor.shape} gives {value.shape}, {path} is {shape}")
            params[path] = np.array(value, dtype, order="C")
        elif (make := _glob(table.constants, name)) is not None:
            mapped[name] = ""
            if fault := _difference(tensor, make(tensor.shape)):
                mismatched.append(f"{name} {fault} from the table that it must hold")
        elif (why := _glob(table.unused, name)) is not None:
            unused[name] = why
        else:
            unknown.append(name)
    missing = tuple(path for path in shapes if path not in params)
    report = Report(mapped, unused, tuple(unknown), missing, tuple(mismatched))
    return traverse_util.unflatten_dict(params, sep="/"), report


def to_original(table: Table, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our parameters (or their gradients) under the original names, in the original layout.

    Raises:
        ValueError: no rule knows a parameter.
    """
    state_dict = {}
    for path, value in traverse_util.flatten_dict(dict(params), sep="/").items():
        name, rule = _first(table.rules, path, "path", "original")
        if rule is None:
            raise ValueError(f"no rule for the parameter {path}")
        state_dict[name] = np.array(rule.backward(np.asarray(value)), order="C")
    return state_dict


def _difference(tensor: np.ndarray, want: np.ndarray) -> str:
    """How a fixed table differs, beyond the rounding of the type that it is stored in; or ""."""
    if tensor.shape != want.shape or not jnp.issubdtype(tensor.dtype, jnp.floating):
        return f"({tensor.dtype} {tensor.shape}) differs in form"
    gap = np.abs(tensor.astype(np.float64) - want).max(initial=0)
    return "" if gap <= max(1e-6, jnp.finfo(tensor.dtype).eps) else f"differs by {gap:.1e}"


def _first(
    rules: tuple[Rule, ...], name: str, source: str, target: str
) -> tuple[str, Rule] | tuple[None, None]:
    """The other side's name by the first rule whose `source` template matches, and the rule."""
    for rule in rules:
        match = _pattern(getattr(rule, source)).fullmatch(name)
        if match:
            return getattr(rule, target).format(**match.groupdict()), rule
    return None, None


@functools.cache
def _pattern(template: str) -> re.Pattern[str]:
    """ "layers.{i}.norm1" -> the expression that takes a number in place of {i}."""
    parts = re.split(r"\{(\w+)\}", template)
    return re.compile(
        "".join(rf"(?P<{p}>\d+)" if i % 2 else re.escape(p) for i, p in enumerate(parts))
    )


def _glob(table: Mapping[str, Any], name: str) -> Any:
    """The value of the first pattern that matches, or None."""
    return next((v for pattern, v in table.items() if fnmatch.fnmatchcase(name, pattern)), None)
