"""Clips of sound: a log-mel spectrogram, a small convolutional network, a head a task.

Padding has no say: a clip has the same answer alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.config import require_kind
from affect_jax.models import Output
from affect_jax.models.blocks import choose
from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.convolution import fast_in_scan
from affect_jax.models.blocks.dropout import Dropout, require_rate
from affect_jax.models.blocks.mel import LogMel, SpecAugment, as_it_is
from affect_jax.models.blocks.pooling import Pool, require_pooling
from data_pipelines.audio import RATE
from data_pipelines.errors import UserError, shown

PLAIN = {
    "features": tuple[str, ...],
    "channels": tuple[int, ...],
    "width": int,
    "pooling": str,
    "dropout": float,
    "dtype": str,
}


class LogMelNet(nn.Module):
    """Sound in, raw predictions of every task out.

    Attributes:
        feature: the stream that is sound.
        mel, spec_augment: make the spectrogram and its changes in training, called with name=.
        channels: outputs of each block, which is a convolution of 3 x 3 with stride 2, a batch
            norm and ReLU.
        width: what bands and channels of a frame are joined to, before they are pooled over time.
        pooling: one of blocks/pooling.py.
        dropout: rate in front of `width` and of the heads.
        sizes: {task: number of its raw predictions}.
        dtype: of convolutions; parameters, norms and predictions are float32.
        spread: of the spectrogram, as LogMel has it.
    """

    feature: str
    mel: Callable[..., nn.Module]
    spec_augment: Callable[..., nn.Module]
    channels: tuple[int, ...]
    width: int
    pooling: str
    dropout: float
    sizes: Mapping[str, int]
    dtype: jnp.dtype = jnp.float32
    spread: Callable[..., Any] = as_it_is

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, size) of a batch of clips; array "embedding": what is pooled."""
        del carry, progress
        valid = batch["inputs_mask"][self.feature] & batch["mask"][:, None]
        x, mask = self.mel(name="mel", spread=self.spread)(batch["inputs"][self.feature], valid)
        x = BatchNorm(name="norm")(x, mask, train)
        x, mask = self.spec_augment(name="spec_augment")(x, mask, train)
        x = x[..., None].astype(self.dtype)
        for i, size in enumerate(self.channels):
            x = nn.Conv(
                size,
                (3, 3),
                (2, 2),
                [(1, 1), (1, 1)],  # unlike "SAME", the same places for any length
                use_bias=False,
                dtype=self.dtype,
                conv_general_dilated=fast_in_scan,
                name=f"conv_{i}",
            )(x)
            mask = mask[:, ::2]
            x = nn.relu(BatchNorm(name=f"norm_{i}")(x, mask, train))
        x = Dropout(self.dropout, name="dropout")(x.reshape(*x.shape[:2], -1), train)
        x = nn.relu(nn.Dense(self.width, dtype=self.dtype, name="join")(x))
        x = Pool(self.pooling, name="pool")(x.astype(jnp.float32), mask)
        y = Dropout(self.dropout, name="head_dropout")(x, train)
        heads = {task: nn.Dense(size, name=task)(y) for task, size in self.sizes.items()}
        return Output(heads, aux={"arrays": {"embedding": x}})


def build(config: Any, tasks: Sequence[Any]) -> LogMelNet:
    """The module of a `config.model` with name "log_mel" (keys: configs/emogator.py).

    Raises:
        UserError: names the key that is wrong.
    """
    known = ("name", "mel", "spec_augment", *PLAIN)
    choose.require_keys(config, known)
    for key, kind in PLAIN.items():
        require_kind(f"config.model.{key}", config[key], kind)
    if len(config.features) != 1:
        raise UserError(
            f"config.model.features = {shown(config.features)}: expected one, of sound."
        )
    for task in tasks:
        if len(task.raw_shape) != 1:
            raise UserError(f"config.task.{task.name}: config.model.name = 'log_mel' has no bins.")
    try:
        require_rate(config.dropout)
        require_pooling(config.pooling)
    except ValueError as error:
        raise UserError(f"config.model: {error}") from None
    mel = choose.part("config.model.mel", LogMel, dict(config.mel), rate=RATE, spread=as_it_is)
    return LogMelNet(
        feature=config.features[0],
        mel=mel,
        spec_augment=choose.part(
            "config.model.spec_augment", SpecAugment, dict(config.spec_augment)
        ),
        channels=tuple(config.channels),
        width=config.width,
        pooling=config.pooling,
        dropout=config.dropout,
        sizes={task.name: task.size for task in tasks},
        dtype=choose.entry("config.model.dtype", config.dtype, choose.DTYPES),
    )
