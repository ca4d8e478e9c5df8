"""Padding of sound, which a model masks or hears: what config.model.padding = "auto" comes to."""

from __future__ import annotations

import logging

from ml_collections import ConfigDict

from affect_jax.config import read
from affect_jax.run import Run
from affect_jax.workdir import Workdir

_log = logging.getLogger(__name__)


def heard(config: ConfigDict) -> bool | None:
    """True where the config's model hears padding; None where padding is no key of it.

    Published models with a group norm were trained without a mask, those without it with one.
    """
    padding = config.model.get("padding")
    if padding != "auto":
        return None if padding is None else padding == "heard"
    return bool(config.init.weights) and config.model.backbone.get("feat_extract_norm") == "group"


def heard_before(config: ConfigDict) -> bool | None:
    """True or False as `heard`, of the run `config.init.run`; None where there is none."""
    begun = Run(config.init.run) if config.init.run else None
    return heard(read(begun.config_file)) if begun and begun.exists else None


def settled(config: ConfigDict, run: Workdir) -> ConfigDict:
    """The config with padding "auto" written out where `config.init.run` hears padding.

    The run keeps it, as the one that it began with may be gone later; once it has started, "auto"
    is what it keeps.

    Args:
        run: of this config.
    """
    if config.model.get("padding") != "auto":
        return config
    if run.exists and run.started:
        padding = read(run.config_file).model.get("padding", "auto")
    elif heard_before(config):
        padding = "heard"
        _log.info("padding is heard, as by %s, which this run begins with", config.init.run)
    else:
        return config
    config = config.copy_and_resolve_references()
    config.model.padding = padding
    return config
