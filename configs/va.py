r"""Valence and arousal per frame, trained on the concordance correlation.

Run:      python -m affect_jax.main --config=configs/va.py --workdir=runs/va
          on a synthetic twin of Aff-Wild2's valence-arousal track.
Variants: mouth, the mouth-opening slice of Aff-Wild2:
          python -m data_pipelines.prepare --source=affwild2_mouth --input=FOLDER --store=STORE
          python -m affect_jax.main --config=configs/va.py:mouth --config.data.root=STORE ...
          smoke, two short epochs.
"""

from ml_collections import ConfigDict

from configs.abaw_tasks import ABAW_TASKS
from configs.base import base_config, mtl_model

VARIANTS = ("mouth", "smoke")


def get_config(variants: str = "") -> ConfigDict:
    """The config of "mouth", "smoke", or "" for the twin."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS)
    c = base_config()
    c.data.root = "twin:va"
    c.tasks = ("valence", "arousal")
    c.task = ConfigDict({name: ABAW_TASKS[name] for name in c.tasks})
    for name in c.tasks:
        c.task[name].loss = "ccc"
    c.total = ConfigDict(dict(name="CCC", terms=(("valence/ccc", 0.5), ("arousal/ccc", 0.5))))
    c.monitor = ("CCC", "valence/ccc", "arousal/ccc")

    c.model = mtl_model()
    c.model.encoder.dropout = 0.2
    c.model.head = ConfigDict(dict(layers=(64,), dropout=0.2))

    c.data.length = 128
    c.data.batch_size = 16  # the concordance is taken over all labelled frames of the batch
    c.epochs = 15
    c.optim.lr = 1e-3
    c.optim.hold_epochs = 1

    if "mouth" in chosen:
        _mouth(c)
    if "smoke" in chosen:
        c.data.root = "twin:va?size=small"
        c.epochs, c.optim.hold_epochs = 2, 0
        c.model.encoder.hidden, c.model.encoder.layers, c.model.encoder.ffn = 16, 1, 16
        c.model.head.layers = (8,)
    return c


def _mouth(c: ConfigDict) -> None:
    """Mouth opening and its statistics over 1 s to 64 s; every tenth frame of about 85 s."""
    c.data.root = ""
    c.model.features = ("mouth", "mouth_context")
    c.data.length, c.data.stride = 256, 10
