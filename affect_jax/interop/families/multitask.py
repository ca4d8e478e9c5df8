"""The family "multitask": three originals.

ABAW10 (team RAS) where the encoder is "dynamic" or "mamba"; else ABAW3 where one head is joint, and
ABAW4 where each task has its own.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import abaw3, abaw4, files, ras
from affect_jax.interop.rules import Table
from data_pipelines.errors import UserError, nearest


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file, of the nets FOLDER/EPOCH_net<net>.pth, or of FOLDER's latest ones.

    Raises:
        UserError: there is none, or it is damaged.
    """
    del model
    if path.is_dir():
        return abaw4.load_nets(path)
    if path.suffix or path.is_file():
        return files.load(path)
    return abaw4.load_nets(path.parent, path.name)


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules for weights of ABAW10, or of ABAW3 and ABAW4, whose encoders are the same.

    Tasks that ABAW4 has not get none.

    Raises:
        UserError: the weights are of none of the originals.
    """
    if ras.is_of(state_dict) or model.encoder.name in ras.ENCODERS:
        return ras.table(tasks, model, state_dict)
    positions = _positions(model)
    if any(name.startswith("net_reg.") for name in state_dict):
        return abaw3.table(tasks, **abaw3.spelling(state_dict), positions=positions["positions"])
    known = [task for task in tasks if task in abaw4.NETS]
    return abaw4.table(known, **abaw4.spelling(state_dict), **positions)


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original that has such a model.

    Raises:
        UserError: none has, or the variables are not those of `model`.
    """
    if model.encoder.name in ras.ENCODERS:
        _require(variables, "encoder", "joint")
        return ras.to_original(tasks, model, variables)
    dropout, positions = model.head.get("dropout", 0.0) > 0, _positions(model)
    encoder, structure = model.encoder.name, model.structure.name
    if structure == "joint":
        _require(variables, "encoder", "joint")
        position = positions["positions"]
        return abaw3.to_original(
            variables, tasks, encoder=encoder, dropout=dropout, positions=position
        )
    if encoder not in abaw4.ENCODERS:
        raise UserError(
            f"the ABAW4 original has no encoder {encoder!r}. {nearest(encoder, abaw4.ENCODERS)}"
        )
    abaw4.require_tasks(tasks)
    _require(variables, "encoder", *tasks)
    names = {"se": "transformer", "sbe": "mtl_transformer"}
    own = encoder if encoder in abaw4.RECURRENT else names[structure]
    return abaw4.to_original(variables, model=own, dropout=dropout, **positions)


def _require(variables: Mapping[str, Any], *names: str) -> None:
    """UserError where a system has made another model than the family's."""
    for name in names:
        if name not in variables["params"]:
            hint = nearest(name, variables["params"])
            raise UserError(f"the model of its system has no parameters {name!r}. {hint}")


def _positions(model: Any) -> dict[str, str]:
    """Position tables of the encoder and of the tasks' own; those without have none to compare."""
    return {
        "positions": model.encoder.get("positions", "abaw4"),
        "top_positions": model.structure.get("positions", "abaw4"),
    }
