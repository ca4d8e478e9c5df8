"""A toy system of raw sound: int16 in the store, a convolution, a batch norm, two heads."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models import Output
from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.systems.supervised import Supervised


class Listener(nn.Module):
    """Waveforms [B, S] in, raw predictions [B, size] of every task out."""

    sizes: Mapping[str, int]

    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0):
        x, mask = batch["inputs"]["audio"][..., None], batch["inputs_mask"]["audio"]
        x = nn.Conv(4, (16,), 8, "VALID", use_bias=False, name="conv")(x)
        # Where the last of its samples exists, a frame is whole.
        mask = mask[:, 15::8][:, : x.shape[1]]
        x = nn.relu(BatchNorm(name="norm")(x, mask, train))
        mean = (x * mask[..., None]).sum(1) / jnp.maximum(mask.sum(1), 1)[:, None]
        return Output({k: nn.Dense(n, name=k)(mean) for k, n in self.sizes.items()})


class Clips(Supervised):
    """Sound is made louder or softer at random in training."""

    def make_model(self) -> nn.Module:
        return Listener({task.name: task.size for task in self.tasks})

    def prepare(self, batch, keys, train):
        batch = super().prepare(batch, keys, train)
        if not train:
            return batch
        gain = jax.vmap(lambda key: jax.random.uniform(key, (), minval=0.9, maxval=1.1))(keys)
        audio = batch["inputs"]["audio"] * gain[:, None]
        return batch | {"inputs": {"audio": audio}}


def build(config, **given) -> Clips:
    return Clips(config, **given)
