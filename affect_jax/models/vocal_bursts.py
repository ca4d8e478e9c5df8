"""The A-VB family: raw sound -> self-supervised speech transformer -> multi-task head, for clips.

Source: arXiv 2209.07384, "Self-supervised attention networks and uncertainty loss weighting for
multi-task emotion recognition on vocal bursts", and its released code. The backbone:
models/blocks/speech.
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
from affect_jax.models.blocks import choose, pooling
from affect_jax.models.blocks.branches import Branch, BranchTowers
from affect_jax.models.blocks.speech.chosen import is_masked, speech_backbone
from affect_jax.models.blocks.streams import stream
from affect_jax.models.blocks.task_heads import Chain, HeadTask, Vanilla
from data_pipelines.errors import UserError, nearest, shown

HEADS: dict[str, type[nn.Module]] = {
    "vanilla": Vanilla,
    "chain": Chain,
    "branch": Branch,
    "branch_v2": BranchTowers,
}
# In the place of a backbone's type: hidden states come from the store.
STORED = "stored"
KEYS = ("name", "features", "dtype", "padding", "backbone", "head")
OF_TASKS = ("head.sigmoid",)


class VocalBursts(nn.Module):
    """Clips in, raw predictions of every task out. First keys of the parameters: backbone, head.

    Attributes:
        features: the stream of sound; or hidden states of clips, in their order.
        masked: padding is no part of anything; else it is heard, as by the original.
        backbone: makes the backbone, called with name=; None where hidden states are stored.
        head: makes the head, called with name=.
    """

    features: tuple[str, ...]
    masked: bool
    backbone: Callable[..., nn.Module] | None
    head: Callable[..., nn.Module]

    @property
    def taught(self) -> tuple[str, ...]:
        """Tasks with an array "taught/<task>" where a batch has labels (affect_jax.models)."""
        return getattr(self.head(parent=None), "taught", ())

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, size) of a batch of clips.

        Arrays: those of the head; of a backbone also "hidden" (batch, N + 1, dim), the means over
        time of its hidden states, and "hidden_0" ... "hidden_N" (batch, dim), each alone: a store
        of all or some is read by the type "stored".

        Raises:
            UserError: the data are no clips, or lack a feature.
        """
        if batch["mask"].ndim != 1:
            raise UserError("config.data.clips is false: the model vocal_bursts reads clips.")
        states, mask, arrays = self._states(batch, train)
        labels = {
            name: (label, batch["label_mask"][name])
            for name, label in batch.get("labels", {}).items()
        }
        head = self.head(name="head")
        read = [states[i] for i in head.reads(len(states) - 2)]
        predictions, of_head = head(read, mask, batch["mask"], train, labels, progress)
        return Output(predictions, carry, {"arrays": {**of_head, **arrays}})

    def _states(
        self, batch: Mapping[str, Any], train: bool
    ) -> tuple[list[jax.Array], jax.Array, dict[str, jax.Array]]:
        """Hidden states (batch, time, dim) 0 .. N and what the convolutions gave, at index -1; the
        mask of their frames; arrays."""
        streams = [stream(batch, name) for name in self.features]
        if self.backbone is None:
            states = [
                x[:, i : i + 1].astype(jnp.float32)
                for x in (x.reshape(len(x), -1, x.shape[-1]) for x, _ in streams)
                for i in range(x.shape[1])
            ]
            # What the first layer reads stands for the convolutions' output.
            return [*states, states[0]], jnp.ones((len(states[0]), 1), bool), {}
        audio, valid = streams[0]
        output = self.backbone(name="backbone")(audio, valid if self.masked else None, train)
        mask = output.mask if self.masked else jnp.ones(output.last.shape[:2], bool)
        means = [pooling.mean(x.astype(jnp.float32), mask) for x in output.hidden]
        arrays = {"hidden": jnp.stack(means, 1)} | {f"hidden_{i}": x for i, x in enumerate(means)}
        # HuBERT hands on no such output: the first hidden state is what comes of it.
        begin = output.hidden[0] if output.features is None else output.features
        return [*output.hidden, begin], mask, arrays


def build(config: Any, tasks: Sequence[Any]) -> VocalBursts:
    """The module of a `config.model` with name "vocal_bursts" (keys: configs/vocal_bursts.py).

    Raises:
        UserError: names the key that is wrong.
    """
    choose.require_keys(config, KEYS)
    require_kind("config.model.features", config.features, tuple[str, ...])
    for key in ("backbone", "head"):
        if not isinstance(config[key], Mapping | ConfigDict):
            raise UserError(f"config.model.{key} = {shown(config[key])}: expected a group of keys.")
    dtype = choose.entry("config.model.dtype", config.dtype, choose.DTYPES)
    masked = is_masked(config.padding)
    features, backbone = tuple(config.features), _backbone(config.backbone, masked, dtype)
    if not features or (backbone and len(features) > 1):
        wanted = (
            "the stream of sound" if backbone else "hidden states, from the first layer's input"
        )
        raise UserError(f"config.model.features = {shown(features)}: expected {wanted}.")
    return VocalBursts(
        features=features,
        masked=masked,
        backbone=backbone,
        head=_head(config.head, tasks, dtype),
    )


def _backbone(group: Any, masked: bool, dtype: Any) -> Callable[..., nn.Module] | None:
    if group.get("model_type") == STORED:
        if others := [key for key in group if key != "model_type"]:
            raise UserError(f"config.model.backbone.{others[0]}: stored hidden states have none.")
        return None
    return speech_backbone(group, masked, dtype)


def _head(group: Any, tasks: Sequence[Any], dtype: Any) -> Callable[..., nn.Module]:
    where = "config.model.head"
    settings = {k: tuple(v) if isinstance(v, list) else v for k, v in group.items()}
    kind = choose.entry(f"{where}.name", settings.pop("name", ""), HEADS)
    squashed = settings.pop("sigmoid", ())
    require_kind(f"{where}.sigmoid", squashed, tuple[str, ...])
    if not tasks:
        raise UserError("config.tasks is empty: vocal_bursts needs at least one task.")
    values = [task.name for task in tasks if task.kind == "values"]
    for name in squashed:
        if name not in values:
            raise UserError(
                f"{where}.sigmoid: {name!r} is no task of values. {nearest(name, values)}"
            )
    for task in tasks:
        if task.kind == "bins":
            raise UserError(f"config.task.{task.name}.kind = 'bins': vocal_bursts predicts none.")
    specs = tuple(HeadTask(t.name, t.kind, t.size, t.name in squashed) for t in tasks)
    return choose.part(where, kind, settings, tasks=specs, dtype=dtype)
