"""ABAW4: the whole model of a fixture and the batches that it reads, from meta.json.

The original's own ways are reproduced here, from outside: only its fft encoder knows which frames
are padding (the others get a mask of ones), and models without a shared encoder read the features.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax import interop, models
from affect_jax.tasks import Task
from tests.golden.adapters.abaw4_recurrent import BothWays
from tests.golden.fixture import Fixture

# The original's short names of the tasks, and of its nets, as ours.
TASKS = {"v": "valence", "a": "arousal", "expr": "expression", "au": "au"}
SUBNETWORKS = {"_seq": "encoder", "_layer_norm": "feature_norm"} | {
    net: task for task, net in interop.abaw4.NETS.items()
}
Segment = dict[str, np.ndarray]


def build(fixture: Fixture, names: tuple[str, ...] = tuple(TASKS)) -> nn.Module:
    """The model with heads for these tasks; all four by default, as the original has them."""
    config = fixture.meta["config"]
    kinds = {"v": "values", "a": "values", "expr": "classes", "au": "labels"}
    tasks = [Task(TASKS[n], kinds[n], _outputs(fixture, n)) for n in names]
    model = models.build(_model_config(config), tasks)
    if config["model"] == "lstm" and config.get("bidirection"):
        model = model.clone(encoder=functools.partial(BothWays, "lstm", model.encoder().hidden))
    if not _has_encoder(config):
        model = model.clone(encoder=lambda name: lambda x, mask, carry, train: (x, carry))
    if _sees_padding(config):
        structure = model.structure
        model = model.clone(
            structure=lambda x, mask, *rest: structure(x, jnp.ones_like(mask), *rest)
        )
    return model


def inputs(config: dict[str, Any], segment: Segment) -> dict[str, Any]:
    """A batch of ours from a segment of theirs."""
    mask = (segment["mask"] > 0) | (not _sees_padding(config))
    return {"inputs": {"all": segment["feature"]}, "mask": mask}


def _sees_padding(config: dict[str, Any]) -> bool:
    return _has_encoder(config) and config.get("encoder_type") == "fft"


def _has_encoder(config: dict[str, Any]) -> bool:
    structure = config.get("structure", "original")
    if structure == "share_bottom":
        return config["num_layers"] > config["share_layers"]
    return structure != "only_classifier"


def _outputs(fixture: Fixture, name: str) -> int:
    net = interop.abaw4.NETS[TASKS[name]]
    output = rf"net{net}\..*fc_out\.weight"
    return next(x.shape[0] for n, x in fixture.weights.items() if re.fullmatch(output, n))


def _model_config(config: dict[str, Any]) -> ConfigDict:
    return ConfigDict(
        dict(
            name="multitask",
            features=("all",),
            feature_norm=bool(config.get("feature_layer_norm", False)),
            structure=_structure(config),
            dtype="float32",
            encoder=_encoder(config),
            head=dict(
                layers=tuple(int(w) for w in str(config["regress_layers"]).split(",")),
                dropout=0.0,
            ),
        )
    )


def _encoder(config: dict[str, Any]) -> dict[str, Any]:
    width = config["hidden_size"]
    width = width if width > 0 else min(config["input_dim"] // 2, 512)
    if config["model"] in ("lstm", "gru"):
        # The GRU has two layers, whatever its options say.
        return dict(name=config["model"], hidden=width, layers=1 + (config["model"] == "gru"))
    common = dict(
        hidden=width,
        heads=config["nhead"],
        dropout=0.0,
        layers=config["num_layers"],
    )
    if config.get("structure") == "share_bottom":
        common["layers"] = max(0, config["num_layers"] - config["share_layers"])
    if config["encoder_type"] == "fft":
        return common | dict(name="relative")
    return common | dict(name="transformer") | _blocks(config)


def _blocks(config: dict[str, Any]) -> dict[str, Any]:
    return dict(ffn=config["ffn_dim"], positions="abaw4" if config["use_pe"] else "none")


def _structure(config: dict[str, Any]) -> dict[str, Any]:
    structure: dict[str, Any] = dict(name="se")
    if config.get("structure") == "share_bottom":
        structure = dict(
            name="sbe",
            layers=config["share_layers"],
            head_dim=config.get("task_head_dim", 64),
            dropout=0.0,
            **_blocks(config),
        )
    if config.get("strategy") == "feature_feedback":
        structure["sources"] = tuple(TASKS[name] for name in config["feed_source"])
        structure["targets"] = tuple(TASKS[name] for name in config["feed_target"])
    return structure
