"""The family of fusion: streams of several modalities -> one of FUSERS -> a head for all tasks.

Source: arXiv 2603.13056, and the sources of the fusers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from affect_jax.config import require_kind
from affect_jax.models import Output
from affect_jax.models.blocks import choose, pooling
from affect_jax.models.blocks.dropout import require_rate
from affect_jax.models.blocks.fusion_cross import FUSION, CrossFusion
from affect_jax.models.blocks.fusion_experts import ExpertFusion
from affect_jax.models.blocks.fusion_raav import RaavFusion
from affect_jax.models.blocks.heads import HEADS
from affect_jax.models.blocks.streams import stream
from affect_jax.models.blocks.structures import Joint
from data_pipelines.errors import UserError, listed, nearest, shown

FUSERS = {"cross": CrossFusion, "raav": RaavFusion, "experts": ExpertFusion}
PLAIN = {
    "features": tuple[str, ...],
    "hidden": int,
    "heads": int,
    "dropout": float,
    "modality_dropout": float,
    "dtype": str,
}
GROUPS = ("streams", "fuser", "head")


class Fusion(nn.Module):
    """Modalities in, raw predictions of every task out.

    First keys of the parameters: "fuser" and "joint", the head.

    Attributes:
        streams: {modality: streams that are joined on the last axis, in this order}. A modality
            exists at a frame where all its streams do.
        fuser: one of FUSERS, called with name=.
        head: makes a head, called with size= and name=.
        shapes: {task: shape of its raw predictions of a frame}.
        tokens: modalities that the fuser reads as tokens, and not as frames.
        token_frames: tokens are means over so many frames; 0: rows of their streams.
        modality_dropout: rate at which a modality of a row is left out in training. Of those that
            a row has, one always stays.
    """

    streams: Mapping[str, tuple[str, ...]]
    fuser: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    shapes: Mapping[str, tuple[int, ...]]
    tokens: tuple[str, ...] = ()
    token_frames: int = 0
    modality_dropout: float = 0.0

    of_frames = True

    @property
    def own_rows(self) -> tuple[str, ...]:
        """Streams that may have rows of their own."""
        own = () if self.token_frames else self.tokens
        return tuple(name for modality in own for name in self.streams[modality])

    @nn.compact
    def __call__(
        self,
        batch: Mapping[str, Any],
        carry: Any = None,
        train: bool = False,
        progress: float | jax.Array = 0.0,
    ) -> Output:
        """Predictions (batch, time, *shape) of a batch with `inputs`, `mask` and `inputs_mask`.

        Rows and frames without any modality are allowed; the outputs there are finite and mean
        nothing. The array "embedding" (batch, time, hidden) is what the fuser gives; "gate", where
        there is one, its weights.
        """
        del carry, progress
        parts = {
            modality: modality_of(batch, modality, names, frames=modality not in self.tokens)
            for modality, names in self.streams.items()
        }
        if train and self.modality_dropout:
            parts = drop_modalities(self.make_rng("dropout"), parts, self.modality_dropout)
        tokens = {name: parts.pop(name) for name in self.tokens}
        if self.token_frames:
            tokens = {name: _chunks(*part, self.token_frames) for name, part in tokens.items()}
        x, given = self.fuser(name="fuser")(parts, tokens, batch["mask"], train)
        sizes = {task: math.prod(shape) for task, shape in self.shapes.items()}
        raw = Joint()(x, batch["mask"], train, self.head, sizes)
        shaped = {task: y.reshape(*y.shape[:2], *self.shapes[task]) for task, y in raw.items()}
        arrays = {"embedding": x, **given.get("arrays", {})}
        return Output(shaped, None, {**given, "arrays": arrays})


def modality_of(
    batch: Mapping[str, Any], modality: str, names: Sequence[str], *, frames: bool
) -> tuple[jax.Array, jax.Array]:
    """(float32 (batch, time, sum of widths), bool (batch, time): does the modality exist there?).

    Zeros where it does not.

    Args:
        frames: the streams must be on the frames.

    Raises:
        UserError: the batch lacks a stream, or streams of the modality have other rows.
    """
    parts, exists, key = [], True, f"config.model.streams.{modality}"
    for name in names:
        x, own = stream(batch, name, key)
        parts.append(x.reshape(*x.shape[:2], -1).astype(jnp.float32))
        exists &= own
    rows = {name: part.shape[1] for name, part in zip(names, parts, strict=True)}
    wanted = batch["mask"].shape[1] if frames else parts[0].shape[1]
    for name, count in rows.items():
        if count != wanted:
            of = "the frames" if frames else repr(names[0])
            raise UserError(f"{key}: {name!r} has {count} rows, {of} {wanted}: they must agree.")
    if frames:
        exists &= batch["mask"]
    return jnp.where(exists[..., None], jnp.concatenate(parts, -1), 0), exists


def drop_modalities(
    key: jax.Array, parts: Mapping[str, tuple[jax.Array, jax.Array]], rate: float
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The modalities, each left out of a row with this probability.

    Of those that a row has, the one with the largest draw stays.
    """
    has = jnp.stack([exists.any(1) for _, exists in parts.values()], -1)
    draw = jnp.where(has, jax.random.uniform(key, has.shape), -1)
    keep = (draw >= rate) | (draw == draw.max(-1, keepdims=True))
    left = {}
    for i, (name, (x, exists)) in enumerate(parts.items()):
        exists = exists & keep[:, i, None]
        left[name] = jnp.where(exists[..., None], x, 0), exists
    return left


def _chunks(x_btd: jax.Array, exists_bt: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Means over `size` frames each, those that exist: (batch, chunks, dim), bool."""
    more = -x_btd.shape[1] % size
    x = jnp.pad(x_btd, ((0, 0), (0, more), (0, 0))).reshape(-1, size, x_btd.shape[-1])
    exists = jnp.pad(exists_bt, ((0, 0), (0, more))).reshape(-1, size)
    shape = len(x_btd), -1
    return pooling.mean(x, exists).reshape(*shape, x.shape[-1]), exists.any(1).reshape(shape)


def build(config: Any, tasks: Sequence[Any]) -> Fusion:
    """The module of a `config.model` with name "fusion" (keys: configs/ras_fusion.py).

    Raises:
        UserError: names the key that is wrong.
    """
    choose.require_keys(config, ("name", *PLAIN, *GROUPS))
    for key, kind in PLAIN.items():
        require_kind(f"config.model.{key}", config[key], kind)
    for key in GROUPS:
        if not isinstance(config[key], Mapping | ConfigDict):
            raise UserError(f"config.model.{key} = {shown(config[key])}: expected a group of keys.")
    streams = streams_of(config)
    try:
        require_rate(config.modality_dropout)
    except ValueError:
        raise UserError(
            f"config.model.modality_dropout = {config.modality_dropout}: expected a rate in [0, 1)."
        ) from None
    dtype = choose.entry("config.model.dtype", config.dtype, choose.DTYPES)
    fuser = _plain(config.fuser)
    kind = choose.entry("config.model.fuser.name", fuser.pop("name", ""), FUSERS)
    sizes = {key: config[key] for key in ("hidden", "heads", "dropout")}
    make = choose.part("config.model.fuser", kind, fuser, dtype=dtype, **sizes)
    tokens, token_frames = _checked(make(), tuple(streams))
    head = _plain(config.head)
    make_head = choose.entry("config.model.head.name", head.pop("name", ""), HEADS)
    return Fusion(
        streams=streams,
        fuser=make,
        head=choose.part("config.model.head", make_head, head, size=1, dtype=dtype),
        shapes={task.name: task.raw_shape for task in tasks},
        tokens=tokens,
        token_frames=token_frames,
        modality_dropout=config.modality_dropout,
    )


def streams_of(config: Any) -> dict[str, tuple[str, ...]]:
    """{modality: its streams} of a `config.model` with name "fusion", by name; none is empty.

    Raises:
        UserError: there are none, or `features` lists others.
    """
    streams = {}
    for name in sorted(config.streams):
        require_kind(f"config.model.streams.{name}", config.streams[name], tuple[str, ...])
        if config.streams[name]:
            streams[name] = tuple(config.streams[name])
    if not streams:
        raise UserError("config.model.streams: no modality has a stream. Name one at least.")
    used = {name for names in streams.values() for name in names}
    if used != set(config.features):
        raise UserError(
            f"config.model.features = {shown(tuple(config.features))}: the modalities read "
            f"{listed(sorted(used))}. Set config.model.streams, which features follow."
        )
    return streams


def _checked(fuser: nn.Module, modalities: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """(modalities that are tokens, token_frames); UserError where the fuser's keys name others."""
    tokens = tuple(getattr(fuser, "tokens", ()))
    _require_known("tokens", tokens, modalities)
    if len(set(tokens)) < len(tokens):
        raise UserError(f"config.model.fuser.tokens = {shown(tokens)}: names a modality twice.")
    if set(tokens) == set(modalities):
        raise UserError("config.model.fuser.tokens: no modality is left for the frames.")
    frames = [name for name in modalities if name not in tokens]
    _require_known("priors", getattr(fuser, "priors", ()), frames, "of the frames")
    if isinstance(fuser, CrossFusion):
        for key in ("query", "key", "value"):
            _require_known(key, [getattr(fuser, key)], (FUSION, *modalities))
        for name in fuser.unread(modalities):
            raise UserError(
                f"config.model.streams.{name}: none of config.model.fuser.query, key and value "
                f"reads it. Leave it empty, or take {FUSION!r}, the mean of all."
            )
    return tokens, getattr(fuser, "token_frames", 0)


def _require_known(key: str, names: Iterable[str], known: Sequence[str], which: str = "") -> None:
    for name in names:
        if name not in known:
            what = f"no modality {which}" if which else "no modality"
            hint = nearest(name, known)
            raise UserError(f"config.model.fuser.{key}: {name!r} is {what}. {hint}")


def _plain(group: Any) -> dict[str, Any]:
    """A group of keys as a dict; lists are tuples, groups inside it dicts."""
    plain = {}
    for key, value in group.items():
        if isinstance(value, Mapping | ConfigDict):
            value = dict(value)
        plain[key] = tuple(value) if isinstance(value, list) else value
    return plain
