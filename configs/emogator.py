r"""EmoGator: which of 30 emotions does a vocal burst express? From nothing but its training clips.

Prepare:  python -m data_pipelines.prepare --source=emogator --input=FOLDER --store=STORE
Run:      python -m affect_jax.main --config=configs/emogator.py --workdir=runs/emogator \
              --config.data.root=STORE
          a convolutional net on log-mel spectrograms; configs/emogator.py:raw is a small
          transformer of the speech family (configs/vocal_bursts.py) on the samples themselves
Settings: compared on folds of the training speakers (configs/README.md), so that no validation
          speaker has a say; all three folds:
          python -m affect_jax.main --mode=folds --config=configs/emogator.py \
              --config.data.root=STORE --workdir=runs/folds
Test:     python -m affect_jax.main --mode=evaluate --workdir=runs/emogator \
              --config.data.root=TEST_STORE --config.data.split=test
Seeds:    runs with --config.seed=0, 1, 2 in folders of their own, then the mean of their
          probabilities, in which nothing is fitted:
          python -m affect_jax.ensemble runs/emogator0 runs/emogator1 runs/emogator2 \
              --classes=mean --out=runs/emogator_all
          python -m affect_jax.ensemble --apply=runs/emogator_all \
              --config.data.root=TEST_STORE --config.data.split=test

The validation speakers are scored while training and choose nothing: the last step is kept.
"""

from ml_collections import ConfigDict

from configs.audio_keys import audio_keys
from configs.base import base_config
from configs.speech_keys import small_backbone
from data_pipelines.emotions import EMOTIONS

VARIANTS = ("raw", "smoke")


def get_config(variants: str = "") -> ConfigDict:
    """The config of the log-mel net, or of "raw"; "smoke" is two epochs of something tiny."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS)
    c = base_config()
    c.system = "audio"
    c.audio = audio_keys()
    c.audio.level = "rms"
    c.audio.mixup = 0.4

    c.data.clips = True
    c.data.seconds = 2.0  # few clips are longer
    c.data.random_start = True
    c.data.normalise = "none"  # of sound: c.audio.level
    c.data.batch_size, c.data.eval_batch_size = 32, 60
    c.folds.count, c.folds.official = 3, False
    c.checkpoint = "last"

    c.tasks = ("emotion",)
    c.task.emotion = ConfigDict(
        dict(
            kind="classes",
            size=len(EMOTIONS),
            names=EMOTIONS,
            loss="ce",
            metrics=("accuracy", "uar", "confusion"),
            label_smoothing=0.1,
        )
    )
    c.total = ConfigDict(dict(name="accuracy", terms=(("emotion/accuracy", 1.0),)))

    c.model = _raw_model() if "raw" in chosen else _log_mel_model()

    # Longer, the transformer learns its speakers by heart (configs/README.md).
    c.epochs = 8 if "raw" in chosen else 40
    c.eval_every_epochs = 10
    c.optim.name, c.optim.weight_decay = "adamw", 0.05
    c.optim.lr = 2e-3
    c.optim.hold_epochs = 2
    c.optim.clip, c.optim.clip_norm = "global", 5.0
    c.ema_decay = 0.99

    if "smoke" in chosen:
        _tiny(c)
    return c


def _log_mel_model() -> ConfigDict:
    """The family affect_jax/models/log_mel.py: a spectrogram, convolutions, a head a task."""
    m = ConfigDict()
    m.name = "log_mel"
    m.features = ("audio",)
    # Bands of equal width on the mel scale; seconds of a frame and from frame to frame; Hz.
    m.mel = ConfigDict(dict(bands=48, window=0.032, hop=0.016, low=50.0, high=8000.0))
    # In training: up to this share faster or slower; bands up or down; masks over frames and bands,
    # and their largest width.
    m.spec_augment = ConfigDict(dict(stretch=0.1, shift=1, times=1, time=16, bands=1, band=6))
    m.channels = (16, 32, 64, 128)  # of convolutions of 3 x 3, each with half the frames and bands
    m.width = 128  # what bands and channels of a frame are joined to
    m.pooling = "statistics"  # over time: attention, mean, max, last, statistics
    m.dropout = 0.2
    m.dtype = "float32"  # of the convolutions; "bfloat16" keeps float32 parameters and norms
    return m


def _raw_model() -> ConfigDict:
    """The family affect_jax/models/vocal_bursts.py; its keys: configs/vocal_bursts.py."""
    m = ConfigDict()
    m.name = "vocal_bursts"
    m.features = ("audio",)
    m.dtype = "float32"
    m.padding = "masked"
    m.backbone = small_backbone()
    # Half as many channels where there are most frames: two thirds of the time of a step.
    m.backbone.conv_dim = (16, 32, 64, 64)
    m.head = ConfigDict(dict(name="vanilla", embedding=64, pooling="attention", sigmoid=()))
    return m


def _tiny(c: ConfigDict) -> None:
    c.epochs, c.eval_every_epochs, c.optim.hold_epochs = 2, 1, 0
    if c.model.name == "log_mel":
        c.model.mel.bands, c.model.channels, c.model.width = 16, (4, 8), 8
    else:
        c.model.backbone.update(conv_dim=(8,) * 4, hidden_size=16, num_hidden_layers=2)
        c.model.backbone.update(num_attention_heads=2, intermediate_size=16)
        c.model.head.embedding = 16
