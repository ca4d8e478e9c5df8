"""A tiny system on the small store: what the tests of loop, feeders and commands train."""

import pathlib

import numpy as np

from affect_jax import systems
from affect_jax.config import override
from affect_jax.systems.supervised import Supervised
from configs.mtl import get_config
from data_pipelines.rows import Rows


def tiny_config(store: pathlib.Path, **changes):
    """configs/mtl.py:smoke on a small store; keyword a__b=1 changes a.b."""
    c = get_config("smoke")
    c.data.root = str(store)
    c.model.features = ("a", "b")
    c.data.length, c.data.batch_size, c.chunk_steps = 4, 3, 2
    override(c, [(key.replace("__", "."), str(value)) for key, value in changes.items()])
    return c


def tiny_system(store: pathlib.Path, **changes) -> Supervised:
    """The system of `tiny_config`."""
    return systems.build(tiny_config(store, **changes))


def prepared(system: Supervised, rows: Rows, ids: np.ndarray, *, labels: bool = False):
    """The batch of these rows as the model takes it in evaluation."""
    data = system.data
    batch = data.source(labels=labels).batch(rows, data.shape(), np.asarray(ids, np.int32))
    return system.prepare(batch, None, False)
