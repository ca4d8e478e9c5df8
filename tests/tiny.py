"""A tiny system on the small store: what the tests of loop, feeders and commands train."""

import pathlib

from affect_jax.config import override
from affect_jax.system import Supervised
from configs.mtl import get_config


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
    return Supervised(tiny_config(store, **changes))
