r"""Vocal bursts (A-VB 2022): kind, valence and arousal, ten emotions, and these by four cultures.

Run:      python -m affect_jax.main --config=configs/vocal_bursts.py --workdir=runs/bursts
          on a synthetic twin of HUME-VB, with a small backbone from nothing
Data:     python -m data_pipelines.prepare --source=humevb --input=FOLDER --store=STORE
          then --config=configs/vocal_bursts.py:chain,dwa,paper --config.data.root=STORE \
              --config.init.weights=facebook/wav2vec2-base
Variants: one of a kind, joined by commas:
          vanilla (as without a name), a network a task; chain, each reads what those before it say;
          branch, each asks hidden states of another depth; branch_v2, a tower a task over all;
          fixed (as without a name), uniform weights of the task losses; dwa, rruw, druw,
          uncertainty, rules that weigh them;
          paper, sizes and rates of the paper (arXiv 2209.07384);
          script, those of the released code where they differ;
          stored, the head alone, on hidden states that another run has exported;
          smoke, two epochs of something tiny.
Order:    a chain goes in that of --config.tasks=type,two,high,culture; --mode=folds scores an order
          on the training split's own clips, each by a run that has not seen it, and --mode=sweep
          several: --config.sweep.space="(('tasks', (('type','two','high','culture'),
          ('culture','high','two','type'))),)". The run's README compares every link on
          predictions and on labels.
Stored:   a published backbone as it is, heard once; every head on it then trains in seconds
          python -m affect_jax.main --config=configs/vocal_bursts.py:paper --workdir=runs/base \
              --config.init.weights=facebook/wav2vec2-base --config.freeze='.*' --config.epochs=1 \
              --config.data.root='twin:bursts?size=small' --config.data.split=
          makes a run of its weights, in a minute, as nothing is trained; then
          python -m affect_jax.export runs/base --config.data.root=STORE --out=HIDDEN \
              --arrays=hidden
          python -m affect_jax.main --config=configs/vocal_bursts.py:chain,dwa,stored \
              --workdir=RUN --config.data.root=STORE,HIDDEN --config.model.features=base/hidden
          Pooling over time is the mean then, and nothing changes the sound.
"""

from ml_collections import ConfigDict

from configs.audio_keys import audio_keys
from configs.base import base_config
from configs.speech_keys import base_backbone, small_backbone
from data_pipelines.bursts import DEFINITIONS

HEADS = ("vanilla", "chain", "branch", "branch_v2")
WEIGHTINGS = ("fixed", "dwa", "rruw", "druw", "uncertainty")
VARIANTS = (*HEADS, *WEIGHTINGS, "paper", "script", "stored", "smoke")
EXCLUSIVE = (HEADS, WEIGHTINGS, ("paper", "script"))

_VALUES = dict(loss="ccc", metrics=("ccc", "pearson"))
# In the order of the chain. The weighting inside a task is one of its dimensions; "": their mean.
TASKS = {
    "type": dict(loss="ce", metrics=("uar", "accuracy", "confusion")),
    "two": dict(_VALUES, weighting=""),
    "high": dict(_VALUES, weighting=""),
    "culture": dict(_VALUES, weighting=""),
}
SCORES = {"type": "type/uar", "two": "two/ccc", "high": "high/ccc", "culture": "culture/ccc"}


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the default: VANILLA, uniform weights."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    head = next((name for name in HEADS if name in chosen), "vanilla")
    c = base_config()
    c.system = "audio"
    c.audio = audio_keys()
    c.weighting = next((name for name in WEIGHTINGS if name in chosen), "fixed")

    c.data.root = "twin:bursts"
    c.data.clips = True
    c.data.seconds = 2.5  # longer clips are cut, shorter ones padded
    c.data.random_start = True
    c.data.normalise = "none"  # of sound: c.audio.level
    c.data.drop_last = True  # batch statistics of few clips are poor ones
    c.data.batch_size = 16
    c.data.eval_batch_size = 50

    c.tasks = tuple(TASKS)
    c.task = ConfigDict({name: dict(DEFINITIONS[name], **TASKS[name]) for name in TASKS})
    c.total = ConfigDict(dict(name="total", terms=tuple((s, 0.25) for s in SCORES.values())))
    c.monitor = ("total",)  # of a large backbone each more would keep a state of a gigabyte

    m = c.model = ConfigDict()
    m.name = "vocal_bursts"
    m.features = ("audio",)
    m.dtype = "float32"  # of activations; "bfloat16" keeps float32 parameters and norms
    # masked: a clip's answer is the same alone, padded and in any batch; heard: padding is silence
    # that the model hears, as the original; auto: heard by published weights that heard it
    # (init.weights), as by the run it begins with (init.run), else masked.
    m.padding = "auto"
    m.backbone = small_backbone()
    m.head = _head(head)

    c.epochs = 20
    c.optim.name, c.optim.weight_decay = "adamw", 0.01
    c.optim.lr = 2e-3
    c.optim.hold_epochs = 2
    # Backbone, head and learned weights of losses each by themselves: the gradient of the last is
    # large.
    c.optim.clip, c.optim.clip_norm = "subnetwork", 1.0
    # The learned weights of rruw, druw and uncertainty ("weighting/.*") are trained at the rate of
    # the head, as in the original; a group of their own has another.
    c.optim.groups = ("backbone",)
    c.optim.group.backbone = ConfigDict(dict(match="backbone/.*", rate=1.0))

    if "paper" in chosen or "script" in chosen:
        _published(c)
    if "script" in chosen:
        _released(c)
    if "smoke" in chosen:
        _tiny(c)
    if "stored" in chosen:
        _on_hidden_states(c)
    return c


def _head(name: str) -> ConfigDict:
    h = ConfigDict(dict(name=name, embedding=64, pooling="attention"))
    # Tasks whose values are squashed into (0, 1), as their labels are, if they are in c.tasks.
    h.sigmoid = ("high", "culture")
    if name == "chain":
        # Share of the clips whose labels are read in training, at its start and its end.
        h.teacher_forcing = (1.0, 1.0)
    if name in ("branch", "branch_v2"):
        h.layers = "even"  # hidden states that are asked: even, first, middle, last
        h.heads = 8
        h.dropout = 0.3  # on the attention; branch_v2: also behind the mappings
    return h


def _published(c: ConfigDict) -> None:
    """Section 4 of the paper; what it leaves open as the released code has it."""
    c.model.backbone = base_backbone()
    c.model.backbone.mask_feature_prob = 0.05
    c.model.head.embedding = 256
    c.model.padding = "heard"
    c.data.batch_size, c.data.eval_batch_size = 8, 8
    c.epochs = 30
    c.optim.lr, c.optim.group.backbone.rate = 1e-3, 0.01  # head and backbone: 1e-3 and 1e-5
    c.optim.weight_decay, c.optim.clip_norm = 0.0, 0.0
    c.optim.schedule, c.optim.factor, c.optim.patience = "plateau", 0.5, 5
    c.optim.threshold = 1e-4


def _released(c: ConfigDict) -> None:
    """The defaults of the released code where the paper has others."""
    c.model.backbone.mask_feature_prob = 0.0
    c.optim.name, c.optim.factor = "adam", 0.9
    if c.model.head.name in ("branch", "branch_v2"):
        c.model.head.pooling = "last"  # which it calls attention
    for name in ("two", "high", "culture"):
        # The rule of the tasks weighs the dimensions inside each of them too.
        c.task[name].weighting = "" if c.weighting == "fixed" else c.weighting


def _tiny(c: ConfigDict) -> None:
    c.data.root = "twin:bursts?size=small"
    c.epochs, c.optim.hold_epochs = 2, 0
    c.model.backbone = small_backbone()
    c.model.backbone.update(conv_dim=(8,) * 4, hidden_size=16, num_hidden_layers=2)
    c.model.backbone.update(num_attention_heads=2, intermediate_size=16)
    c.model.head.embedding = 16
    c.data.batch_size, c.data.eval_batch_size = 8, 20


def _on_hidden_states(c: ConfigDict) -> None:
    c.model.features = ("base/hidden",)  # RUN/hidden, or single ones: RUN/hidden_6,RUN/hidden_12
    c.model.backbone = ConfigDict(dict(model_type="stored"))
    c.data.random_start = False  # they are of the beginning of each clip
    c.data.normalise = "train"
    c.optim.groups = ()
    c.optim.group = ConfigDict()
