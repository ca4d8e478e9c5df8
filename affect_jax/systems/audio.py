"""Supervised training on raw sound: level of a clip, changes in training, labels of a culture.

Keys: `config.audio` (configs/audio_keys.py). Sound is a stream of single numbers at 16 kHz; a
config without such a stream, on stored hidden states say, leaves level and changes off.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from affect_jax import padding, sharding
from affect_jax.augment import augment, mixup, steps_of
from affect_jax.config import require_kind
from affect_jax.feed import Batch
from affect_jax.models.blocks import choose
from affect_jax.systems.supervised import Supervised
from data_pipelines.audio import RATE
from data_pipelines.errors import UserError, listed

_log = logging.getLogger(__name__)

KEYS = ("level", "own_culture", "augment", "mixup")
RMS = 0.1
SILENCE = 1e-5  # below a step of int16: nothing softer is blown up
LEAST_VARIANCE = 1e-7  # as the feature extractor of published speech models has it


def build(config: ConfigDict, **given: Any) -> Audio:
    """The system of a config, as systems.build."""
    return Audio(config, **given)


class Audio(Supervised):
    """Models of sound, which is changed at random in training and brought to a level."""

    def __init__(self, config: ConfigDict, **given: Any):
        """Open the data and build the model, as Supervised.

        Raises:
            UserError: also for a key of config.audio, or a store that does not fit it.
        """
        audio = config.get("audio", {})
        for key in KEYS:
            if key not in audio:
                raise UserError(f"config.audio.{key} is missing. All keys: configs/audio_keys.py.")
        require_kind("config.audio.own_culture", audio.own_culture, bool)
        require_kind("config.audio.mixup", audio.mixup, float)
        if audio.mixup < 0:
            raise UserError(f"config.audio.mixup = {audio.mixup}: expected a number from 0 on.")
        if audio.own_culture and "culture" not in config.tasks:
            raise UserError("config.audio.own_culture: config.tasks has no 'culture'. Set false.")
        self._level = choose.entry("config.audio.level", audio.level, LEVELS)
        self._steps = steps_of(audio.augment)
        self.more_labels = ("country",) if audio.own_culture else ()
        super().__init__(config, **given)
        self._sounds = self._require_sounds()
        for task in self.tasks if audio.mixup else ():
            if "balanced_ce" in task.loss:
                raise UserError(
                    f"config.task.{task.name}.loss = {task.loss!r}: not with config.audio.mixup, "
                    "which makes shares of classes. Take ce."
                )

    def _require_sounds(self) -> list[str]:
        """Names of the streams that are sound."""
        store, audio = self.data.store, self.config.audio
        features = {name: store.features[name] for name in self.data.features}
        names = [n for n, one in features.items() if one.axis == "rate" and not one.shape]
        for name in names:
            if features[name].rate != RATE:
                raise UserError(
                    f"{store.path}: feature {name!r} has {float(features[name].rate):g} samples a "
                    f"second, expected {RATE}. Prepare its files again."
                )
        on = {"level": audio.level != "none", "augment": self._steps, "mixup": audio.mixup}
        for key in on if not names else ():
            if on[key]:
                raise UserError(
                    f"config.audio.{key}: none of config.model.features {list(features)} is sound. "
                    "Leave it off, or name one that is."
                )
        return names

    def make_model(self) -> nn.Module:
        """The module of `config.model`, whose transforms each device does for its own rows."""
        model = super().make_model()
        if hasattr(model, "spread"):
            model = model.clone(spread=functools.partial(sharding.by_rows, mesh=self.data.mesh))
        return model

    @functools.cached_property
    def model_config(self) -> ConfigDict:
        """`config.model`; padding "auto" is heard by weights that heard it, else masked."""
        model, init, hears = self.config.model, self.config.init, padding.heard(self.config)
        before = padding.heard_before(self.config)
        if None not in (hears, before) and hears != before:
            ours, theirs, key = "masked", "hears", "heard"
            if hears:
                ours, theirs, key = "heard", "masks", "masked"
            _log.warning(
                f"padding is {ours}, but {init.run}, which this run begins with, {theirs} it: give "
                f"--config.model.padding={key} to go on so"
            )
        if model.get("padding") != "auto":
            return model
        model = model.copy_and_resolve_references()
        model.padding = "heard" if hears else "masked"
        if hears:
            _log.info(
                "padding is heard, as published models with a group norm (%s) hear it, so that a "
                "clip's answer depends on the length it is padded to; config.model.padding = "
                "'masked' makes it independent",
                init.weights,
            )
        return model

    def prepare(self, batch: Batch, keys: jax.Array | None, train: bool) -> Batch:
        """Examples with sound float32 at its level, changed where `train`; padding is 0."""
        batch = super().prepare(batch, keys, train)
        inputs = dict(batch["inputs"])
        changed = functools.partial(augment, steps=self._steps, rate=RATE)
        for name in self._sounds:
            x, mask = inputs[name], batch["inputs_mask"][name]
            if train and self._steps:
                x = sharding.by_rows(changed, self.data.mesh)(x, mask, keys)
            inputs[name] = self._level(x, mask)
        batch = batch | {"inputs": inputs}
        if not train:
            return batch
        batch = batch | {"label_mask": self._own_culture(batch)}
        if not self.config.audio.mixup:
            return batch
        classes = {task.name: task.size for task in self.tasks if task.kind == "classes"}
        size = self.config.data.batch_size
        return mixup(batch, self._sounds, classes, keys, self.config.audio.mixup, size)

    def _own_culture(self, batch: Batch) -> dict[str, jax.Array]:
        """Masks of labels: with config.audio.own_culture, no other country's columns of culture."""
        masks = batch["label_mask"]
        if not self.more_labels:
            return masks
        country, known = batch["labels"]["country"], masks["country"]
        foreign = known[:, None] & (country[:, None] != self._column_country)
        return masks | {"culture": masks["culture"] & ~foreign}

    @functools.cached_property
    def _column_country(self) -> np.ndarray:
        """int [K]: the country of each column of culture, by the beginning of its name."""
        store = self.data.store
        countries = [name.replace(" ", "") for name in store.labels["country"].names]
        columns = [name.replace(" ", "") for name in store.labels["culture"].names]
        beginning = [column.partition("_")[0] for column in columns]
        for column, of in zip(columns, beginning, strict=True):
            if of not in countries:
                raise UserError(
                    f"{store.path}: label 'culture', column {column}: begins with no country of "
                    f"label 'country', {listed(countries)}."
                )
        return np.array([countries.index(of) for of in beginning])


def _rms(x: jax.Array, mask: jax.Array) -> jax.Array:
    power = (x**2).sum(-1) / jnp.maximum(mask.sum(-1), 1)
    return x * (RMS / jnp.maximum(jnp.sqrt(power), SILENCE))[:, None]


def _peak(x: jax.Array, mask: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.abs(x).max(-1), SILENCE)[:, None]


def _standard(x: jax.Array, mask: jax.Array) -> jax.Array:
    count = jnp.maximum(mask.sum(-1, keepdims=True), 1)
    x = jnp.where(mask, x - x.sum(-1, keepdims=True) / count, 0)
    return x / jnp.sqrt((x**2).sum(-1, keepdims=True) / count + LEAST_VARIANCE)


# Levels: (sound [B, S], zero where it does not exist, bool [B, S]) -> the same sound at its level.
LEVELS = {"none": lambda x, mask: x, "rms": _rms, "peak": _peak, "standard": _standard}
