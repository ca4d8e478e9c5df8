"""One table of rules a model: original tensor names to the paths of our variables, and back."""

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
# PyTorch counts the batches of a batch norm, and starts at 0 where a file has no count.
_COUNTS = {"*num_batches_tracked": "a count of batches, which no average here needs"}


def same(x: np.ndarray) -> np.ndarray:
    """As it is."""
    return x


def transposed(x: np.ndarray) -> np.ndarray:
    """A linear layer: [out, in] there, [in, out] here."""
    return x.T


def channels_last(x: np.ndarray) -> np.ndarray:
    """A convolution: [out, in / groups, *kernel] there, [*kernel, in / groups, out] here."""
    return np.moveaxis(x, (0, 1), (-1, -2))


def channels_first(x: np.ndarray) -> np.ndarray:
    """Inverse of `channels_last`."""
    return np.moveaxis(x, (-1, -2), (0, 1))


@dataclasses.dataclass(frozen=True)
class Rule:
    """Names and layouts of one family of tensors on both sides.

    Attributes:
        original: name with numbers in braces, "encoder.layers.{i}.linear1.weight".
        path: our path with the same braces, "encoder/layer_{i}/linear_1/kernel".
        forward: original array -> ours.
        backward: its inverse.
        collection: of the variables that the path is in.
    """

    original: str
    path: str
    forward: Transform = same
    backward: Transform = same
    collection: str = "params"


def linear(original: str, path: str) -> tuple[Rule, Rule]:
    """torch.nn.Linear <-> nn.Dense."""
    return (
        Rule(f"{original}.weight", f"{path}/kernel", transposed, transposed),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


def conv(original: str, path: str) -> tuple[Rule, Rule]:
    """torch.nn.Conv1d, Conv2d or Conv3d <-> nn.Conv, with groups too."""
    return (
        Rule(f"{original}.weight", f"{path}/kernel", channels_last, channels_first),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


def norm(original: str, path: str) -> tuple[Rule, Rule]:
    """torch.nn.LayerNorm <-> nn.LayerNorm."""
    return (
        Rule(f"{original}.weight", f"{path}/scale"),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


def batch_norm(original: str, path: str) -> tuple[Rule, ...]:
    """torch.nn.BatchNorm1d, 2d or 3d <-> nn.BatchNorm, with the moving averages of its batches."""
    return (
        *norm(original, path),
        Rule(f"{original}.running_mean", f"{path}/mean", collection="batch_stats"),
        Rule(f"{original}.running_var", f"{path}/var", collection="batch_stats"),
    )


@dataclasses.dataclass(frozen=True)
class Table:
    """Rules of a model, and the tensors that have no variable here. `a | b` joins two.

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
    """The fate of each tensor.

    Attributes:
        mapped: {original name: our path}; for a constant the path is "".
        unused: {original name: why}, known to be of no use.
        unknown: original names that no rule knows.
        missing: our paths that got no tensor.
        mismatched: one sentence a tensor whose shape or values are not what they must be.
    """

    mapped: dict[str, str]
    unused: dict[str, str]
    unknown: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Every variable has its tensor, and every tensor is accounted for."""
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


def to_variables(
    table: Table, state_dict: Mapping[str, np.ndarray], template: Mapping[str, Any]
) -> tuple[dict[str, Any], Report]:
    """Original tensors as our variables.

    Args:
        table: of the model.
        state_dict: {original name: array}.
        template: {"params": ..., "batch_stats": ...}, nested dicts with the shape and dtype of
            every leaf, from `jax.eval_shape(model.init, ...)`. Linen ignores unknown parameters
            silently, so the paths are compared here.

    Returns:
        (variables in the template's dtypes, report). What has no tensor is left out: look at
        `report.complete`, or call `report.require_complete`.
    """
    leaves = _leaves(template)
    values: dict[tuple[str, str], np.ndarray] = {}
    mapped, unused, unknown, mismatched = {}, {}, [], []
    for name, tensor in state_dict.items():
        tensor = np.asarray(tensor)
        path, rule = _first(table.rules, name, "original", "path")
        place = (rule.collection, path) if rule else None
        if place in leaves:
            mapped[name], leaf = path, leaves[place]
            value = _laid_out(rule, tensor)
            if place in values:
                mismatched.append(f"{name} is a second tensor for {path}")
            elif value.shape != tuple(leaf.shape):
                gives = f"{name} {tensor.shape} gives {value.shape}"
                mismatched.append(f"{gives}, {path} is {tuple(leaf.shape)}")
            values[place] = np.array(value, leaf.dtype, order="C")
            if not np.isfinite(values[place]).all():
                mismatched.append(f"{name} holds NaN or infinity")
        elif (make := _glob(table.constants, name)) is not None:
            mapped[name] = ""
            if fault := _difference(tensor, make(tensor.shape)):
                mismatched.append(f"{name} {fault} from the table that it must hold")
        elif (why := _glob({**table.unused, **_COUNTS}, name)) is not None:
            unused[name] = why
        else:
            unknown.append(name)
    missing = tuple(path for collection, path in leaves if (collection, path) not in values)
    report = Report(mapped, unused, tuple(unknown), missing, tuple(mismatched))
    variables = {
        collection: traverse_util.unflatten_dict(
            {path: x for (own, path), x in values.items() if own == collection}, sep="/"
        )
        for collection in template
    }
    return variables, report


def to_original(table: Table, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our variables (or gradients in their form) by the original names, in the original layout.

    Raises:
        UserError: no rule knows a variable.
    """
    state_dict = {}
    for (collection, path), value in _leaves(variables).items():
        own = tuple(rule for rule in table.rules if rule.collection == collection)
        name, rule = _first(own, path, "path", "original")
        if rule is None:
            raise UserError(
                f"no rule for the parameter {path}: the original has none like it, and it cannot "
                "be written."
            )
        state_dict[name] = np.array(rule.backward(np.asarray(value)), order="C")
    return state_dict


def _leaves(variables: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """{(collection, path): leaf}."""
    return {
        (collection, path): leaf
        for collection, tree in variables.items()
        for path, leaf in traverse_util.flatten_dict(dict(tree), sep="/").items()
    }


def _laid_out(rule: Rule, tensor: np.ndarray) -> np.ndarray:
    """The tensor as ours is laid out; as it is where it has too few axes for that."""
    try:
        return rule.forward(tensor)
    except (ValueError, IndexError):
        return tensor


def _difference(tensor: np.ndarray, want: np.ndarray) -> str:
    """Gap of a fixed table, beyond the rounding of the type that it is stored in; or ""."""
    if tensor.shape != want.shape or not jnp.issubdtype(tensor.dtype, jnp.floating):
        return f"({tensor.dtype} {tensor.shape}) differs in form"
    gap = np.abs(tensor.astype(np.float64) - want).max(initial=0)
    return "" if gap <= max(1e-6, jnp.finfo(tensor.dtype).eps) else f"differs by {gap:.1e}"


def _first(
    rules: tuple[Rule, ...], name: str, source: str, target: str
) -> tuple[str, Rule] | tuple[None, None]:
    """The other side's name by the first rule whose `source` template matches, and the rule."""
    for rule in rules:
        if match := _pattern(getattr(rule, source)).fullmatch(name):
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
