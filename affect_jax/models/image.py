"""Pictures: a convolutional network, a layer of features, a head a task.

Several views of a picture (ten crops, say) have one answer: the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from affect_jax.config import require_kind
from affect_jax.models import Output
from affect_jax.models.blocks import choose
from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.linear import Linear
from affect_jax.models.blocks.vision import BACKBONES
from data_pipelines.errors import UserError, shown

PLAIN = {"features": tuple[str, ...], "feature": int, "dropout": float, "dtype": str}
LATER = {"feature_norm": False, "activation": "relu"}  # keys that older runs lack
ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh}


class ImageModel(nn.Module):
    """Pictures in, raw predictions of every task out.

    First keys of the parameters: backbone, feature (where there is that layer), feature_norm,
    task_<name>.

    Attributes:
        stream: the stream that is pictures.
        backbone: makes one of blocks/vision, called with name=.
        feature: width of the layer between the backbone and the heads; 0: none.
        dropout: rate on what the backbone gives.
        sizes: {task: number of its raw predictions}.
        feature_norm: batch norm behind the layer of features.
        activation: behind that.
        dtype: of backbone and feature layer; parameters, norms and predictions are float32.
    """

    stream: str
    backbone: Callable[..., nn.Module]
    feature: int
    dropout: float
    sizes: Mapping[str, int]
    feature_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, size) of a batch of pictures.

        The stream is float [B, H, W], [B, H, W, C], or [B, V, H, W, C] of V views, with C 1 or 3;
        grey pictures become three equal channels. Array "embedding" (batch, width): the features
        that the heads read, after the activation. Predictions and embedding are means over views.

        Raises:
            UserError: the data are no clips, or the stream is no pictures or too small ones.
        """
        del carry, progress
        x, mask, views = self._pictures(batch)
        backbone = self.backbone(name="backbone")
        self._require_size(x, backbone.halvings)
        x = backbone(x, mask, train).astype(jnp.float32)
        y = Dropout(self.dropout, name="dropout")(x, train)
        if self.feature:
            y = Linear(self.feature, self.dtype, name="feature")(y).astype(jnp.float32)
            if self.feature_norm:
                y = BatchNorm(name="feature_norm")(y, mask, train)
            x = y = self.activation(y)
        found = {task: Linear(size, name=f"task_{task}")(y) for task, size in self.sizes.items()}
        found, x = jax.tree.map(lambda z: z.reshape(-1, views, z.shape[-1]).mean(1), (found, x))
        return Output(found, aux={"arrays": {"embedding": x}})

    def _pictures(self, batch: Mapping[str, Any]) -> tuple[jax.Array, jax.Array, int]:
        """([B V, H, W, 3], bool [B V], V)."""
        x, mask = batch["inputs"][self.stream], batch["mask"]
        if mask.ndim != 1:
            raise UserError(
                "config.data.clips is false: the model image reads pictures one by one."
            )
        mask = mask & batch.get("inputs_mask", {}).get(self.stream, True)
        if x.ndim > 2 and x.shape[-1] not in (1, 3):
            x = x[..., None]
        if x.ndim not in (4, 5):
            raise UserError(
                f"config.model.features: {self.stream!r} has items of shape {x.shape[1:]}, "
                "expected pictures, height x width or height x width x 3."
            )
        views = x.shape[1] if x.ndim == 5 else 1
        x = jnp.broadcast_to(x, (*x.shape[:-1], 3)).reshape(-1, *x.shape[-3:-1], 3)
        return x, jnp.repeat(mask, views), views

    def _require_size(self, x: jax.Array, halvings: int) -> None:
        least, (height, width) = 2**halvings, x.shape[1:3]
        if min(height, width) < least:
            raise UserError(
                f"config.model.backbone: pictures of {height} x {width} are too small for it, it "
                f"needs {least} x {least}. Prepare larger ones, or take another backbone."
            )


def build(config: Any, tasks: Sequence[Any]) -> ImageModel:
    """The module of a `config.model` with name "image" (keys: configs/fer2013.py).

    Raises:
        UserError: names the key that is wrong.
    """
    later = LATER | {key: config[key] for key in LATER if key in config}
    choose.require_keys(LATER | dict(config), ("name", "backbone", *PLAIN, *LATER))
    for key, kind in PLAIN.items():
        require_kind(f"config.model.{key}", config[key], kind)
    require_kind("config.model.feature_norm", later["feature_norm"], bool)
    if len(config.features) != 1:
        raise UserError(
            f"config.model.features = {shown(config.features)}: expected one, of pictures."
        )
    if config.feature < 0:
        raise UserError(f"config.model.feature = {config.feature}: expected a number from 0 on.")
    if later["feature_norm"] and not config.feature:
        raise UserError("config.model.feature_norm: there is no layer of features; set feature.")
    for task in tasks:
        if task.kind == "bins":
            raise UserError(f"config.task.{task.name}.kind = 'bins': the model image has none.")
    try:
        require_rate(config.dropout)
    except ValueError as error:
        raise UserError(f"config.model: {error}") from None
    dtype = choose.entry("config.model.dtype", config.dtype, choose.DTYPES)
    return ImageModel(
        stream=config.features[0],
        backbone=_backbone(config.backbone, dtype),
        feature=config.feature,
        dropout=config.dropout,
        sizes={task.name: task.size for task in tasks},
        feature_norm=later["feature_norm"],
        activation=choose.entry("config.model.activation", later["activation"], ACTIVATIONS),
        dtype=dtype,
    )


def _backbone(group: Any, dtype: Any) -> Callable[..., nn.Module]:
    where = "config.model.backbone"
    if not isinstance(group, Mapping | ConfigDict):
        raise UserError(f"{where} = {shown(group)}: expected a group of keys.")
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in group.items()}
    kind = choose.entry(f"{where}.name", settings.pop("name", ""), BACKBONES)
    return choose.part(where, kind, settings, dtype=dtype)
