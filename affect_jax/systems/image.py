"""Supervised training on pictures: random changes in training, crops, several views in evaluation.

Keys: `config.image` (configs/image_keys.py). A picture is a track of one frame, fed as a clip.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from affect_jax.augment_images import Changes, augment, centre, ten_crops
from affect_jax.config import require_kind
from affect_jax.feed import Batch
from affect_jax.systems.supervised import Supervised
from data_pipelines.errors import UserError, nearest, shown

VIEWS = (1, 10)
LATER = {"mean": (0.0,), "std": (1.0,)}  # keys that older runs lack


def build(config: ConfigDict, **given: Any) -> Image:
    """The system of a config, as systems.build."""
    return Image(config, **given)


class Image(Supervised):
    """Models of pictures, which are changed at random in training."""

    def __init__(self, config: ConfigDict, **given: Any):
        """Open the data and build the model, as Supervised.

        Raises:
            UserError: also for a key of config.image, or a store that does not fit it.
        """
        image = LATER | dict(config.get("image", {}))
        self._views, self._changes = _read(image)
        self._mean, self._std = (np.float32(image[key]) for key in LATER)
        super().__init__(config, **given)
        self._require_pictures()

    def _require_pictures(self) -> None:
        """UserError where what is fed is no picture, or smaller than the crop."""
        store, crop = self.data.store, self._changes.crop
        for name in self.data.features:
            shape = store.features[name].shape
            if not store.features[name].is_picture:
                raise UserError(
                    f"{store.path}: feature {name!r} has items of shape {shape}, config.system = "
                    "'image' reads pictures, height x width or height x width x 3."
                )
            if crop > min(shape[:2]):
                raise UserError(
                    f"config.image.crop = {crop}: pictures of {store.path} are {shape[0]} x "
                    f"{shape[1]}. Make it smaller, or 0."
                )
        if not self.config.data.clips:
            raise UserError(
                "config.data.clips is false: config.system = 'image' reads pictures one by one. "
                "Set true."
            )

    def prepare(self, batch: Batch, keys: jax.Array | None, train: bool) -> Batch:
        """Examples with pictures float32 [B, H, W, C] or [B, views, H, W, C]; changed if `train`.

        uint8 is divided by 255; then comes config.image.mean and std, after all changes.
        """
        batch = super().prepare(batch, keys, train)
        inputs = {}
        for name, x in batch["inputs"].items():
            x = x if x.ndim == 4 else x[..., None]
            x = augment(x, keys, self._changes) if train else self._seen(x)
            plain = not self._mean.any() and (self._std == 1).all()
            inputs[name] = x if plain else (x - self._mean) / self._std
        return batch | {"inputs": inputs}

    def _seen(self, x: jax.Array) -> jax.Array:
        """Pictures [B, H, W, C] as they are fed in evaluation."""
        crop = self._changes.crop
        if not crop:
            return x
        return centre(x, crop) if self._views == 1 else ten_crops(x, crop)


def _read(image: Any) -> tuple[int, Changes]:
    """(views in evaluation, changes in training) of config.image."""
    kinds = {"views": int, "crop": int, "flip": bool, "rotation": float, "erase": float}
    kinds |= dict.fromkeys(("erase_share", *LATER), tuple[float, ...])
    for key in image:
        if key not in kinds:
            raise UserError(f"config.image.{key}: no such key. {nearest(key, kinds)}")
    for key, kind in kinds.items():
        if key not in image:
            raise UserError(f"config.image.{key} is missing. All keys: configs/image_keys.py.")
        require_kind(f"config.image.{key}", image[key], kind)
    views = image["views"]
    if views not in VIEWS:
        raise UserError(f"config.image.views = {views}: expected 1 or 10.")
    if views == 10 and not image["crop"]:
        raise UserError("config.image.views = 10: of crops; set config.image.crop.")
    for key in LATER:
        if len(image[key]) not in (1, 3) or (key == "std" and min(image[key]) <= 0):
            above = " above 0" if key == "std" else ""
            raise UserError(
                f"config.image.{key} = {shown(tuple(image[key]))}: expected one number{above} or "
                "three, of red, green and blue."
            )
    fields = {field.name: image[field.name] for field in dataclasses.fields(Changes)}
    try:
        return views, Changes(**fields)
    except ValueError as error:
        raise UserError(f"config.image.{error}.") from None
