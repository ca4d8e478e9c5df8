"""The temporal suite: whole training epochs of an ABAW4 encoder with SE heads.

Both sides read the same store, train the same model (2048 inputs; a transformer of width 256 with
4 layers and ffn 1024, an LSTM of width 1024, or a GRU with two layers of it; heads 512-256) with
the same losses, per-network clipping and Adam, and score the predictions of the training batches at
the end of an epoch. *chunk*: steps on data that is already on the device (ours: one scan). *epoch*:
data loading and metrics included.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.rounds import alternate
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

INPUTS, HEADS = 2048, (512, 256)
ENCODERS = {
    "transformer": dict(
        name="transformer",
        hidden=256,
        layers=4,
        heads=4,
        ffn=1024,
        dropout=0.1,
        positions="sinusoid",
    ),
    "lstm": dict(name="lstm", hidden=1024, layers=1),
    "gru": dict(name="gru", hidden=1024, layers=2, dropout=0.3),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """Rows a batch, frames a row, steps an epoch, and which encoder reads them."""

    batch: int
    length: int
    steps: int
    bf16: bool = False
    model: str = "transformer"

    @property
    def frames(self) -> int:
        """Frames a step."""
        return self.batch * self.length


def header(peer: bool) -> str:
    """Versions and devices of what runs."""
    import jax

    device = jax.devices()[0]
    text = f"jax {jax.__version__} on {device.device_kind}, {len(os.sched_getaffinity(0))} cores"
    if peer:
        import torch

        where = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
        text += f"; torch {torch.__version__} on {where}, {torch.get_num_threads()} threads"
    return text


def store(folder: pathlib.Path, shape: Shape) -> Store:
    """Random features and labels: as many tracks of one segment as an epoch has rows."""
    from tests.stores import LABELS

    rng = np.random.default_rng(0)
    features = {"f": dict(size=INPUTS)}
    with StoreWriter(folder, name="benchmark", features=features, labels=LABELS) as writer:
        for i in range(shape.batch * shape.steps):
            n = shape.length
            writer.add(
                track=f"t{i}",
                split="train",
                features={"f": rng.standard_normal((n, INPUTS), np.float32)},
                labels={
                    "valence": rng.uniform(-1, 1, n),
                    "arousal": rng.uniform(-1, 1, n),
                    "expression": rng.integers(0, 8, n),
                    "au": rng.integers(0, 2, (n, 12)),
                },
            )
    return Store(folder)


def config(folder: pathlib.Path, shape: Shape):
    """configs/mtl.py at the suite's sizes."""
    from ml_collections import ConfigDict

    from configs.mtl import get_config

    c = get_config("transformer")
    c.data.root, c.data.split, c.data.normalise = str(folder), "", "none"
    c.data.length, c.data.batch_size = shape.length, shape.batch
    c.data.eval_batch_size = shape.batch
    c.model.features = ("f",)
    c.model.encoder = ConfigDict(ENCODERS[shape.model])
    c.model.head.update(layers=HEADS, dropout=0.3)
    c.model.dtype = "bfloat16" if shape.bf16 else "float32"
    c.epochs, c.chunk_steps = 10**6, 8
    return c


class Ours:
    """Epochs of this project's loop pieces: feeder, compiled chunks, evaluation."""

    def __init__(self, folder: pathlib.Path, shape: Shape):
        import jax
        import jax.numpy as jnp

        from affect_jax import systems
        from affect_jax.predict import Predictor
        from affect_jax.scoring import score
        from affect_jax.step import chunk
        from affect_jax.train import chunk_bounds

        c = config(folder, shape)
        self.system = systems.build(c)
        self.plan = self.system.data.training_plan(carries=self.system.carries)
        self.feeder = self.system.data.feeder(self.plan.rows, training=True)
        self.state = self.system.init()
        program = self.system.programs()["train"]
        self.run = chunk(
            program.step,
            self.feeder.fetch,
            functools.partial(self.system.prepare, train=True),
            self.system.data.mesh,
            self.system.compiler_options,
        )
        self.predictor = Predictor(self.system, "train")
        self.score, self.bounds, self.steps = score, chunk_bounds, shape.steps
        self.zeros = lambda n: jnp.zeros(n, jnp.float32)
        self.block = jax.block_until_ready
        self.number = 0

    def chunk(self) -> float:
        """Seconds a step inside the compiled chunks."""
        table = self.plan.epoch(self.number)
        bounds = self.bounds(len(table), 0, 8)
        pieces = list(self.feeder.chunks(table, bounds))
        self.block(pieces)
        start = time.perf_counter()
        self._train(pieces, bounds)
        return (time.perf_counter() - start) / self.steps

    def epoch(self) -> float:
        """Seconds a step of an epoch: plan, chunks, then prediction and metrics of the split."""
        start = time.perf_counter()
        table = self.plan.epoch(self.number)
        bounds = self.bounds(len(table), 0, 8)
        self._train(self.feeder.chunks(table, bounds), bounds)
        tracks = self.predictor.tracks(self.state.variables())
        self.score(self.system.tasks, self.system.data.store, tracks)
        self.number += 1
        return (time.perf_counter() - start) / self.steps

    def _train(self, pieces, bounds) -> None:
        for xs, a, b in zip(pieces, bounds, bounds[1:], strict=False):
            zeros = self.zeros(b - a)
            epoch = np.int32(self.number)
            self.state, logs = self.run(self.state, self.feeder.data, xs, epoch, zeros, zeros)
        self.block(logs)


def measure(
    shape: Shape, rounds: int, *, peer: Callable[[Store, Shape], Any] | None
) -> Iterator[tuple[dict[str, float], load.Load]]:
    """({"ours chunk": seconds a step, "torch epoch": ...}, load) of every round, in turns.

    Args:
        peer: makes the other side, torch_peer.Peer; None for ours alone.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name) / "store"
        store(folder, shape)
        sides: dict[str, Any] = {"ours": Ours(folder, shape)}
        if peer is not None:
            sides["torch"] = peer(Store(folder), shape)
        timers: dict[str, Callable[[], float]] = {
            f"{side} {what}": getattr(thing, what)
            for side, thing in sides.items()
            for what in ("chunk", "epoch")
        }
        yield from alternate(timers, rounds)
