"""Names of team RAS's original (ABAW10): face model, behaviour transformer and behaviour Mamba.

One state dict: "image_proj.0.weight", "transformer.0.self_attention.in_proj_weight", "head.4.bias".
Its head is a joint one (config.model.structure.name = "joint") of valence and arousal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, rules
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.transformer import position_table
from data_pipelines.errors import UserError, shown

TASKS = ("valence", "arousal")
GATES = ("bt", "bd", "t", "d")
# What the face model's checkpoints of a whole pipeline begin with.
PREFIX = "temporal."


def is_of(state_dict: Mapping[str, np.ndarray]) -> bool:
    """Does the state dict hold one of these models?"""
    return any(name.removeprefix(PREFIX).startswith("image_proj.") for name in state_dict)


def table(
    tasks: Sequence[str], model: Mapping[str, Any], state_dict: Mapping[str, np.ndarray] = {}
) -> Table:
    """Rules of the whole model.

    Args:
        tasks: those of the run.
        model: config.model, with encoder "dynamic" or "mamba" and the joint head "norm".
        state_dict: whose names may begin with `PREFIX`; without any: as the model's program saves.

    Raises:
        UserError: the original has no such model.
    """
    encoder, head_ = model["encoder"], dict(model["head"])
    if encoder["name"] not in ENCODERS:
        raise UserError(
            f"config.model.encoder.name = {shown(encoder['name'])}: team RAS's original has "
            f"{' and '.join(ENCODERS)}."
        )
    own_head = head_.get("name") == "norm" and head_.get("norm", "hidden") == "hidden"
    if tuple(tasks) != TASKS or model["structure"]["name"] != "joint" or not own_head:
        raise UserError(
            "team RAS's original has the tasks valence and arousal, in this order, "
            "config.model.structure.name = 'joint' and config.model.head.name = 'norm'."
        )
    prefix = PREFIX if any(name.startswith(PREFIX) for name in state_dict) else ""
    own = Table(projection(f"{prefix}image_proj", "encoder/projection"))
    own |= ENCODERS[encoder["name"]](prefix, encoder)
    return own | Table(head(f"{prefix}head", "joint/head/", head_.get("hidden", 0)))


def to_original(
    tasks: Sequence[str], model: Mapping[str, Any], variables: Mapping[str, Any]
) -> files.StateDict:
    """The state dict that the original loads, without its tables of positions and unused gates.

    Raises:
        UserError: the original has no such model.
    """
    return rules.to_original(table(tasks, model), variables)


def projection(original: str, path: str) -> tuple[Rule, ...]:
    """blocks.encoded.Projection."""
    return (
        *rules.linear(f"{original}.0", f"{path}/linear"),
        *rules.norm(f"{original}.1", f"{path}/norm"),
    )


def attention(original: str, path: str) -> tuple[Rule, ...]:
    """torch.nn.MultiheadAttention <-> blocks.cross_attention: rows q, k, v of one matrix."""
    weight = Rule(
        f"{original}.in_proj_weight",
        f"{path}/in_projection/kernel",
        rules.transposed,
        rules.transposed,
    )
    return (
        weight,
        Rule(f"{original}.in_proj_bias", f"{path}/in_projection/bias"),
        *rules.linear(f"{original}.out_proj", f"{path}/out_projection"),
    )


def layers(original: str, path: str) -> Table:
    """blocks.encoded.EncodedLayer; both names hold {i}, the number of the layer."""
    own = (
        *attention(f"{original}.self_attention", f"{path}/attention"),
        *rules.linear(f"{original}.feed_forward.layer_{{k}}", f"{path}/linear_{{k}}"),
        *rules.norm(f"{original}.add_norm_after_attention.norm", f"{path}/norm_1"),
        *rules.norm(f"{original}.add_norm_after_ff.norm", f"{path}/norm_2"),
    )
    return Table(own, constants={"*positional_encoding.pe": _positions})


def head(
    original: str, path: str, hidden: int = 1, norm: str = "hidden", input_dropout: bool = False
) -> tuple[Rule, ...]:
    """blocks.heads.NormHead, an nn.Sequential there; `path` ends in its separator.

    Args:
        hidden: 0: one linear layer.
        norm: as of NormHead.
        input_dropout: there is a layer of dropout between the norm and the first linear layer.
    """
    if not hidden:
        return rules.linear(original, f"{path}out")
    places = {"hidden": (0, 1, 4), "input": (1, 0, 4), "none": (0, None, 3)}
    first, place, last = places[norm]
    if input_dropout:
        first, last = first + 1, last + 1
    return (
        *rules.linear(f"{original}.{first}", f"{path}hidden"),
        *(() if place is None else rules.norm(f"{original}.{place}", f"{path}norm")),
        *rules.linear(f"{original}.{last}", f"{path}out"),
    )


def _positions(shape: tuple[int, ...]) -> np.ndarray:
    return position_table(*shape[-2:], "sinusoid").reshape(shape)


def _dynamic(prefix: str, encoder: Mapping[str, Any]) -> Table:
    gate = encoder.get("gate", "none")
    own = layers(f"{prefix}transformer.{{i}}", "encoder/layer_{i}")
    # The original makes the parameters of all four gates where it has one.
    unused = {
        f"{prefix}{other}_gates.*": f"the gate is {gate!r}" for other in GATES if other != gate
    }
    if gate in GATES:
        linear = gate in ("bt", "bd")  # x W in both, no torch.nn.Linear
        path = "encoder/gate_{i}" + ("/kernel" if linear else "")
        own |= Table((Rule(f"{prefix}{gate}_gates.{{i}}", path),))
    return own | Table((), unused=unused)


def _mamba(prefix: str, encoder: Mapping[str, Any]) -> Table:
    if (own := encoder.get("discretisation", "zoh")) != "ras":
        raise UserError(
            f"config.model.encoder.discretisation = {own!r}: the original's weights are for 'ras'."
        )
    return Table(mamba_block(f"{prefix}mamba.{{i}}.", "encoder/block_{i}/"))


def mamba_block(original: str, path: str) -> tuple[Rule, ...]:
    """blocks.mamba.MambaBlock; both end in their separator."""
    names = {
        "in_proj": "in_projection",
        "out_proj": "out_projection",
        "s_B": "input",
        "s_C": "output",
        "s_D.0": "step_1",
        "s_D.1": "step_2",
    }
    return (
        *(
            Rule(
                *(f"{original}{there}.weight", f"{path}{here}/kernel"),
                *(rules.transposed, rules.transposed),
            )
            for there, here in names.items()
        ),
        *rules.conv(f"{original}conv", f"{path}convolution"),
        Rule(f"{original}A", f"{path}decay"),
        Rule(f"{original}D", f"{path}skip"),
        *rules.norm(f"{original}add_norm.norm", f"{path}norm"),
    )


ENCODERS: dict[str, Callable[[str, Mapping[str, Any]], Table]] = {
    "dynamic": _dynamic,
    "mamba": _mamba,
}
