"""A small classifier of pictures, and RLPS that selects what it is trained on."""

import pathlib

from ml_collections import ConfigDict

from configs.base import base_config
from configs.rlps_keys import rlps_keys


def get_config(variants: str = "") -> ConfigDict:
    c = base_config()
    c.system, c.seed = "rlps", 3  # the turns of this seed retain other numbers of batches
    c.rlps = rlps_keys(str(pathlib.Path(__file__).with_name("pictures.py")))
    c.rlps.alternations, c.rlps.policy_passes, c.rlps.minibatch = 3, 2, 8
    c.rlps.policy.widths = (4,)
    c.rlps.lr = 0.2
    c.model = ConfigDict(dict(name="classifier", features=("face",)))
    c.data.clips = True
    c.data.normalise = "none"
    c.data.batch_size, c.data.eval_batch_size, c.chunk_steps = 4, 8, 3
    c.tasks = ("kind",)
    c.task.kind = ConfigDict(
        dict(kind="classes", size=3, names=(), loss="ce", metrics=("f1",), weight=1.0)
    )
    c.monitor = ("kind/f1",)
    c.optim.lr, c.optim.schedule = 0.01, "constant"
    c.epochs, c.checkpoint = 5, "last"
    return c
