"""Names of the ABAW4 multi-task original (models transformer and mtl_transformer).

The original saves one file a net, `<epoch>_net<net>.pth`. Here a tensor is called
"net<net>.<name in that file>": "net_seq.affine.weight", "net_v_reg.0.fc_out.bias".
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, rules, torch_file
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.transformer import position_table
from data_pipelines.errors import UserError, nearest

NETS = {"valence": "_v_reg", "arousal": "_a_reg", "expression": "_expr_cls", "au": "_au_cls"}
# Rows of the fixed position table that the original keeps in its checkpoints.
TABLE_ROWS = 512


def encoder(original: str, path: str) -> Table:
    """Rules of one transformer encoder; both prefixes end in their separator, or are empty."""
    there, here = f"{original}encoder.layers.{{i}}.", f"{path}layer_{{i}}/"
    attention, projection = f"{there}self_attn.", f"{here}attention/in_projection/"
    return Table(
        rules=(
            *rules.linear(f"{original}affine", f"{path}projection"),
            # Rows q, k, v of one matrix, as in our fused projection.
            Rule(
                f"{attention}in_proj_weight",
                f"{projection}kernel",
                rules.transposed,
                rules.transposed,
            ),
            Rule(f"{attention}in_proj_bias", f"{projection}bias"),
            *rules.linear(f"{attention}out_proj", f"{here}attention/out_projection"),
            *rules.linear(f"{there}linear1", f"{here}linear_1"),
            *rules.linear(f"{there}linear2", f"{here}linear_2"),
            *rules.norm(f"{there}norm1", f"{here}norm_1"),
            *rules.norm(f"{there}norm2", f"{here}norm_2"),
        ),
        unused={f"{original}linear.*": "the pooled branch, which no model reads"},
        constants={f"{original}position_embeddings.weight": _positions},
    )


def _positions(shape: tuple[int, ...]) -> np.ndarray:
    rows, width = shape if len(shape) == 2 else (0, 0)
    return position_table(rows, width, "abaw4")


def head(original: str, path: str, indices: Sequence[int]) -> Table:
    """Rules of one FC head whose hidden layers are `module.<index>` there."""
    hidden = [
        rule
        for i, index in enumerate(indices)
        for rule in rules.linear(f"{original}module.{index}", f"{path}hidden_{i}")
    ]
    return Table((*hidden, *rules.linear(f"{original}fc_out", f"{path}out")))


def head_indices(layers: int, *, dropout: bool, input_dropout: bool = True) -> tuple[int, ...]:
    """Where the linear layers stand in the original's flat sequence.

    It is [dropout on the input], then linear, ReLU and, with a rate above 0, dropout per layer.
    """
    return tuple(int(input_dropout) + i * (3 if dropout else 2) for i in range(layers))


def spelling(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How the heads are called in this file: the arguments `prefix` and `indices` of `table`.

    Raises:
        UserError: there is no head, or two heads differ.
    """
    nets = "|".join(NETS.values())
    found = {}
    for name in state_dict:
        if match := re.fullmatch(rf"net({nets})\.((?:\d+\.)?)fc_out\.weight", name):
            module = re.escape(f"net{match[1]}.{match[2]}module.") + r"(\d+)\.weight"
            hits = (re.fullmatch(module, other) for other in state_dict)
            found[match[1]] = match[2], tuple(sorted(int(hit[1]) for hit in hits if hit))
    if not found:
        raise UserError("the weights hold no head (net_v_reg.fc_out.weight, ...) of this original.")
    if len(set(found.values())) > 1:
        raise UserError(f"the heads differ in their layers: {found}.")
    prefix, indices = next(iter(found.values()))
    return {"prefix": prefix, "indices": indices}


def table(tasks: Sequence[str], *, prefix: str, indices: Sequence[int]) -> Table:
    """Rules of the SE model.

    Args:
        tasks: names that our model has; heads of the others are listed as unused.
        prefix: of the head inside its net: "" in `transformer`, "0." in `mtl_transformer`.
        indices: of the hidden layers, from `spelling` or `head_indices`.

    Raises:
        UserError: the original has no such task.
    """
    for task in tasks:
        if task not in NETS:
            raise UserError(f"the ABAW4 original has no task {task!r}. {nearest(task, NETS)}")
    whole = encoder("net_seq.", "encoder/") | Table(rules.norm("net_layer_norm", "feature_norm"))
    for task, net in NETS.items():
        if task in tasks:
            whole |= head(f"net{net}.{prefix}", f"{task}/head/", indices)
        else:
            whole |= Table((), unused={f"net{net}.*": f"the model has no task {task}"})
    return whole


def to_original(params: Mapping[str, Any], *, model: str, dropout: bool) -> files.StateDict:
    """The state dict that the original loads, strictly, for a model with these tasks.

    Its position table and pooled branch, which ours has not, are written too (the branch as
    zeros: nothing reads it).

    Args:
        params: of models.mtl with structure "se".
        model: "transformer" or "mtl_transformer".
        dropout: whether the original is built with a dropout rate above 0.
    """
    if model not in ("transformer", "mtl_transformer"):
        raise ValueError(f"model {model!r}: expected 'transformer' or 'mtl_transformer'")
    tasks = [task for task in NETS if task in params]
    layers = sum(name.startswith("hidden_") for name in params[tasks[0]]["head"])
    prefix = "0." if model == "mtl_transformer" else ""
    names = table(tasks, prefix=prefix, indices=head_indices(layers, dropout=dropout))
    state_dict = rules.to_original(names, params)
    width = np.shape(params["encoder"]["projection"]["bias"])[0]
    state_dict["net_seq.position_embeddings.weight"] = position_table(TABLE_ROWS, width, "abaw4")
    state_dict["net_seq.linear.weight"] = np.zeros((width, width), np.float32)
    state_dict["net_seq.linear.bias"] = np.zeros(width, np.float32)
    return state_dict


def load_nets(folder: str | pathlib.Path, epoch: str | int = "latest") -> files.StateDict:
    """The nets of one epoch in a checkpoint folder of the original, as one state dict.

    Args:
        folder: with files `<epoch>_net<net>.pth` (or .safetensors).
        epoch: number, or "latest".

    Raises:
        UserError: the folder has no nets of that epoch.
    """
    folder = pathlib.Path(folder)
    suffixes = (".safetensors", *torch_file.SUFFIXES)
    found = {
        path: match
        for path in sorted(folder.glob("*_net_*"))
        if (match := re.fullmatch(r"(\w+?)_net(_\w+)", path.stem)) and path.suffix in suffixes
    }
    state_dict: files.StateDict = {}
    for path, match in found.items():
        if match[1] == str(epoch):
            tensors = files.load(path)
            state_dict |= {f"net{match[2]}.{name}": x for name, x in tensors.items()}
    if not state_dict:
        epochs = sorted({match[1] for match in found.values()})
        raise UserError(
            f"{folder}: no files {epoch}_net<net>.pth. "
            + (nearest(str(epoch), epochs) or "Expected the original's checkpoint folder.")
        )
    return state_dict
