r"""ABAW4 multi-task learning: valence, arousal, 8 expressions, 12 action units from features.

Run:      python -m affect_jax.main --config=configs/mtl.py --workdir=runs/mtl
          on a synthetic twin of s-Aff-Wild2: a linear model of moving averages, ours, that all
          tasks share. With any variant but averages: a system of the paper, in small.
Data:     python -m data_pipelines.prepare --source=affwild2 --input=FOLDER --store=STORE
          then --config=configs/mtl.py:paper --config.data.root=STORE
Variants: any of these, joined by commas:
          averages, the default by its name;
          transformer, what every other variant has for an encoder unless it is one of
          relative, lstm, bilstm, gru;
          se, one shared encoder (as without a name); sbe, a transformer a task on top of it;
          hsf, feedback from task to task, on sbe or, with se beside it, on se;
          valence, arousal, expression, au: the tasks that the paper trains for the sake of this
          one, with their feedback where hsf is given too;
          paper, the sizes and rates of the paper (arXiv 2207.09373, section 4);
          script, those of the released scripts where they differ;
          mix, training and validation together, the checkpoints of WINDOWS kept to be ensembled:
          python -m affect_jax.ensemble RUN@10-19 --tasks=valence --out=FITTED ...;
          smoke, two steps' worth of everything.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.abaw_tasks import ABAW_TASKS, P_MTL, SCORES
from configs.base import base_config, multitask_model

# Encoders in the place of the transformer of configs/base.py.
ENCODERS = {
    "averages": dict(
        name="averages",
        hidden=32,
        # First and last frame of each mean, counted from the frame that is predicted.
        windows=((-8, 8), (0, 16), (-16, 0), (-40, 40)),
        dropout=0.2,
    ),
    "relative": dict(
        name="relative",
        hidden=64,
        layers=2,
        heads=4,
        dropout=0.1,
        window=4,  # frames to each side that attention tells apart
        kernel=5,  # frames that a convolution reads
    ),
    "lstm": dict(name="lstm", hidden=64, layers=1, dropout=0.1, bidirectional=False),
    "bilstm": dict(name="lstm", hidden=64, layers=1, dropout=0.1, bidirectional=True),
    "gru": dict(name="gru", hidden=64, layers=2, dropout=0.1, bidirectional=False),
}

# For each task: those trained with it, and which of them feed which. Source: table 2 of the paper,
# whose scored task is a source for valence and expression and a target for arousal and au.
TASK_SETS = {
    "valence": dict(with_=("expression",), sources=("valence",), targets=("expression",)),
    "arousal": dict(with_=("valence", "au"), sources=("valence", "au"), targets=("arousal",)),
    "expression": dict(with_=("valence",), sources=("expression",), targets=("valence",)),
    "au": dict(with_=("valence",), sources=("valence",), targets=("au",)),
}

# Epochs (from 1, of 50) whose models are ensembled where none can be chosen. Source: section 4.
WINDOWS = {"valence": "10-19", "arousal": "15-19", "expression": "15-24", "au": "30-34"}

VARIANTS = (
    "transformer",
    *ENCODERS,
    "se",
    "sbe",
    "hsf",
    *TASK_SETS,
    "paper",
    "script",
    "mix",
    "smoke",
)
# Those of which one can be chosen.
EXCLUSIVE = (
    ("transformer", *ENCODERS),
    ("se", "sbe"),
    tuple(TASK_SETS),
    ("averages", "paper"),
    ("averages", "script"),
)


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the default: moving averages, SE, all tasks."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    fallback = "transformer" if chosen else "averages"
    encoder = next((name for name in ENCODERS if name in chosen), fallback)
    target = next((name for name in TASK_SETS if name in chosen), "")
    c = base_config()
    c.data.root = "twin:mtl"
    c.tasks = tuple(ABAW_TASKS)
    c.task = ConfigDict(ABAW_TASKS)
    c.total = ConfigDict(dict(name="P_MTL", terms=P_MTL))
    c.monitor = ("P_MTL", *SCORES.values())

    c.model = multitask_model()
    # Rate, decay, batch, dropout and epochs were chosen on another twin: twin:mtl?seed=1.
    c.epochs = 80
    c.optim.name, c.optim.weight_decay = "adamw", 0.1
    c.optim.lr = 2e-3
    c.optim.hold_epochs = 2
    c.data.batch_size = 8

    if encoder in ENCODERS:
        c.model.encoder = ConfigDict(ENCODERS[encoder])
    if encoder in ("lstm", "bilstm", "gru"):
        c.optim.lr = 5e-3
    if encoder == "averages":
        _averages(c)
    if "sbe" in chosen or ("hsf" in chosen and "se" not in chosen):
        _branch(c)
    if target:
        _train_for(c, target)
    if "hsf" in chosen:
        _feed_back(c, target or "arousal")
    if "mix" in chosen:
        _mix(c, target)
    if "paper" in chosen or "script" in chosen:
        _published(c, encoder)
        c.data.length = 250 if target == "arousal" else 64
    if "script" in chosen:
        _script(c, encoder)
    if "smoke" in chosen:
        c.epochs, c.optim.hold_epochs = 2, 0
        c.keep_epochs = ("1-2",) if "mix" in chosen else ()
        c.data.root = "twin:mtl?size=small"
        c.model.features = multitask_model().features  # those of the twin
        _resize(c.model.encoder, hidden=16, layers=1, heads=2, ffn=16)
        _resize(c.model.structure, layers=1, head_dim=8, ffn=16)
        c.model.head.layers = (8,)
    return c


def _resize(part: ConfigDict, **sizes: Any) -> None:
    """Set those of the keys that this encoder or structure has."""
    part.update({key: value for key, value in sizes.items() if key in part})


def _averages(c: ConfigDict) -> None:
    """Linear heads on the means, trained on what P_MTL is made of."""
    losses = dict(valence="ccc", arousal="ccc", expression="balanced_ce", au="balanced_bce")
    for name, loss in losses.items():
        c.task[name].loss = loss
    c.model.head = ConfigDict(dict(layers=(), dropout=0.2))
    c.data.length, c.data.hop = 256, 128  # each frame has its neighbours in one of two rows
    c.epochs, c.optim.lr = 64, 3e-3
    c.checkpoint = "last"


def _branch(c: ConfigDict) -> None:
    """SBE: of the default's two layers one is shared, and each task has one of its own."""
    _resize(c.model.encoder, layers=1)
    c.model.structure.update(
        name="sbe",
        layers=1,  # of each task's transformer
        head_dim=16,  # width of its attention heads; their number follows from what it reads
        ffn=128,
        dropout=0.1,
        positions="sinusoid",  # added a second time
    )


def _train_for(c: ConfigDict, target: str) -> None:
    """The tasks that help `target`, which alone decides what is the best step."""
    tasks = {target, *TASK_SETS[target]["with_"]}
    c.tasks = tuple(name for name in ABAW_TASKS if name in tasks)
    c.total = ConfigDict(dict(name="total", terms=()))
    c.monitor = (SCORES[target],)


def _feed_back(c: ConfigDict, target: str) -> None:
    c.model.structure.update(
        sources=TASK_SETS[target]["sources"],  # those of c.tasks whose networks ...
        targets=TASK_SETS[target]["targets"],  # ... those of these tasks read
        tap="head",  # what of a source: its head's last hidden layer, or (sbe) its encoder's output
    )


def _mix(c: ConfigDict, target: str) -> None:
    """Train-Val-Mix. The windows count epochs of the paper's schedule, so that comes with them."""
    c.data.train_split, c.data.split = "train+validation", ""
    c.optim.schedule, c.optim.by = "linear", "epoch"
    c.epochs, c.optim.hold_epochs = 50, 20
    c.keep_epochs = (WINDOWS[target],) if target else tuple(WINDOWS.values())
    c.checkpoint = "last"


def _published(c: ConfigDict, encoder: str) -> None:
    """Section 4 of the paper; what it does not state is the released scripts'."""
    c.model.features = ("mae", "ires100", "fau", "densenet")
    c.model.encoder.hidden = 1024
    c.model.encoder.dropout = {"relative": 0.1, "lstm": 0.0, "bilstm": 0.0}.get(encoder, 0.3)
    if encoder in ("transformer", "relative"):
        c.model.encoder.layers = 4
        _resize(c.model.encoder, heads=4, ffn=1024, positions="abaw4")
    if c.model.structure.name == "sbe":
        c.model.encoder.layers = 1
        c.model.structure.update(layers=3, head_dim=64, ffn=1024, dropout=0.3, positions="abaw4")
        _resize(c.model.structure, tap="encoder")
    c.model.head.layers, c.model.head.dropout = (512, 256), 0.3
    c.data.batch_size = 8
    c.optim.name, c.optim.weight_decay = "adam", 0.0
    c.optim.lr, c.optim.beta1 = 5e-5, 0.5
    c.optim.schedule, c.optim.by = "linear", "epoch"
    c.epochs, c.optim.hold_epochs = 50, 20
    c.task.valence.weight = c.task.arousal.weight = 12.0  # script: 12, 12, 1, 0.35
    c.task.au.weight, c.task.expression.weight = 1.0, 0.35


def _script(c: ConfigDict, encoder: str) -> None:
    """train_mtl_transformer, train_lstm and train_gru of the released code."""
    if encoder in ("transformer", "relative"):
        _resize(c.model.encoder, heads=16, ffn=2048)
        _resize(c.model.structure, ffn=2048, tap="head")
        c.optim.schedule = "warmup"
        c.optim.hold_epochs = 10
    else:
        c.optim.hold_epochs = 30
        c.model.head.layers = (512, 256) if encoder == "gru" else (256, 256)
