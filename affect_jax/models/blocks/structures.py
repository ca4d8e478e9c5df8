"""Multi-task structures: what stands between the shared encoder and each task's predictions.

A structure is a plain object that a family calls inside its own compact method. The networks that
it makes are named after the tasks and lie beside the encoder, as first keys of the parameters: the
sub-networks that gradients are clipped by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models.blocks.transformer import Transformer
from data_pipelines.errors import UserError, nearest

MakeHead = Callable[..., nn.Module]  # called with size= and name=
TAPS = ("head", "encoder")


class TaskNetwork(nn.Module):
    """The sub-network of one task: an encoder of its own, if it has one, and its head.

    Their names are "top" and "head" in every structure.

    Attributes:
        make_top: called with hidden= and name=; None for a head alone.
        make_head: called with name=.
    """

    make_top: Callable[..., nn.Module] | None
    make_head: Callable[..., nn.Module]

    @nn.compact
    def __call__(
        self, x_bth: jax.Array, valid_bt: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(batch, time, width) -> raw (batch, time, size), {tap: what can be fed back}."""
        if self.make_top is not None:
            top = self.make_top(hidden=x_bth.shape[-1], name="top")
            x_bth, _ = top(x_bth, valid_bt, None, train)
        raw, hidden = self.make_head(name="head")(x_bth, train)
        return raw, {"head": hidden, "encoder": x_bth}


@dataclasses.dataclass(frozen=True)
class ShareEncoder:
    """SE: every head reads the encoder's output. With sources and targets, feedback (HSF) too.

    A target's network reads, beside the shared output, what the sources' networks made of it;
    no gradient goes back into the sources.

    Attributes:
        sources: tasks that are fed back, in the order in which they are joined.
        targets: tasks that read them. A task is not both.
        tap: what of a source is fed back: "head", its last hidden activation (the released code),
            or "encoder", the output of its own encoder (the paper; needs one, so SBE).

    Source: arXiv 2207.09373, equations 7 and 8 (SE), 12 to 15 (HSF).
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    tap: str = "head"

    # The task networks have encoders of their own.
    tops = False

    def __post_init__(self) -> None:
        if self.tap not in TAPS:
            raise ValueError(f"tap = {self.tap!r}: no such tap. {nearest(self.tap, TAPS)}")
        if bool(self.sources) != bool(self.targets):
            raise ValueError("sources and targets: feedback needs both, or none.")
        if both := set(self.sources) & set(self.targets):
            raise ValueError(f"{sorted(both)[0]!r} is a source and a target; it can be one.")
        if self.sources and self.tap == "encoder" and not self.tops:
            raise ValueError("tap = 'encoder' needs tasks with encoders: structure sbe.")

    def require_tasks(self, tasks: Collection[str]) -> None:
        """UserError where a source or a target is no task of the model."""
        for field in ("sources", "targets"):
            for name in getattr(self, field):
                if name not in tasks:
                    raise UserError(
                        f"config.model.structure.{field}: {name!r} is no task of this run. "
                        + nearest(name, tasks)
                    )

    def _make_top(self) -> Callable[..., nn.Module] | None:
        return None

    def __call__(
        self,
        x_bth: jax.Array,
        valid_bt: jax.Array,
        train: bool,
        make_head: MakeHead,
        sizes: Mapping[str, int],
    ) -> dict[str, jax.Array]:
        """Raw predictions (batch, time, size) of every task.

        Args:
            x_bth: encoder output (batch, time, width).
            valid_bt: frames that exist.
            train: dropout on.
            make_head: called with size= and name=.
            sizes: {task: number of outputs}.
        """
        raw, taps = {}, {}

        def network(task: str, x: jax.Array) -> None:
            def head(name: str) -> nn.Module:
                return make_head(size=sizes[task], name=name)

            raw[task], taps[task] = TaskNetwork(self._make_top(), head, name=task)(
                x, valid_bt, train
            )

        for task in (t for t in sizes if t not in self.targets):
            network(task, x_bth)
        if self.targets:
            fed = [jax.lax.stop_gradient(taps[source][self.tap]) for source in self.sources]
            joined = jnp.concatenate([x_bth, *fed], axis=-1)
            for task in (t for t in sizes if t in self.targets):
                network(task, joined)
        return {task: raw[task] for task in sizes}


@dataclasses.dataclass(frozen=True)
class ShareBottom(ShareEncoder):
    """SBE: the shared encoder is the bottom, and every task has a transformer of its own on top.

    Attributes:
        layers: of each task's transformer.
        head_dim: width of an attention head. Where a task's transformer reads H values a frame
            (a target's: those of the shared encoder and all that is fed back), it has H // head_dim
            heads, a number that must divide H.
        ffn, dropout, positions: as in Transformer. Positions are added a second time here.
        dtype: of the computation.

    Source: arXiv 2207.09373, equations 9 to 11.
    """

    layers: int = 1
    head_dim: int = 64
    ffn: int = 1024
    dropout: float = 0.3
    positions: str = "abaw4"
    dtype: jnp.dtype = jnp.float32

    tops = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim < 1:
            raise ValueError(f"head_dim = {self.head_dim}: expected 1 or more.")
        # What a transformer refuses is refused before anything is built.
        self._make_top()(hidden=self.head_dim, name=None)

    def _make_top(self) -> Callable[..., nn.Module]:
        def top(hidden: int, name: str | None) -> Transformer:
            heads = hidden // self.head_dim
            if not heads or hidden % heads:
                raise UserError(
                    f"config.model.structure.head_dim = {self.head_dim}: {heads} heads for the "
                    f"{hidden} values a frame that a task's transformer reads; take a divisor."
                )
            return Transformer(
                hidden=hidden,
                layers=self.layers,
                heads=heads,
                ffn=self.ffn,
                dropout=self.dropout,
                positions=self.positions,
                project=False,
                dtype=self.dtype,
                name=name,
            )

        return top


@dataclasses.dataclass(frozen=True)
class Joint:
    """One head for all tasks, its outputs in the order of the tasks: the ABAW3 regressor.

    Source: arXiv 2203.13032.
    """

    def require_tasks(self, tasks: Collection[str]) -> None:
        """Any tasks will do."""

    def __call__(
        self,
        x_bth: jax.Array,
        valid_bt: jax.Array,
        train: bool,
        make_head: MakeHead,
        sizes: Mapping[str, int],
    ) -> dict[str, jax.Array]:
        """As ShareEncoder's; the parameters are called "joint"."""

        def head(name: str) -> nn.Module:
            return make_head(size=sum(sizes.values()), name=name)

        raw, _ = TaskNetwork(None, head, name="joint")(x_bth, valid_bt, train)
        result, first = {}, 0
        for task, size in sizes.items():
            result[task] = raw[..., first : first + size]
            first += size
        return result


# Names that config.model.structure.name may have; the other keys are the fields.
STRUCTURES = {"se": ShareEncoder, "sbe": ShareBottom, "joint": Joint}
