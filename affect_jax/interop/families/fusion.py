"""The family "fusion": the two fusion models of team RAS's original (ABAW10).

Its names hold those of the modalities, "projections.<modality>.0.weight". Where a file calls the
behaviour or the face as the original's configs do, it is known under that name too.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from affect_jax.interop import files, ras, rules
from affect_jax.interop.rules import Rule, Table
from affect_jax.models.blocks.fusion_raav import log_priors
from affect_jax.models.fusion import streams_of
from data_pipelines.errors import UserError, shown

FUSERS = ("cross", "raav")
# Names of the original's configs: of its FusionModel, and of RAAV.
ALIASES = {"face": ("face_features",), "behaviour": ("llm_multimodal_featuress", "qwen_mm")}


def load(path: pathlib.Path, model: Any) -> files.StateDict:
    """The tensors of a file. UserError where there is none, or it is damaged."""
    del model
    return files.load(path)


def table(model: Any, tasks: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> Table:
    """Rules of the whole model.

    Raises:
        UserError: the original has no such model.
    """
    fuser, streams = model.fuser, streams_of(model)
    if fuser.name not in FUSERS:
        raise UserError(
            f"config.model.fuser.name = {fuser.name!r}: team RAS's original has "
            f"{' and '.join(FUSERS)}."
        )
    if tuple(tasks) != ras.TASKS or model.head.name != "norm":
        raise UserError(
            f"config.tasks = {shown(tuple(tasks))}: team RAS's original has valence and arousal, "
            "in this order, and config.model.head.name = 'norm'."
        )
    hidden = model.head.hidden
    if fuser.name == "cross":
        return cross(_named(streams, state_dict), hidden)
    tokens = tuple(fuser.tokens)
    if len(tokens) > 1:
        raise UserError("config.model.fuser.tokens: team RAS's original has one, sound.")
    frames = _named([name for name in streams if name not in tokens], state_dict)
    return raav(frames, dict(fuser.get("priors", {})), tokens)


def to_original(model: Any, tasks: Sequence[str], variables: Mapping[str, Any]) -> files.StateDict:
    """The state dict of the original's model, under our names of the modalities.

    Raises:
        UserError: the original has no such model.
    """
    state_dict = rules.to_original(table(model, tasks, {}), variables)
    if model.fuser.name == "raav":
        frames = [name for name in streams_of(model) if name not in tuple(model.fuser.tokens)]
        state_dict[PRIORS] = log_priors(tuple(frames), dict(model.fuser.get("priors", {})))
    return state_dict


def _named(modalities: Sequence[str], state_dict: Mapping[str, np.ndarray]) -> dict[str, str]:
    """{our name of a modality: the one in the file}."""
    theirs = {part for name in state_dict for part in name.split(".")[1:2]}
    known = ((name, (name, *ALIASES.get(name, ()))) for name in modalities)
    return {name: next((x for x in names if x in theirs), name) for name, names in known}


def cross(modalities: Mapping[str, str], hidden: int, unread: Sequence[str] = ()) -> Table:
    """Rules of the FusionModel.

    Args:
        modalities: {our name: name in the file}.
        hidden: width of the head's hidden layer; 0: none.
        unread: names in the file of modalities that are projected there, and that nothing reads.
    """
    own = Table(
        tuple(
            rule
            for ours, theirs in modalities.items()
            for rule in ras.projection(f"projections.{theirs}", f"fuser/projection_{ours}")
        ),
        unused={f"projections.{name}.*": "no layer reads this modality" for name in unread},
    )
    own |= ras.layers("transformer.{i}", "fuser/layer_{i}/layer")
    return own | Table(ras.head("head", "joint/head/", hidden))


PRIORS = "modality_log_priors"


def raav(
    frames: Mapping[str, str], priors: Mapping[str, float], tokens: Sequence[str] = ("audio",)
) -> Table:
    """Rules of RAAV.

    Args:
        frames: {our name of a modality of frames: name in the file}, in the order of the file.
        priors: {our name: share}, which must be those of the file.
        tokens: our name of the sound; () for a model without.
    """
    own = []
    for ours, theirs in frames.items():
        gate = f"frame_gate_mlps.{theirs}"
        own += rules.linear(f"frame_projectors.{theirs}", f"fuser/gate/projection_{ours}")
        own += rules.linear(f"{gate}.0", f"fuser/gate/hidden_{ours}")
        own += rules.linear(f"{gate}.3", f"fuser/gate/out_{ours}")
    context = "fuser/context"
    for name in tokens:
        own += rules.linear("audio_projector", f"{context}/projection_{name}")
    own.append(
        Rule("audio_latents", f"{context}/latents", lambda x: x[0], lambda x: x[None]),
    )
    own += ras.attention("audio_latent_attn", f"{context}/latent_attention")
    own += ras.attention("frame_to_audio_attn", f"{context}/frame_attention")
    own += rules.norm("norm_audio_latents", f"{context}/latent_norm")
    own += rules.norm("norm_frame_pre", f"{context}/frame_norm")
    own += rules.norm("norm_after_audio", f"{context}/out_norm")
    there, here = "temporal_encoder.layers.{i}", "fuser/layer_{i}"
    own += ras.attention(f"{there}.self_attn", f"{here}/attention")
    own += rules.linear(f"{there}.linear{{k}}", f"{here}/linear_{{k}}")
    own += rules.norm(f"{there}.norm{{k}}", f"{here}/norm_{{k}}")
    own += ras.head("head", "joint/head/", norm="input")
    shares = log_priors(tuple(frames), priors)
    return Table(tuple(own), constants={PRIORS: lambda shape: shares})
