r"""Valence and arousal per frame, trained on the concordance correlation.

Run:      python -m affect_jax.main --config=configs/va.py --workdir=runs/va
          on a synthetic twin of Aff-Wild2's valence-arousal track.
Variants: any of these, joined by commas:
          transformer (the default), transformer_lstm, transformer_attention, fclstm: the models of
          ABAW3 (arXiv 2203.13032), the last three with its one head for both tasks. The second can
          start from the transformer of another run, as it is, and train only what follows it:
          --config=configs/va.py:transformer_lstm --config.init.run=RUN \
          --config.init.match='encoder/(projection|layer_\d+)/.*' \
          --config.freeze='encoder/(projection|layer_\d+)/.*'
          bins, frequency_bins: values as the expectation over 22 bins of one width, or with equally
          many labels each;
          paper, the sizes and rates of the released scripts, which are all that is published;
          mouth, the mouth-opening slice of Aff-Wild2:
          python -m data_pipelines.prepare --source=affwild2_mouth --input=FOLDER --store=STORE
          python -m affect_jax.main --config=configs/va.py:mouth --config.data.root=STORE ...
          smoke, two short epochs.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.abaw_tasks import ABAW_TASKS
from configs.base import base_config, multitask_model

# Encoders in the place of the transformer of configs/base.py. All of them hand something on from
# segment to segment.
_TRANSFORMER = dict(hidden=64, layers=1, heads=4, ffn=128, dropout=0.2, positions="sinusoid")
ENCODERS = {
    "transformer_lstm": dict(
        name="transformer_lstm",
        **_TRANSFORMER,
        residual=True,  # add what the transformer reads to what the LSTM reads
    ),
    "transformer_attention": dict(
        name="transformer_attention",
        **_TRANSFORMER,
        memory=64,  # means of earlier frames that are kept
        chunk=16,  # frames that a mean is over
        attention="multihead",  # single: without learned projections
        memory_heads=4,
    ),
    "fclstm": dict(name="fclstm", hidden=64, dropout=0.2),
}

# Labels of the ABAW3 training set in 20 cells over [-1, 1]. Source: the released code.
COUNTS = {
    "valence": (
        *(27425, 20326, 35916, 46624, 48919, 51225, 56399, 63890, 79380, 75452),
        *(271361, 263633, 169472, 107129, 71913, 63248, 44008, 31391, 23231, 30242),
    ),
    "arousal": (
        *(7114, 1499, 1811, 4137, 4832, 6389, 11349, 18920, 29469, 45875),
        *(207891, 306583, 249557, 189182, 136268, 107747, 85861, 64224, 44853, 57623),
    ),
}

VARIANTS = ("transformer", *ENCODERS, "bins", "frequency_bins", "paper", "mouth", "smoke")
# Those of which one can be chosen.
EXCLUSIVE = (("transformer", *ENCODERS), ("bins", "frequency_bins"))


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the small default: a transformer, a head a task."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    encoder = next((name for name in ENCODERS if name in chosen), "transformer")
    linear = encoder == "transformer" and "transformer" not in chosen  # on the mouth slice
    c = base_config()
    c.data.root = "twin:va"
    c.tasks = ("valence", "arousal")
    c.task = ConfigDict({name: ABAW_TASKS[name] for name in c.tasks})
    for name in c.tasks:
        c.task[name].loss = "ccc"
    c.total = ConfigDict(dict(name="CCC", terms=(("valence/ccc", 0.5), ("arousal/ccc", 0.5))))
    c.monitor = ("CCC", "valence/ccc", "arousal/ccc")

    c.model = multitask_model()
    c.model.encoder.dropout = 0.2
    c.model.head = ConfigDict(dict(layers=(64,), dropout=0.2))

    c.data.length = 128
    c.data.batch_size = 16  # the concordance is taken over all labelled frames of the batch
    c.epochs = 15
    c.optim.lr = 1e-3
    c.optim.hold_epochs = 1

    if encoder in ENCODERS:
        c.model.encoder = ConfigDict(ENCODERS[encoder])
        c.model.structure = ConfigDict(dict(name="joint"))
    for name in {"bins", "frequency_bins"}.intersection(chosen):
        _bins(c, by_frequency=name == "frequency_bins")
    if "mouth" in chosen:
        _mouth(c, linear)
    if "paper" in chosen:
        _published(c, encoder)
    if "smoke" in chosen:
        c.data.root = c.data.root and "twin:va?size=small"
        c.epochs, c.optim.hold_epochs = 2, 0
        _resize(c.model.encoder, hidden=16, layers=1, ffn=16)
        c.model.head.layers = (8,)
    return c


def _resize(encoder: ConfigDict, **sizes: Any) -> None:
    """Set those of the keys that this encoder has."""
    encoder.update({key: value for key, value in sizes.items() if key in encoder})


def _bins(c: ConfigDict, *, by_frequency: bool) -> None:
    """Both losses of the paper's bin heads: that of the values and that of the bins."""
    from affect_jax.bins import frequency_bins, uniform_bins

    for name in c.tasks:
        table = frequency_bins(COUNTS[name]) if by_frequency else uniform_bins(22)
        c.task[name].update(kind="bins", decode="expectation", loss="ccc+ce", **table)


def _published(c: ConfigDict, encoder: str) -> None:
    """The training scripts of the released code; the abstract of the paper gives no sizes."""
    c.model.structure = ConfigDict(dict(name="joint"))
    _resize(c.model.encoder, hidden=256, layers=4, heads=4, ffn=1024, positions="abaw4")
    _resize(c.model.encoder, dropout=0.1, memory=100, chunk=10)
    c.model.head = ConfigDict(dict(layers=(256, 256), dropout=0.3))
    c.data.length, c.data.batch_size = 250, 16
    c.optim.lr, c.optim.beta1 = 2e-5, 0.5
    c.optim.schedule, c.optim.by = "linear", "epoch"
    c.epochs, c.optim.hold_epochs = 30, 10
    if encoder == "fclstm":
        c.model.encoder.hidden, c.model.head.layers = 512, (512, 256)
        c.data.length, c.optim.lr, c.optim.hold_epochs = 100, 3e-5, 3


def _mouth(c: ConfigDict, linear: bool) -> None:
    """Mouth opening over 1 s and 4 s; without the name of an encoder, a linear model of it.

    All values were chosen by five folds of videos inside the training tracks (--mode=folds with
    --config.folds.official=false), on the concordance of all held-out frames. 94 tracks are few:
    the linear model (no encoder layers: a projection and an output, with dropout between) is as
    good as the encoders, which see one frame a second, a minute at once. Features 0.75 s before
    their labels bring .005, the 1 s beside the 4 s another .01, 16 s and longer lose (for arousal,
    by a ridge regression in three cuts of the folds).
    """
    c.data.root = ""
    c.model.features = ("mouth_1s", "mouth_4s")
    c.data.label_delay = 0.75
    c.data.length, c.data.batch_size, c.data.eval_batch_size = 16, 256, 256
    if not linear:
        c.data.length, c.data.stride = 64, 30
        c.data.batch_size, c.data.eval_batch_size = 64, 64
    sizes = dict(hidden=32, layers=0 if linear else 1, heads=2, ffn=32, dropout=0.5)
    _resize(c.model.encoder, **sizes, positions="none")
    c.model.head.update(layers=(), dropout=0.5)
    c.epochs, c.optim.hold_epochs = 4 if linear else 1, 0
    c.optim.lr = 3e-3
    c.checkpoint = "last"  # nothing is chosen on the tracks that are scored
