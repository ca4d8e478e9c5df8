"""Multi-task structures: what stands between the shared encoder and each task's predictions.

A structure is a plain object that a family calls inside its own compact method. The networks that
it makes are named after the tasks and lie beside the encoder, as first keys of the parameters: the
sub-networks that gradients are clipped by.
"""

from __future__ import annotations

import dataclasses
import functools
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
        self, x_bth: jax.Array, mask_bt: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(batch, time, width) -> raw (batch, time, size), {tap: what can be fed back}."""
        if self.make_top is not None:
            top = self.make_top(hidden=x_bth.shape[-1], name="top")
            x_bth, _ = top(x_bth, mask_bt, None, train)
        raw, hidden = self.make_head(name="head")(x_bth, train)
        return raw, {"head": hidden, "encoder": x_bth}


@dataclasses.dataclass(frozen=True)
class Feedback:
    """HSF: a target's network reads, beside the shared output, what the sources' made of it.

    No gradient goes back into the sources. Without sources and targets nothing is fed back.

    Attributes:
        sources: tasks that are fed back, in the order in which they are joined.
        targets: tasks that read them. A task is not both.
        tap: what of a source is fed back: "head", its last hidden activation (the released code),
            or "encoder", the output of its own encoder (the paper; needs one, so SBE).

    Source: arXiv 2207.09373, equations 12 to 15.
    """

    sources: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    tap: str = "head"

    def __post_init__(self) -> None:
        if self.tap not in TAPS:
            raise ValueError(f"tap = {self.tap!r}: no such tap. {nearest(self.tap, TAPS)}")
        if bool(self.sources) != bool(self.targets):
            raise ValueError("sources and targets: feedback needs both, or none.")
        if both := set(self.sources) & set(self.targets):
            raise ValueError(f"{sorted(both)[0]!r} is a source and a target; it can be one.")

    def require_tasks(self, tasks: Collection[str]) -> None:
        """UserError where a source or a target is no task of the model."""
        for field in ("sources", "targets"):
            for name in getattr(self, field):
                if name not in tasks:
                    raise UserError(
                        f"config.model.structure.{field}: {name!r} is no task of this run. "
                        + nearest(name, tasks)
                    )

    def networks(
        self,
        make: Callable[[str], TaskNetwork],
        x_bth: jax.Array,
        mask_bt: jax.Array,
        train: bool,
        tasks: Collection[str],
    ) -> dict[str, jax.Array]:
        """Raw predictions (batch, time, size) of every task, by the networks that `make` makes."""
        raw, taps = {}, {}
        for task in (t for t in tasks if t not in self.targets):
            raw[task], taps[task] = make(task)(x_bth, mask_bt, train)
        if self.targets:
            fed = [jax.lax.stop_gradient(taps[source][self.tap]) for source in self.sources]
            joined = jnp.concatenate([x_bth, *fed], axis=-1)
            for task in (t for t in tasks if t in self.targets):
                raw[task], _ = make(task)(joined, mask_bt, train)
        return {task: raw[task] for task in tasks}


@dataclasses.dataclass(frozen=True)
class ShareEncoder(Feedback):
    """SE: every head reads the encoder's output, those of targets what is fed back too.

    Source: arXiv 2207.09373, equations 7 and 8.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sources and self.tap == "encoder":
            raise ValueError("tap = 'encoder' needs tasks with encoders: structure sbe.")

    def __call__(
        self,
        x_bth: jax.Array,
        mask_bt: jax.Array,
        train: bool,
        make_head: MakeHead,
        sizes: Mapping[str, int],
    ) -> dict[str, jax.Array]:
        """Raw predictions (batch, time, size) of every task.

        Args:
            x_bth: encoder output (batch, time, width).
            mask_bt: bool, the frames that exist.
            train: dropout on.
            make_head: called with size= and name=.
            sizes: {task: number of outputs}.
        """

        def make(task: str) -> TaskNetwork:
            return TaskNetwork(None, functools.partial(make_head, size=sizes[task]), name=task)

        return self.networks(make, x_bth, mask_bt, train, sizes)


@dataclasses.dataclass(frozen=True)
class ShareBottom(Feedback):
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim < 1:
            raise ValueError(f"head_dim = {self.head_dim}: expected 1 or more.")
        # What a transformer refuses is refused before anything is built.
        self._top(hidden=self.head_dim, name=None)

    def __call__(
        self,
        x_bth: jax.Array,
        mask_bt: jax.Array,
        train: bool,
        make_head: MakeHead,
        sizes: Mapping[str, int],
    ) -> dict[str, jax.Array]:
        """As ShareEncoder's."""

        def make(task: str) -> TaskNetwork:
            head = functools.partial(make_head, size=sizes[task])
            return TaskNetwork(self._top, head, name=task)

        return self.networks(make, x_bth, mask_bt, train, sizes)

    def _top(self, hidden: int, name: str | None) -> Transformer:
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
        mask_bt: jax.Array,
        train: bool,
        make_head: MakeHead,
        sizes: Mapping[str, int],
    ) -> dict[str, jax.Array]:
        """As ShareEncoder's; the parameters are called "joint"."""
        head = functools.partial(make_head, size=sum(sizes.values()))
        raw, _ = TaskNetwork(None, head, name="joint")(x_bth, mask_bt, train)
        result, first = {}, 0
        for task, size in sizes.items():
            result[task] = raw[..., first : first + size]
            first += size
        return result


# Names that config.model.structure.name may have; the other keys are the fields.
STRUCTURES = {"se": ShareEncoder, "sbe": ShareBottom, "joint": Joint}
