"""The audio branch of RAS: the sound of a window -> speech transformer -> a few steps of time.

Each of the steps is pooled by itself and gives the values of all tasks. A batch that says when its
frames are shown ("times") gets values for its frames, on lines between the middles of the steps;
one that does not gets the steps.

Source: arXiv 2603.13056 and its released code. The backbone: models/blocks/speech.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from affect_jax.config import require_kind
from affect_jax.models import Output
from affect_jax.models.blocks import choose
from affect_jax.models.blocks.heads import NormHead
from affect_jax.models.blocks.resample import resample_steps
from affect_jax.models.blocks.speech.chosen import is_masked, speech_backbone
from affect_jax.models.blocks.step_pooling import StepPool
from affect_jax.models.blocks.streams import stream
from data_pipelines.audio import RATE
from data_pipelines.errors import UserError, shown

KEYS = ("name", "features", "dtype", "padding", "backbone", "steps", "pool", "head")


class SpeechSteps(nn.Module):
    """Windows of sound in, raw predictions of every task out.

    First keys of the parameters: backbone, pool (of the kinds with attention), head.

    Attributes:
        feature: the stream of sound.
        masked: padding is no part of anything; else it is heard, as by the original.
        backbone, pool, head: make the parts, called with name=.
        shapes: {task: shape of its raw predictions of a step}.
    """

    feature: str
    masked: bool
    backbone: Callable[..., nn.Module]
    pool: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    shapes: Mapping[str, tuple[int, ...]]

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, T, *shape) on the frames of a batch with `times`, else (batch, S,
        *shape) on the steps; the array "embedding" (batch, T or S, width) is what the last layer
        reads. A step without sound takes the value of the nearest one that has some.

        Raises:
            UserError: the data are clips, lack the stream, or have too little sound.
        """
        del progress
        if batch["mask"].ndim != 2:
            raise UserError("config.data.clips: the model speech_steps reads windows. Set false.")
        audio, valid = stream(batch, self.feature)
        output = self.backbone(name="backbone")(audio, valid if self.masked else None, train)
        mask = output.mask if self.masked else jnp.ones(output.last.shape[:2], bool)
        x, there = self.pool(name="pool")(output.last, mask, train)
        raw, embedding = self.head(name="head")(x, train)
        embedding = embedding.astype(jnp.float32)
        if "times" in batch:
            share = batch["times"] * RATE / audio.shape[1]
            raw, embedding = (resample_steps(y, share, there) for y in (raw, embedding))
        predictions, start = {}, 0
        for task, shape in self.shapes.items():
            stop = start + math.prod(shape)
            predictions[task] = raw[..., start:stop].reshape(*raw.shape[:2], *shape)
            start = stop
        return Output(predictions, carry, {"arrays": {"embedding": embedding}})


def build(config: Any, tasks: Sequence[Any]) -> SpeechSteps:
    """The module of a `config.model` with name "speech_steps" (keys: configs/ras_audio.py).

    Raises:
        UserError: names the key that is wrong.
    """
    choose.require_keys(config, KEYS)
    require_kind("config.model.features", config.features, tuple[str, ...])
    require_kind("config.model.steps", config.steps, int)
    for key in ("backbone", "pool", "head"):
        if not isinstance(config[key], Mapping | ConfigDict):
            raise UserError(f"config.model.{key} = {shown(config[key])}: expected a group of keys.")
    if len(config.features) != 1:
        raise UserError(
            f"config.model.features = {shown(tuple(config.features))}: expected the stream of "
            "sound."
        )
    if config.steps < 1:
        raise UserError(f"config.model.steps = {config.steps}: expected 1 or more.")
    if not tasks:
        raise UserError("config.tasks is empty: speech_steps needs at least one task.")
    dtype = choose.entry("config.model.dtype", config.dtype, choose.DTYPES)
    masked = is_masked(config.padding)
    shapes = {task.name: task.raw_shape for task in tasks}
    size = sum(map(math.prod, shapes.values()))
    given = dict(size=size, norm="input", dtype=dtype)
    return SpeechSteps(
        feature=config.features[0],
        masked=masked,
        backbone=speech_backbone(config.backbone, masked, dtype),
        pool=choose.part("config.model.pool", StepPool, dict(config.pool), steps=config.steps),
        head=choose.part("config.model.head", NormHead, dict(config.head), **given),
        shapes=shapes,
    )
