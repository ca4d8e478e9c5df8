"""Model families, a file each, composed of blocks/. A config names one by its file.

A model is a Linen module, called as

    model.apply(variables, batch, carry=None, train=False, progress=0.0, rngs={"dropout": key})

It returns an `Output` and knows no losses. `progress` in [0, 1] is the part of the training that is
done. Shapes of inputs and masks: data_pipelines/gather.py. One that has `of_frames` set reads
nothing but features of frames: clips, and streams with rows of their own, are refused, but for the
streams that its `own_rows` names. One whose
tasks read what it predicts of others has `taught`, the names of these tasks: in evaluation, of a
batch with labels, it gives an array "taught/<task>" for each, predicted from the labels of the
others, where they exist, in the place of their predictions. One that predicts from pictures of
frames may give an array "frame_wise/<task>" for every task, predicted from each picture alone,
which --mode=explain shows beside what it predicts in time.
"""

from __future__ import annotations

import copy
import importlib
import pkgutil
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
from ml_collections import ConfigDict

from data_pipelines.errors import UserError, nearest

# What the names of such arrays begin with.
TAUGHT = "taught/"
FRAME_WISE = "frame_wise/"


@flax.struct.dataclass
class Output:
    """Predictions of a model, and what it hands on.

    Attributes:
        predictions: {task: raw}: values [B, T, K], logits [B, T, C], [B, T, K] or [B, T, K, C];
            float32.
        carry: what the next segment of the same tracks starts from, leaves [B, ...]; None without.
        aux: optional "losses" {name: scalar}, added with their weights by the loop; "arrays"
            {name: [B, T, ...] or [B, ...]}, collected by who asks for them (predict.Predictor); and
            "means" {name: {"sum", "count": scalar}}, whose sum / count over a split is logged
            beside its scores.
    """

    predictions: dict[str, jax.Array]
    carry: Any = None
    aux: Mapping[str, Any] = flax.struct.field(default_factory=dict)


def build(config: Any, tasks: Sequence[Any], known: Collection[str] = ()) -> nn.Module:
    """The module of `config.model`, with a head for each task.

    Args:
        config: `name` is a file of this folder, whose `build` is called; the other keys are that
            file's own.
        tasks: with `name` and `raw_shape`, that of a frame's predictions (affect_jax.tasks.Task).
        known: tasks that are defined, though a run may leave some out. Lists of tasks in `config`
            (`OF_TASKS` of the file, as "group.key") may name these too.

    Raises:
        UserError: config.model.name is no model family, or one of its keys is wrong.
    """
    families = [module.name for module in pkgutil.iter_modules(__path__) if module.name != "blocks"]
    if config.name not in families:
        raise UserError(f"config.model.name = {config.name!r}: {nearest(config.name, families)}")
    family = importlib.import_module(f"{__name__}.{config.name}")
    absent = set(known) - {task.name for task in tasks}
    return family.build(_without(config, absent, getattr(family, "OF_TASKS", ())), tasks)


def _without(config: Any, absent: Collection[str], keys: Sequence[str]) -> Any:
    """The config with these tasks left out of its lists of tasks."""
    config = copy.deepcopy(config)
    for group, _, key in (name.partition(".") for name in keys):
        part = config.get(group)
        names = part.get(key) if isinstance(part, Mapping | ConfigDict) else None
        if isinstance(names, tuple | list):
            part[key] = type(names)(name for name in names if name not in absent)
    return config
