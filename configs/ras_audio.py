r"""Valence and arousal from speech: the audio branch of RAS (10th ABAW).

Run:      python -m affect_jax.main --config=configs/ras_audio.py --workdir=runs/audio
          on a synthetic twin, with a small backbone from nothing
Data:     a store with a stream of sound at 16 kHz, called "sound" here, and labels of frames:
          python -m data_pipelines.prepare --source=ras --input=FOLDER --store=STORE
          then --config=configs/ras_audio.py:paper --config.data.root=STORE \
              --config.data.keep=SPEECH --config.init.weights=WEIGHTS
Speech:   SPEECH lists the windows in which the person that is seen speaks, by the stream
          "mouth_open" of a store; the others are scored, and not trained on:
          python -m data_pipelines.segments --store=STORE --keep=SPEECH
Weights:  microsoft/wavlm-large, or an emotion model on it as the authors take it,
          3loi/SER-Odyssey-Baseline-WavLM-Multi-Attributes: a folder, or in the Hugging Face cache.
Variants: paper, sizes and rates of the authors (arXiv 2603.13056 and its released code);
          smoke, two epochs of something tiny.
Export:   python -m affect_jax.export runs/audio --out=AUDIO --arrays=embedding
          writes audio/valence, audio/arousal and audio/embedding of each frame, for the fusion.

A window of four seconds has four steps. In training a step is compared with the mean label of its
frames, in evaluation the frames lie on lines between the steps.
"""

from ml_collections import ConfigDict

from configs.abaw_tasks import ABAW_TASKS
from configs.audio_keys import audio_keys
from configs.base import base_config
from configs.speech_keys import all_but_last, small_backbone, wavlm_large

VARIANTS = ("paper", "smoke")
EXCLUSIVE = (VARIANTS,)
# Probabilities of the authors for config.audio.augment, whose ranges are theirs already.
CHANGES = dict(gain=0.3, noise=0.6, band=0.3, reverb=0.2)


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the small default."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    c = base_config()
    c.system = "speech_windows"
    c.audio = audio_keys()
    c.audio.level = "standard"

    c.data.root = "twin:ras"
    c.data.seconds, c.data.hop_seconds = 4.0, 2.0
    c.data.normalise = "none"  # of sound: c.audio.level
    c.data.batch_size, c.data.eval_batch_size = 16, 32

    c.tasks = ("valence", "arousal")
    c.task = ConfigDict({name: ABAW_TASKS[name] for name in c.tasks})
    for name, weight in (("valence", 0.7), ("arousal", 0.3)):
        c.task[name].update(loss="ccc+0.1*mse", weight=weight)
    c.total = ConfigDict(dict(name="CCC", terms=(("valence/ccc", 0.5), ("arousal/ccc", 0.5))))
    c.monitor = ("CCC",)  # of a large backbone each more would keep a state of a gigabyte

    m = c.model = ConfigDict()
    m.name = "speech_steps"
    m.features = ("sound",)
    m.dtype = "float32"  # of the backbone; "bfloat16" keeps float32 parameters and norms
    # masked: a window's answer is the same alone, padded and in any batch; heard: padding is
    # silence that the model hears, as by the original; auto: heard by published weights that heard
    # it (init.weights), as by the run it begins with (init.run), else masked.
    m.padding = "auto"
    m.backbone = small_backbone()
    m.steps = 4  # of a window, each with its values
    # How the frames of a step become one vector: mean; statistics, mean and standard deviation;
    # attention and attention_statistics, weighted by a network of this width and dropout.
    m.pool = ConfigDict(dict(kind="attention_statistics", hidden=32, dropout=0.2))
    # Width, and dropout behind the hidden layer and in front of it.
    m.head = ConfigDict(dict(hidden=64, dropout=0.2, input_dropout=0.2))

    c.epochs = 4  # the twin has forty minutes of training; more are learnt by heart
    c.ema_decay = 0.99
    c.optim.name, c.optim.weight_decay = "adamw", 0.01
    c.optim.lr = 2e-3
    c.optim.hold_epochs = 1
    c.optim.clip, c.optim.clip_norm = "global", 1.0
    c.optim.groups = ("backbone",)
    c.optim.group.backbone = ConfigDict(dict(match="backbone/.*", rate=1.0))

    if "paper" in chosen:
        _published(c)
    if "smoke" in chosen:
        _tiny(c)
    return c


def _published(c: ConfigDict) -> None:
    """WavLM-large, of which the last four layers are trained, by the released configs."""
    c.model.backbone = wavlm_large()
    c.freeze = all_but_last(c.model.backbone, 4)
    c.model.pool.hidden, c.model.head.hidden = 128, 256
    for name, probability in CHANGES.items():
        c.audio.augment[name].probability = probability
    c.data.batch_size, c.data.eval_batch_size = 8, 8
    c.epochs, c.early_stop = 50, 6
    c.ema_decay = 0.998
    # Head and pooling at 2e-4, halved where two epochs bring nothing; the backbone at 5e-6.
    c.optim.lr, c.optim.hold_epochs = 2e-4, 0
    c.optim.schedule, c.optim.factor, c.optim.patience = "plateau", 0.5, 2
    c.optim.threshold, c.optim.least_rate = 5e-4, 1e-7
    c.optim.group.backbone.update(rate=0.025, schedule="constant")


def _tiny(c: ConfigDict) -> None:
    c.data.root = "twin:ras?size=small"
    c.epochs, c.optim.hold_epochs = 2, 0
    c.model.backbone.update(conv_dim=(8,) * 4, hidden_size=16, num_hidden_layers=2)
    c.model.backbone.update(num_attention_heads=2, intermediate_size=16)
    c.model.pool.hidden, c.model.head.hidden = 8, 16
    c.data.batch_size, c.data.eval_batch_size = 8, 16
