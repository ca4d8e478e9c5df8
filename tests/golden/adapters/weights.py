"""Stored weights as our parameters, with nothing left over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from affect_jax import interop
from tests.golden.fixture import Fixture, Mismatch


def params_of(
    fixture: Fixture,
    table: interop.Table,
    model: nn.Module,
    *inputs: Any,
    weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The parameters of `variables_of`."""
    return variables_of(fixture, table, model, *inputs, weights=weights)["params"]


def variables_of(
    fixture: Fixture,
    table: interop.Table,
    model: nn.Module,
    *inputs: Any,
    weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """The fixture's weights as the variables of `model`, and back to the same names and values.

    Args:
        inputs: of a call of the model, for the shapes.
        weights: those to use; default all.

    Raises:
        Mismatch: tensors are left over or missing that meta.json does not list as unused.
    """
    weights = fixture.weights if weights is None else weights
    template = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    variables, report = interop.to_variables(table, weights, template)
    if not report.complete:
        raise Mismatch(str(report).replace("\n", "; "))
    forgotten = set(report.unused) - set(fixture.meta.get("unused", report.unused))
    if forgotten:
        raise Mismatch(f"unused here, and not by meta.json: {sorted(forgotten)}")
    back = interop.to_original(table, variables)
    for name, path in report.mapped.items():
        if path and not np.array_equal(back.pop(name), weights[name]):
            raise Mismatch(f"{name} comes back changed")
    if back:
        raise Mismatch(f"written back, but not in the file: {sorted(back)}")
    return variables
