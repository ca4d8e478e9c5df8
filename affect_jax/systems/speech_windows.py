"""Supervised training on windows of sound, whose labels are those of a few steps in each.

In training the labels of a window's frames become one a step, which is what the model predicts; in
evaluation it gives values for the frames themselves, and overlapping windows are put together as
any others. Keys: `config.audio` (configs/audio_keys.py), of which those for clips stay off.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from affect_jax.feed import Batch
from affect_jax.systems.audio import Audio
from data_pipelines.audio import RATE
from data_pipelines.errors import UserError


def build(config: ConfigDict, **given: Any) -> SpeechWindows:
    """The system of a config, as systems.build."""
    return SpeechWindows(config, **given)


class SpeechWindows(Audio):
    """Models of sound that predict `config.model.steps` steps of each window."""

    times = True

    def __init__(self, config: ConfigDict, **given: Any):
        """Open the data and build the model, as Audio.

        Raises:
            UserError: also for clips, and for tasks that have no mean over a step.
        """
        if config.data.clips:
            raise UserError("config.data.clips: speech_windows reads windows in time. Set false.")
        if "steps" not in config.model:
            raise UserError(
                f"config.model.name = {config.model.name!r}: predicts no steps, which "
                "config.system = 'speech_windows' trains. Take speech_steps, or system = 'audio'."
            )
        super().__init__(config, **given)
        for key in ("mixup", "own_culture"):
            if config.audio[key]:
                raise UserError(f"config.audio.{key}: is for clips. Leave it off.")
        if not self._sounds:
            raise UserError(
                f"config.model.features: {config.model.features[0]!r} is no sound, a stream of "
                "single numbers at a rate."
            )
        for task in self.tasks:
            if task.kind != "values":
                raise UserError(
                    f"config.task.{task.name}.kind = {task.kind!r}: a step has the mean of its "
                    "labels, so that only values are trained."
                )

    def prepare(self, batch: Batch, keys: jax.Array | None, train: bool) -> Batch:
        """Examples as Audio prepares them, with labels of steps where `train`."""
        return super().prepare(self._in_steps(batch) if train else batch, keys, train)

    def _in_steps(self, batch: Batch) -> Batch:
        """The batch with labels, label_mask and mask on the steps [B, S], without `times`.

        A step's label is the mean of the labelled frames whose middle falls into it, those that
        reach beyond the window into the last. It is missing where there is none, or no sound in its
        middle.
        """
        sound = batch["inputs_mask"][self._sounds[0]]
        steps, samples = self.config.model.steps, sound.shape[1]
        # A frame whose middle is a border, as at 25 a second, is the later step's, also rounded.
        step_bt = jnp.floor(batch["times"] * (RATE * steps / samples) + 1e-3).astype(jnp.int32)
        within_bts = jnp.clip(step_bt, 0, steps - 1)[..., None] == jnp.arange(steps)
        middles = ((np.arange(steps) + 0.5) * samples / steps).astype(np.int64)
        heard = sound[:, middles]
        labels, masks = {}, {}
        for name, label in batch["labels"].items():
            mask = batch["label_mask"][name]
            of_step = within_bts[..., None] & mask[:, :, None]
            count = of_step.sum(1)
            total = jnp.where(of_step, label[:, :, None], 0).sum(1)
            labels[name] = total / jnp.maximum(count, 1)
            masks[name] = (count > 0) & heard[..., None]
        mask = batch["mask"].any(1)[:, None] & jnp.ones(steps, bool)
        rest = {key: x for key, x in batch.items() if key != "times"}
        return rest | {"labels": labels, "label_mask": masks, "mask": mask}
