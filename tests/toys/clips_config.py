"""Tone and loudness of short sounds."""

import pathlib

from ml_collections import ConfigDict

from configs.base import base_config


def get_config(variants: str = "") -> ConfigDict:
    c = base_config()
    c.system = str(pathlib.Path(__file__).with_name("clips.py"))
    c.model = ConfigDict(dict(name="listener", features=("audio",)))
    c.data.clips, c.data.seconds, c.data.random_start = True, 0.05, True
    c.data.normalise = "none"
    c.data.batch_size, c.data.eval_batch_size, c.chunk_steps = 4, 4, 2
    c.tasks = ("tone", "loudness")
    c.task.tone = ConfigDict(
        dict(kind="classes", size=2, loss="ce", metrics=("f1", "uar"), label_smoothing=0.1)
    )
    c.task.loudness = ConfigDict(
        dict(kind="values", size=1, loss="ccc+0.1*mse", metrics=("ccc", "rmse"))
    )
    c.optim.groups = ("ears",)
    c.optim.group.ears = ConfigDict(dict(match="conv/.*", rate=0.5, clip_norm=1.0))
    c.optim.lr = 0.02
    c.monitor = ("loudness/ccc",)
    c.epochs, c.ema_decay = 3, 0.5
    return c
