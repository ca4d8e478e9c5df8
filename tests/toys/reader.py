"""A system of pictures in time: a convolution a picture, its mean over time beside it."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp

from affect_jax.models import FRAME_WISE, Output
from affect_jax.systems.supervised import Supervised


class Reader(nn.Module):
    """Brightest place of a picture, and the mean of the row's pictures, as one value."""

    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0) -> Output:
        x = jnp.where(batch["mask"][..., None, None, None], batch["inputs"]["face"], 0)
        x = nn.relu(nn.Conv(3, (3, 3), name="conv")(x)).mean((2, 3))
        alone = nn.Dense(1, name="alone")(x)
        count = jnp.maximum(batch["mask"].sum(1), 1)[:, None, None]
        around = x.sum(1, keepdims=True) / count
        both = nn.Dense(1, name="valence")(x + around)
        return Output({"valence": both}, aux={"arrays": {f"{FRAME_WISE}valence": alone}})


class PicturesInTime(Supervised):
    def make_model(self) -> nn.Module:
        return Reader()


def build(config, **given) -> PicturesInTime:
    return PicturesInTime(config, **given)
