"""The family "speech_steps": the RAS original's audio model, and what its backbone begins with.

A tensor of the original is called "backbone.<name in the backbone>", "pool.<...>" or "head.<...>".
A file of a backbone alone has its names bare; in an emotion model by Hugging Face's "ser" pipeline
(3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes) they stand below "ssl_model.".
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, published, rules, speech
from affect_jax.interop.ras import TASKS
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.speech.chosen import speech_config
from data_pipelines.errors import UserError, shown

STEPS = 4  # of a window, whatever its labels are
_OF_PIPELINE = "ssl_model."
_UNUSED = dict.fromkeys(("pool_model.*", "ser_model.*"), "pooling and head of the emotion model")


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file, of a published model's folder, or of one in the Hub's cache.

    Raises:
        UserError: there is none, it is damaged, or a config.json beside it is of another backbone.
    """
    found = published.find(path)
    tensors = found.load()
    if not _in_pipeline(tensors):  # its config.json is that of the pipeline
        found.require(speech_config(model.backbone))
    return tensors


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules for a whole model, or for a backbone alone where the state dict is of one.

    Raises:
        UserError: the original predicts other tasks, or in another order.
    """
    if any(name.startswith("backbone.") for name in state_dict):
        return _whole(model, tasks)
    prefix = _OF_PIPELINE if _in_pipeline(state_dict) else ""
    backbone = speech.table(speech_config(model.backbone), prefix=prefix, path="backbone/")
    return backbone | Table((), _UNUSED) if prefix else backbone


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original's model.

    Raises:
        UserError: the original predicts other tasks, in another order, or other steps.
    """
    if model.steps != STEPS:
        raise UserError(f"config.model.steps = {model.steps}: the original has {STEPS} of them.")
    return rules.to_original(_whole(model, tasks), variables)


def head(prefix: str = "", path: str = "") -> Table:
    """Rules of pooling and head; both prefixes end in their separator."""
    score = f"{path}pool/score/kernel"
    return Table(
        (
            *rules.linear(f"{prefix}pool.proj.0", f"{path}pool/hidden"),
            Rule(f"{prefix}pool.proj.3.weight", score, rules.transposed, rules.transposed),
            *rules.norm(f"{prefix}head.0", f"{path}head/norm"),
            *rules.linear(f"{prefix}head.2", f"{path}head/hidden"),
            *rules.linear(f"{prefix}head.5", f"{path}head/out"),
        )
    )


def _whole(model: Any, tasks: Sequence[str]) -> Table:
    if tuple(tasks) != TASKS:
        raise UserError(
            f"config.tasks = {shown(tuple(tasks))}: the original predicts {' and '.join(TASKS)}, "
            "in this order."
        )
    config = speech_config(model.backbone)
    return speech.table(config, prefix="backbone.", path="backbone/") | head()


def _in_pipeline(state_dict: Mapping[str, np.ndarray]) -> bool:
    return any(name.startswith(_OF_PIPELINE) for name in state_dict)
