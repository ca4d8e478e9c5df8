"""A classifier and a selector in turns, on pictures."""

import pathlib

from ml_collections import ConfigDict

from configs.base import base_config


def get_config(variants: str = "") -> ConfigDict:
    c = base_config()
    c.system = str(pathlib.Path(__file__).with_name("selector.py"))
    c.model = ConfigDict(dict(name="classifier", features=("face",)))
    c.data.clips = True
    c.data.normalise = "none"
    c.data.batch_size, c.data.eval_batch_size, c.chunk_steps = 4, 8, 3
    c.tasks = ("kind",)
    c.task.kind = ConfigDict(
        dict(kind="classes", size=3, names=(), loss="ce", metrics=("f1",), weight=1.0)
    )
    c.monitor = ("kind/f1",)
    c.epochs = 3
    return c
