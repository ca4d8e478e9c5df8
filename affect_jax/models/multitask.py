"""The family of ABAW3, ABAW4 and the branches of ABAW10: features -> encoder -> task networks.

Source: arXiv 2203.13032; arXiv 2207.09373, section 3; arXiv 2603.13056.
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
from affect_jax.models.blocks.averages import Averages
from affect_jax.models.blocks.encoded import Dynamic
from affect_jax.models.blocks.fc_recurrent import FCLSTM, TransformerLSTM
from affect_jax.models.blocks.heads import HEADS, FCHead
from affect_jax.models.blocks.layer_norm import layer_norm
from affect_jax.models.blocks.mamba import Mamba
from affect_jax.models.blocks.memory import MemoryTransformer
from affect_jax.models.blocks.passed_on import PassedOn
from affect_jax.models.blocks.recurrent import GRU, LSTM
from affect_jax.models.blocks.relative import Relative
from affect_jax.models.blocks.streams import stream
from affect_jax.models.blocks.structures import STRUCTURES
from affect_jax.models.blocks.transformer import Transformer
from data_pipelines.errors import UserError, shown

# An encoder is called as encoder(x_btd, mask_bt, carry, train) -> (x_bth, carry).
ENCODERS = {
    "averages": Averages,
    "passed_on": PassedOn,
    "transformer": Transformer,
    "relative": Relative,
    "lstm": LSTM,
    "gru": GRU,
    "fclstm": FCLSTM,
    "transformer_lstm": TransformerLSTM,
    "transformer_attention": MemoryTransformer,
    "dynamic": Dynamic,
    "mamba": Mamba,
}
KEYS = ("name", "features", "feature_norm", "encoder", "structure", "head", "dtype")
OF_TASKS = ("structure.sources",)


class MultiTask(nn.Module):
    """Frame features in, raw predictions of every task out.

    First keys of the parameters: "encoder", "feature_norm" if it is on, and the tasks' names.

    Attributes:
        features: streams that are joined on the last axis, in this order.
        feature_norm: layer norm over the joined features (eps 1e-6).
        encoder: makes the encoder, called with name=.
        structure: one of structures.STRUCTURES, with its options.
        head: makes a head, called with size= and name=.
        shapes: {task: shape of its raw predictions of a frame}.
    """

    features: tuple[str, ...]
    feature_norm: bool
    encoder: Callable[..., nn.Module]
    structure: Callable[..., dict[str, jax.Array]]
    head: Callable[..., nn.Module]
    shapes: Mapping[str, tuple[int, ...]]

    of_frames = True

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, time, *shape) of a batch with `inputs`, `mask` and `inputs_mask`.

        Rows and frames without any input are allowed; the outputs there are finite and mean
        nothing. The array "embedding" (batch, time, width) is what the encoder gives.
        """
        del progress
        x = join(batch, self.features)
        if self.feature_norm:
            x = layer_norm(1e-6, jnp.float32, "feature_norm")(x)
        x, carry = self.encoder(name="encoder")(x, batch["mask"], carry, train)
        sizes = {task: math.prod(shape) for task, shape in self.shapes.items()}
        raw = self.structure(x, batch["mask"], train, self.head, sizes)
        shaped = {task: y.reshape(*y.shape[:2], *self.shapes[task]) for task, y in raw.items()}
        return Output(shaped, carry, {"arrays": {"embedding": x}})


def join(batch: Mapping[str, Any], features: Sequence[str]) -> jax.Array:
    """float32 (batch, time, sum of widths): the named inputs side by side.

    Zeros where a frame is padding or the feature does not exist, whatever stands there.

    Raises:
        UserError: the batch lacks a feature.
    """
    parts = []
    for name in features:
        x, exists = stream(batch, name)
        x = x.reshape(*x.shape[:2], -1)  # logits of bins, say, have two axes
        mask = batch["mask"] & exists
        parts.append(jnp.where(mask[..., None], x, 0).astype(jnp.float32))
    return jnp.concatenate(parts, axis=-1)


def build(config: Any, tasks: Sequence[Any]) -> MultiTask:
    """The module of a `config.model` with name "multitask" (keys: configs/mtl.py, configs/va.py).

    Raises:
        UserError: names the key that is wrong.
    """
    choose.require_keys(config, KEYS)
    for key, kind in (("features", tuple[str, ...]), ("feature_norm", bool), ("dtype", str)):
        require_kind(f"config.model.{key}", config[key], kind)
    for key in ("encoder", "structure", "head"):
        if not isinstance(config[key], Mapping | ConfigDict):
            raise UserError(f"config.model.{key} = {shown(config[key])}: expected a group of keys.")
    if not config.features:
        raise UserError("config.model.features is empty: name at least one feature of the store.")
    dtype = choose.entry("config.model.dtype", config.dtype, choose.DTYPES)
    encoder = dict(config.encoder)
    module = choose.entry("config.model.encoder.name", encoder.pop("name", ""), ENCODERS)
    head = {k: tuple(v) if isinstance(v, list) else v for k, v in config.head.items()}
    make_head = choose.entry("config.model.head.name", head.pop("name", "fc"), HEADS)
    if make_head is FCHead:
        head = {"layers": (), **head}
    structure = {k: tuple(v) if isinstance(v, list) else v for k, v in config.structure.items()}
    kind = choose.entry("config.model.structure.name", structure.pop("name", ""), STRUCTURES)
    given = {"dtype": dtype} if hasattr(kind, "dtype") else {}
    chosen = choose.part("config.model.structure", kind, structure, **given)()
    shapes = {task.name: task.raw_shape for task in tasks}
    chosen.require_tasks(shapes)
    return MultiTask(
        features=tuple(config.features),
        feature_norm=config.feature_norm,
        encoder=choose.part("config.model.encoder", module, encoder, dtype=dtype),
        structure=chosen,
        head=choose.part("config.model.head", make_head, head, size=1, dtype=dtype),
        shapes=shapes,
    )
