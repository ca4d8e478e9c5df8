"""Names of the ABAW4 multi-task original.

The original saves one file a net, `<epoch>_net<net>.pth`. Here a tensor is called
"net<net>.<name in that file>": "net_seq.affine.weight", "net_v_reg.0.fc_out.bias". The net of a
task is the head in most models, the list [head] in `mtl_transformer`, and [transformer, head] there
with SBE ("net_v_reg.0.encoder.layers.0...", "net_v_reg.1.fc_out.bias").
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, recurrent, rules, torch_file
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.transformer import position_table
from data_pipelines.errors import UserError, listed, nearest, shown

NETS = {"valence": "_v_reg", "arousal": "_a_reg", "expression": "_expr_cls", "au": "_au_cls"}
# Rows of the fixed position table that the original keeps in its checkpoints.
TABLE_ROWS = 512


def transformer(original: str, path: str, positions: str = "abaw4") -> Table:
    """Rules of one transformer encoder; both prefixes end in their separator, or are empty.

    Args:
        positions: those of our encoder, a key of models.blocks.transformer.POSITIONS.
    """
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
    ) | _position_table(f"{original}position_embeddings.weight", positions)


def _position_table(name: str, positions: str) -> Table:
    """The fixed table of that name must be ours, where ours has one."""
    if positions == "none":
        return Table((), unused={name: "the model has no positions"})

    def rows_of(shape: tuple[int, ...]) -> np.ndarray:
        rows, width = shape if len(shape) == 2 else (0, 0)
        return position_table(rows, width, positions)

    return Table((), constants={name: rows_of})


def beside(net: str, width: int, positions: str) -> files.StateDict:
    """Tensors of one transformer of the original that ours has not: nothing reads the branch."""
    kind = "abaw4" if positions == "none" else positions
    return {
        f"{net}position_embeddings.weight": position_table(TABLE_ROWS, width, kind),
        f"{net}linear.weight": np.zeros((width, width), np.float32),
        f"{net}linear.bias": np.zeros(width, np.float32),
    }


def relative(original: str, path: str) -> Table:
    """Rules of one encoder of relative attention and convolution, there called "fft"."""
    there, here = f"{original}model.", f"{path}layer_{{i}}/"
    attention = f"{there}attn_layers.{{i}}."

    def table_of_offsets(letter: str, name: str) -> Rule:
        there = f"{attention}emb_rel_{letter}"
        return Rule(there, f"{here}attention/{name}", lambda x: x[0], lambda x: x[None])

    def norm(number: int) -> tuple[Rule, Rule]:
        original, path = f"{there}norm_layers_{number}.{{i}}.", f"{here}norm_{number}/"
        return Rule(f"{original}gamma", f"{path}scale"), Rule(f"{original}beta", f"{path}bias")

    return Table(
        (
            *rules.linear(f"{original}affine", f"{path}projection"),
            *_pointwise(f"{attention}conv_q", f"{here}attention/query"),
            *_pointwise(f"{attention}conv_k", f"{here}attention/key"),
            *_pointwise(f"{attention}conv_v", f"{here}attention/value"),
            *_pointwise(f"{attention}conv_o", f"{here}attention/out_projection"),
            table_of_offsets("k", "relative_key"),
            table_of_offsets("v", "relative_value"),
            *norm(1),
            *norm(2),
            *rules.conv(f"{there}ffn_layers.{{i}}.conv", f"{here}convolution"),
        )
    )


def _pointwise(original: str, path: str) -> tuple[Rule, Rule]:
    """A convolution over single frames, [out, in, 1] <-> nn.Dense."""
    return (
        Rule(f"{original}.weight", f"{path}/kernel", lambda x: x.T[0], lambda x: x[None].T),
        Rule(f"{original}.bias", f"{path}/bias"),
    )


# By their names in models.multitask: the rules, called with both prefixes and our positions, and
# how the layers of such a net are called there.
ENCODERS: dict[str, tuple[Callable[[str, str, str], Table], str]] = {
    "transformer": (transformer, "encoder.layers."),
    "relative": (lambda original, path, _: relative(original, path), "model.attn_layers."),
    "lstm": (lambda original, path, _: recurrent.layers(f"{original}rnn.", path), "rnn."),
    "gru": (lambda original, path, _: recurrent.layers(f"{original}rnns.0.", path), "rnns.0."),
}
# What the original's recurrent models are fixed to: layers, and whether two directions are known.
RECURRENT = {"lstm": (1, True), "gru": (2, False)}


def head(original: str, path: str, indices: Sequence[int]) -> Table:
    """Rules of one FC head whose hidden layers are `module.<index>` there."""
    hidden = [
        rule
        for i, index in enumerate(indices)
        for rule in rules.linear(f"{original}module.{index}", f"{path}hidden_{i}")
    ]
    return Table((*hidden, *rules.linear(f"{original}fc_out", f"{path}out")))


def head_indices(layers: int, *, dropout: bool, input_dropout: bool = True) -> tuple[int, ...]:
    """Places of the linear layers in the original's flat sequence.

    It is [dropout on the input], then linear, ReLU and, with a rate above 0, dropout per layer.
    """
    return tuple(int(input_dropout) + i * (3 if dropout else 2) for i in range(layers))


def spelling(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Names of encoder and heads in this file: arguments of `table`.

    Raises:
        UserError: there is no head, or two heads differ.
    """
    nets = "|".join(NETS.values())
    heads = {}
    for name in state_dict:
        if match := re.fullmatch(rf"net({nets})\.((?:\d+\.)?)fc_out\.weight", name):
            module = re.escape(f"net{match[1]}.{match[2]}module.") + r"(\d+)\.weight"
            hits = (re.fullmatch(module, other) for other in state_dict)
            heads[match[1]] = match[2], tuple(sorted(int(hit[1]) for hit in hits if hit))
    if not heads:
        raise UserError(
            "the weights hold no head (net_v_reg.fc_out.weight, ...) of this original. They hold "
            f"{listed(state_dict, 5) or 'nothing'}."
        )
    if len(set(heads.values())) > 1:
        raise UserError(f"the heads differ in their layers: {shown(heads)}.")
    prefix, indices = next(iter(heads.values()))
    encoder = "transformer"
    for name, (_, layers) in ENCODERS.items():
        if any(tensor.startswith(f"net_seq.{layers}") for tensor in state_dict):
            encoder = name
    return {"prefix": prefix, "indices": indices, "encoder": encoder}


def table(
    tasks: Sequence[str],
    *,
    prefix: str,
    indices: Sequence[int],
    encoder: str = "transformer",
    positions: str = "abaw4",
    top_positions: str = "abaw4",
) -> Table:
    """Rules of the whole model.

    Args:
        tasks: names that our model has; nets of the others are listed as unused.
        prefix: of the head inside its net: "" alone, "0." in `mtl_transformer`, "1." there behind
            the task's own transformer (SBE).
        indices: of the hidden layers, from `spelling` or `head_indices`.
        encoder: of the net `_seq`, a key of ENCODERS.
        positions, top_positions: of our encoder and of the tasks' own, where they are transformers.

    Raises:
        UserError: the original has no such task.
    """
    require_tasks(tasks)
    whole = ENCODERS[encoder][0]("net_seq.", "encoder/", positions)
    whole |= Table(rules.norm("net_layer_norm", "feature_norm"))
    for task, net in NETS.items():
        if task in tasks:
            whole |= head(f"net{net}.{prefix}", f"{task}/head/", indices)
            if prefix == "1.":
                whole |= transformer(f"net{net}.0.", f"{task}/top/", top_positions)
        else:
            whole |= Table((), unused={f"net{net}.*": f"the model has no task {task}"})
    return whole


def require_tasks(tasks: Sequence[str]) -> None:
    """UserError where the original has no such task."""
    for task in tasks:
        if task not in NETS:
            raise UserError(f"the ABAW4 original has no task {task!r}. {nearest(task, NETS)}")


def to_original(
    variables: Mapping[str, Any],
    *,
    model: str,
    dropout: bool,
    positions: str = "abaw4",
    top_positions: str = "abaw4",
) -> files.StateDict:
    """The state dict that the original loads, strictly, for a model with these tasks.

    The position tables and pooled branches of its transformers, which ours have not, are written
    too (the branches as zeros: nothing reads them).

    Args:
        variables: of models.multitask with structure "se" or "sbe".
        model: "lstm", "gru", "transformer" or "mtl_transformer"; SBE is the last.
        dropout: whether the original is built with a dropout rate above 0.
        positions, top_positions: as in `table`.

    Raises:
        UserError: the original has no such model.
    """
    params = variables["params"]
    encoder = _encoder_of(params["encoder"])
    if model not in ((encoder,) if encoder in RECURRENT else ("transformer", "mtl_transformer")):
        raise ValueError(f"model {model!r}: the encoder is {encoder!r}")
    tasks = [task for task in NETS if task in params]
    first = params[tasks[0]]
    tops = "top" in first
    if tops and model != "mtl_transformer":
        raise ValueError(f"model {model!r} has no transformers of the tasks; 'mtl_transformer' has")
    prefix = ("1." if tops else "0.") if model == "mtl_transformer" else ""
    layers = sum(name.startswith("hidden_") for name in first["head"])
    indices = head_indices(layers, dropout=dropout)
    names = table(tasks, prefix=prefix, indices=indices, encoder=encoder)
    state_dict = rules.to_original(names, variables)
    for task in tasks if tops else ():
        width = len(params[task]["top"]["layer_0"]["norm_1"]["bias"])
        state_dict |= beside(f"net{NETS[task]}.0.", width, top_positions)
    if encoder == "transformer":
        width = len(params["encoder"]["projection"]["bias"])
        state_dict |= beside("net_seq.", width, positions)
    return state_dict


def _encoder_of(params: Mapping[str, Any]) -> str:
    """Name in ENCODERS of the encoder with these parameters.

    Raises:
        UserError: the original's recurrent models have other layers or directions.
    """
    first = params.get("layer_0", {})
    if "recurrent_kernel" not in first:
        return "relative" if "convolution" in first else "transformer"
    hidden, gates = first["recurrent_kernel"].shape
    encoder = "lstm" if gates == 4 * hidden else "gru"
    layers, both = RECURRENT[encoder]
    own = len([name for name in params if not name.endswith("_reverse")])
    if own != layers or ("layer_0_reverse" in params and not both):
        raise UserError(
            f"the original's {encoder} has {layers} layer(s), two directions: {both}. Weights of "
            "another one cannot be written."
        )
    return encoder


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
    nets = {
        path: match
        for path in sorted(folder.glob("*_net_*"))
        if (match := re.fullmatch(r"(\w+?)_net(_\w+)", path.stem)) and path.suffix in suffixes
    }
    state_dict: files.StateDict = {}
    for path, match in nets.items():
        if match[1] == str(epoch):
            tensors = files.load(path)
            state_dict |= {f"net{match[2]}.{name}": x for name, x in tensors.items()}
    if not state_dict:
        epochs = sorted({match[1] for match in nets.values()})
        raise UserError(
            f"{folder}: no files {epoch}_net<net>.pth. "
            + (nearest(str(epoch), epochs) or "Expected the original's checkpoint folder.")
        )
    return state_dict
