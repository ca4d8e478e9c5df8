"""Multi-task heads for clips: hidden states of a backbone in, raw predictions of every task out.

VANILLA and CHAIN, for any tasks in any order; BRANCH is in branches.py.

Source: arXiv 2209.07384 and its released code ("basemtl" and "stacked").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from affect_jax.models import TAUGHT
from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.models.blocks.linear import Linear
from affect_jax.models.blocks.pooling import Pool, require_pooling

Predictions = dict[str, jax.Array]
Arrays = dict[str, jax.Array]
# {task: (label [B] of classes or [B, K], bool of the same shape: does it exist?)}
Labels = Mapping[str, tuple[jax.Array, jax.Array]]


class HeadTask(NamedTuple):
    """A task as a head sees it.

    Attributes:
        name, kind: as of tasks.Task; no "bins".
        size: number of values, classes or labels.
        sigmoid: values only: predictions are squashed into (0, 1).
    """

    name: str
    kind: str
    size: int
    sigmoid: bool = False


class TaskHead(nn.Module):
    """[Linear] [BatchNorm GELU] Linear BatchNorm [sigmoid]: a clip's vector to one task.

    The last batch norm is the original's, on logits too.

    Attributes:
        size: number of outputs.
        hidden: width of the first layer; 0: none.
        activate: norm and GELU before the last layer.
        sigmoid: behind the last norm.
        dtype: of the first layer; parameters, norms and outputs are float32.
    """

    size: int
    hidden: int
    activate: bool
    sigmoid: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x_bd: jax.Array, rows_b: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """(batch, dim), bool (batch,) -> float32 (batch, size), what the last layer reads.

        Rows that are not in `rows_b` are no part of the norms' statistics.
        """
        x = x_bd
        if self.hidden:
            x = Linear(self.hidden, self.dtype, name="hidden")(x)
        if self.activate:
            x = gelu(BatchNorm(name="hidden_norm")(x, rows_b, train))
        raw = Linear(self.size, name="out")(x.astype(jnp.float32))
        raw = BatchNorm(name="out_norm")(raw, rows_b, train)
        return (nn.sigmoid(raw) if self.sigmoid else raw), x


class Vanilla(nn.Module):
    """One network a task, side by side, on the last hidden state.

    Attributes:
        tasks: in order.
        embedding: width of the hidden layer of each.
        pooling: of the frames (pooling.Pool); "attention" has scores of its own for each task.
        dtype: of the computation; parameters, norms and predictions are float32.
    """

    tasks: tuple[HeadTask, ...]
    embedding: int
    pooling: str
    dtype: jnp.dtype = jnp.float32

    # Of the layers behind a task's vector (TaskHead): is one hidden, do norm and GELU follow?
    hidden = activate = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding < 1:
            raise ValueError(f"embedding = {self.embedding}: expected 1 or more.")
        require_pooling(self.pooling)

    def reads(self, depth: int) -> tuple[int, ...]:
        """Indices of the hidden states 0 .. depth that are read; -1: the convolutions' output."""
        return (depth,)

    @nn.compact
    def __call__(
        self,
        states: Sequence[jax.Array],
        mask_bt: jax.Array,
        rows_b: jax.Array,
        train: bool = False,
        labels: Labels | None = None,
        progress: float | jax.Array = 0.0,
    ) -> tuple[Predictions, Arrays]:
        """Raw predictions of a batch of clips.

        Args:
            states: (batch, time, dim) of each that `reads` names.
            mask_bt: bool (batch, time), True for valid frames.
            rows_b: bool (batch,), False for filling.
            train: batch statistics and dropout.
            labels: for a head that is taught by them; they change no prediction but in training.
            progress: in [0, 1], share of the training that is done.

        Returns:
            ({task: float32 (batch, size)}, arrays: "embedding" (batch, tasks, embedding), what the
            last layers read).
        """
        del labels, progress
        predictions, embeddings = {}, []
        for task, x in zip(self.tasks, self.vectors(states, mask_bt, train), strict=True):
            predictions[task.name], embedding = self.head(task)(x, rows_b, train)
            embeddings.append(embedding)
        return predictions, {"embedding": jnp.stack(embeddings, 1)}

    def vectors(
        self, states: Sequence[jax.Array], mask_bt: jax.Array, train: bool
    ) -> Iterator[jax.Array]:
        """(batch, dim) that each task is predicted from, in their order."""
        del train
        for task in self.tasks:
            yield Pool(self.pooling, name=f"pool_{task.name}")(states[0], mask_bt)

    def head(self, task: HeadTask) -> TaskHead:
        """The layers of a task."""
        width = self.embedding if self.hidden else 0
        name = f"task_{task.name}"
        return TaskHead(task.size, width, self.activate, task.sigmoid, self.dtype, name=name)


class Chain(Vanilla):
    """One network a task in a chain: each reads, beside the clip, what those before it are about.

    In training these are the labels (one-hot for classes): teacher forcing, by `teacher_forcing`
    less and less. Elsewhere, and where a label is missing, they are the own predictions: the
    probabilities of classes and labels, values as they are; gradients go back through them.

    Attributes:
        tasks: in the order of the chain.
        embedding, dtype: as of Vanilla.
        pooling: of the frames (pooling.Pool), one for all tasks.
        teacher_forcing: share of the rows whose labels are read, drawn for each row and link, at
            the start and the end of the training; between them it changes evenly.
    """

    teacher_forcing: tuple[float, ...] = (1.0, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = tuple(self.teacher_forcing)
        if len(shares) != 2 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(
                f"teacher_forcing = {shares}: expected the shares of rows at the start and the end "
                "of the training, from 0 to 1: (1.0, 1.0)."
            )

    @property
    def taught(self) -> tuple[str, ...]:
        """Tasks that read those before them."""
        return tuple(task.name for task in self.tasks[1:])

    @nn.compact
    def __call__(
        self,
        states: Sequence[jax.Array],
        mask_bt: jax.Array,
        rows_b: jax.Array,
        train: bool = False,
        labels: Labels | None = None,
        progress: float | jax.Array = 0.0,
    ) -> tuple[Predictions, Arrays]:
        """As Vanilla.

        In evaluation labels give one more array for each of `taught`, "taught/<task>": what it
        predicts from the labels of the tasks before it, where they exist.
        """
        x = Pool(self.pooling, name="pool")(states[0], mask_bt)
        heads = [self.head(task) for task in self.tasks]
        share = None
        if train and self.teacher_forcing != (1, 1):
            start, end = self.teacher_forcing
            share = start + (end - start) * progress
        told = labels if train else None
        predictions, embedding = self._links(heads, x, rows_b, train, told or {}, share)
        arrays = {"embedding": embedding}
        if labels and not train:
            taught, _ = self._links(heads, x, rows_b, False, labels)
            arrays |= {f"{TAUGHT}{name}": taught[name] for name in self.taught}
        return predictions, arrays

    def _links(
        self,
        heads: Sequence[TaskHead],
        x_bd: jax.Array,
        rows_b: jax.Array,
        train: bool,
        labels: Labels,
        share: jax.Array | None = None,
    ) -> tuple[Predictions, jax.Array]:
        """(predictions, embedding) of the tasks one after the other.

        Args:
            labels: read in the place of predictions, where they exist.
            share: of the rows whose labels are read; None: all.
        """
        x, predictions, embeddings = x_bd, {}, []
        for task, head in zip(self.tasks, heads, strict=True):
            predictions[task.name], embedding = head(x, rows_b, train)
            embeddings.append(embedding)
            link = _own(task, predictions[task.name])
            if task.name in labels:
                link = self._told(task, link, *labels[task.name], share)
            x = jnp.concatenate([x, link.astype(x.dtype)], -1)
        return predictions, jnp.stack(embeddings, 1)

    def _told(
        self,
        task: HeadTask,
        own_bk: jax.Array,
        label: jax.Array,
        mask: jax.Array,
        share: jax.Array | None,
    ) -> jax.Array:
        """(batch, size): labels in the place of predictions, where they exist and are drawn."""
        if task.kind == "classes":
            shares = label if label.ndim == 2 else jax.nn.one_hot(label, task.size)
            label, mask = shares, mask[:, None]
        if share is not None:
            draw = jax.random.uniform(self.make_rng("dropout"), (own_bk.shape[0], 1))
            mask = mask & (draw < share)
        return jnp.where(mask, label, own_bk)


def _own(task: HeadTask, raw_bk: jax.Array) -> jax.Array:
    """Inputs [B, size] of the next links: probabilities, or values as they are."""
    if task.kind == "classes":
        return jax.nn.softmax(raw_bk)
    return nn.sigmoid(raw_bk) if task.kind == "labels" else raw_bk


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU, not the tanh form."""
    return nn.gelu(x, approximate=False)
