"""Names of the ABAW3 valence-arousal original (RUCAIM3), as those of ABAW4 are called.

One file a net, `<epoch>_net<net>.pth`, here "net<net>.<name in that file>": "net_te.affine.weight",
"net_reg.fc_out.bias". `abaw4.load_nets` reads a folder of them. Ours have one joint head
(config.model.structure.name = "joint") for valence, arousal, or both in this order.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import abaw4, files, recurrent, rules
from affect_jax.interop.rules import Rule, Table
from data_pipelines.errors import UserError, listed, nearest

TARGETS = (("valence", "arousal"), ("valence",), ("arousal",))


def _projection() -> Table:
    return Table(rules.linear("net_fc.module.0", "encoder/projection"))


def _reader() -> Table:
    """Attention to the memory; the original has the net whichever attention is chosen."""
    path = "encoder/memory_attention/"
    weight = Rule(
        "net_attn.in_proj_weight",
        f"{path}in_projection/kernel",
        rules.transposed,
        rules.transposed,
    )
    return Table(
        (
            weight,
            Rule("net_attn.in_proj_bias", f"{path}in_projection/bias"),
            *rules.linear("net_attn.out_proj", f"{path}out_projection"),
        ),
        unused={"net_attn.*": "the attention to the memory has no parameters"},
    )


def _encoders(positions: str) -> dict[str, Table]:
    """Rules of the encoders by their names in models.multitask."""

    def transformer(net: str) -> Table:
        return abaw4.transformer(net, "encoder/", positions)

    return {
        "transformer": transformer("net_seq."),
        "transformer_lstm": _projection()
        | transformer("net_te.")
        | recurrent.layers("net_lstm.rnn.", "encoder/lstm/"),
        "transformer_attention": transformer("net_seq.") | _reader(),
        "fclstm": _projection() | recurrent.layers("net_seq.rnn.", "encoder/lstm/"),
    }


def spelling(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Encoder and hidden layers in this file: the arguments `encoder` and `indices` of `table`.

    Raises:
        UserError: there is no regressor.
    """
    if "net_reg.fc_out.weight" not in state_dict:
        raise UserError(
            "the weights hold no regressor (net_reg.fc_out.weight) of this original. They hold "
            f"{listed(state_dict, 5) or 'nothing'}."
        )
    hits = (re.fullmatch(r"net_reg\.module\.(\d+)\.weight", name) for name in state_dict)
    nets = {name.split(".")[0] for name in state_dict}
    encoder = "transformer"
    if "net_fc" in nets:
        encoder = "transformer_lstm" if "net_te" in nets else "fclstm"
    elif "net_attn" in nets:
        encoder = "transformer_attention"
    return {"encoder": encoder, "indices": tuple(sorted(int(hit[1]) for hit in hits if hit))}


def table(
    tasks: Sequence[str], *, encoder: str, indices: Sequence[int], positions: str = "abaw4"
) -> Table:
    """Rules of the whole model.

    Args:
        tasks: one of TARGETS.
        encoder: as in models.multitask.
        indices: of the regressor's hidden layers, from `spelling` or `abaw4.head_indices` without
            dropout on its input.
        positions: of our encoder, where it has a transformer.

    Raises:
        UserError: the original has no such encoder, or does not predict these tasks.
    """
    encoders = _encoders(positions)
    if encoder not in encoders:
        raise UserError(
            f"the ABAW3 original has no encoder {encoder!r}. {nearest(encoder, encoders)}"
        )
    if tuple(tasks) not in TARGETS:
        known = [", ".join(target) for target in TARGETS]
        raise UserError(
            f"the ABAW3 original has no tasks {', '.join(tasks)}. "
            + nearest(", ".join(tasks), known)
        )
    head = abaw4.head("net_reg.", "joint/head/", indices)
    return encoders[encoder] | Table(tuple(_by_task(rule, len(tasks)) for rule in head.rules))


def _by_task(rule: Rule, tasks: int) -> Rule:
    """The output k of bin heads stands at k * tasks + t there, behind all of the tasks before here.

    Heads without bins have one output a task and stay as they are.
    """
    if "fc_out" not in rule.original:
        return rule

    def turned(rows: int, x: np.ndarray) -> np.ndarray:
        """[a * b, ...] as [b * a, ...], `rows` being a."""
        return x.reshape(rows, -1, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)

    return dataclasses.replace(
        rule,
        forward=lambda x: rule.forward(turned(len(x) // tasks, x)),
        backward=lambda x: turned(tasks, rule.backward(x)),
    )


def to_original(
    variables: Mapping[str, Any],
    tasks: Sequence[str],
    *,
    encoder: str,
    dropout: bool,
    positions: str = "abaw4",
) -> files.StateDict:
    """The state dict that the original loads, strictly.

    What it has and ours has not is written too: position tables, pooled branches and an attention
    net that is not in use, the last two as zeros.

    Args:
        variables: of models.multitask with structure "joint".
        tasks: one of TARGETS.
        encoder, positions: as in `table`.
        dropout: whether the original is built with a dropout rate above 0.

    Raises:
        UserError: the original has no such model.
    """
    params = variables["params"]
    layers = sum(name.startswith("hidden_") for name in params["joint"]["head"])
    indices = abaw4.head_indices(layers, dropout=dropout, input_dropout=False)
    names = table(tasks, encoder=encoder, indices=indices, positions=positions)
    state_dict = rules.to_original(names, variables)
    width = len(params["encoder"]["projection"]["bias"])
    if encoder != "fclstm":
        net = "net_te." if encoder == "transformer_lstm" else "net_seq."
        state_dict |= abaw4.beside(net, width, positions)
    if encoder == "transformer_attention":
        for name, shape in {
            "in_proj_weight": (3 * width, width),
            "in_proj_bias": (3 * width,),
            "out_proj.weight": (width, width),
            "out_proj.bias": (width,),
        }.items():
            state_dict.setdefault(f"net_attn.{name}", np.zeros(shape, np.float32))
    return state_dict
