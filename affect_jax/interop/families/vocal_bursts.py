"""The family "vocal_bursts": the A-VB original, backbone and head in one state dict.

A tensor is called "feature_extractor.<name in the backbone>" or "classifier.<name in the head>".
A file of a backbone alone has its names bare.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, published, rules, speech
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.speech.chosen import speech_config
from affect_jax.models.vocal_bursts import STORED
from data_pipelines.errors import UserError, shown

# The challenge's names of the tasks and the original's, in the original's order.
TASKS = {"type": "voc_type", "two": "low", "high": "high", "culture": "culture_emotion"}
# Of the original's heads, as they are called here: "attention" and "max" of its BRANCH take the
# last frame, "max" of the others the mean.
POOLINGS = dict.fromkeys(("vanilla", "chain"), ("attention", "mean")) | dict.fromkeys(
    ("branch", "branch_v2"), ("last", "mean")
)
HEADS = 8  # of attention in its BRANCH, which no tensor shows
_OUTPUTS = {
    "type": "voc_type_classifier",
    "two": "low_regressor",
    "high": "high_regressor",
    "culture": "culture_regressor",
}


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file, of a published backbone's folder, or of one in the Hub's cache.

    Raises:
        UserError: there is none, it is damaged, or a config.json beside it is of another backbone.
    """
    found = published.find(path)
    if model.backbone.model_type != STORED:
        found.require(speech_config(model.backbone))
    return found.load()


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules for a whole model, or for a backbone alone where the state dict is of one.

    Raises:
        UserError: the original has its tasks in another order, and that matters; or its head has no
            such pooling.
    """
    if any(name.startswith("feature_extractor.encoder.") for name in state_dict):
        return _whole(model, tasks)
    return speech.table(speech_config(model.backbone), path="backbone/")


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original's model.

    Raises:
        UserError: the original has no such model.
    """
    if model.backbone.model_type == STORED:
        raise UserError("a model of stored hidden states has no backbone, which the original has.")
    return rules.to_original(_whole(model, tasks), variables)


def _whole(model: Any, tasks: Sequence[str]) -> Table:
    # In these a task reads what comes of the ones before it.
    if model.head.name in ("chain", "branch") and list(tasks) != list(TASKS):
        raise UserError(
            f"config.tasks = {shown(tuple(tasks))}: the original's {model.head.name} goes "
            f"{', '.join(TASKS)}."
        )
    known = POOLINGS[model.head.name]
    if model.head.pooling not in known:
        raise UserError(
            f"config.model.head.pooling = {model.head.pooling!r}: the original's {model.head.name} "
            f"has {' and '.join(known)}."
        )
    if model.head.get("heads", HEADS) != HEADS:
        raise UserError(
            f"config.model.head.heads = {model.head.heads}: the original has {HEADS} of them."
        )
    config = speech_config(model.backbone)
    backbone = speech.table(config, prefix="feature_extractor.", path="backbone/")
    return backbone | head(model.head.name, "classifier.", "head/")


def head(name: str, prefix: str = "", path: str = "") -> Table:
    """Rules of one of models.vocal_bursts.HEADS; both prefixes end in their separator."""
    return Table(tuple(_HEADS[name](prefix, path)))


def _vanilla(prefix: str, path: str) -> list[Rule]:
    own = [
        rule
        for i, (task, name) in enumerate(TASKS.items())
        for rule in (
            _scores(f"{prefix}pools.{i}", f"{path}pool_{task}"),
            *_network(f"{prefix}{name}_model", f"{path}task_{task}"),
        )
    ]
    return own


def _chain(prefix: str, path: str) -> list[Rule]:
    return [
        _scores(f"{prefix}pools", f"{path}pool"),
        *(
            rule
            for task, name in TASKS.items()
            for rule in _network(f"{prefix}{name}_encoder", f"{path}task_{task}")
        ),
    ]


def _branch(prefix: str, path: str) -> list[Rule]:
    own = list(rules.linear(f"{prefix}conv_mapping.0", f"{path}convolutions"))
    for i, (task, name) in enumerate(_OUTPUTS.items()):
        here = f"{path}task_{task}"
        own += rules.linear(f"{prefix}transformer_mappings.{i}.0", f"{path}mapping_{task}")
        own += _attention(f"{prefix}mhas.{i}", f"{path}attention_{task}")
        own += rules.batch_norm(f"{prefix}{name}.0", f"{here}/hidden_norm")
        own += _out(f"{prefix}{name}", here, 2)
    return own


def _branch_v2(prefix: str, path: str) -> list[Rule]:
    own = list(rules.linear(f"{prefix}transformer_mappings.{{i}}.0", f"{path}mapping_{{i}}"))
    for k, (task, name) in enumerate(_OUTPUTS.items()):
        there, here = f"{prefix}tans.{k}.", f"{path}tower_{task}/"
        own += _attention(f"{there}mhas.{{i}}", f"{here}attention_{{i}}")
        own += rules.norm(f"{there}lns.{{i}}", f"{here}norm_{{i}}")
        own += _out(f"{prefix}{name}", f"{path}task_{task}", 0)
    return own


_HEADS: dict[str, Callable[[str, str], list[Rule]]] = {
    "vanilla": _vanilla,
    "chain": _chain,
    "branch": _branch,
    "branch_v2": _branch_v2,
}


def _scores(original: str, path: str) -> Rule:
    """Attention pooling."""
    return Rule(f"{original}.weight", f"{path}/score/kernel", rules.transposed, rules.transposed)


def _network(original: str, path: str) -> tuple[Rule, ...]:
    """Linear, batch norm, GELU, linear, batch norm."""
    return (
        *rules.linear(f"{original}.0", f"{path}/hidden"),
        *rules.batch_norm(f"{original}.1", f"{path}/hidden_norm"),
        *_out(original, path, 3),
    )


def _out(original: str, path: str, index: int) -> tuple[Rule, ...]:
    """The last linear layer, at this place of the original's sequence, and its batch norm."""
    return (
        *rules.linear(f"{original}.{index}", f"{path}/out"),
        *rules.batch_norm(f"{original}.{index + 1}", f"{path}/out_norm"),
    )


def _attention(original: str, path: str) -> tuple[Rule, ...]:
    """torch.nn.MultiheadAttention: rows q, k, v of one matrix on both sides."""
    projection = f"{path}/in_projection"
    return (
        Rule(
            f"{original}.in_proj_weight", f"{projection}/kernel", rules.transposed, rules.transposed
        ),
        Rule(f"{original}.in_proj_bias", f"{projection}/bias"),
        *rules.linear(f"{original}.out_proj", f"{path}/out_projection"),
    )
