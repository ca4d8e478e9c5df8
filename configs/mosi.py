r"""CMU-MOSI: is an utterance positive? Utterances of a video as a sequence, three feature files.

Prepare:  python -m data_pipelines.prepare --source=mosi --input=FOLDER --store=STORE
Run:      python -m affect_jax.main --config=configs/mosi.py --workdir=runs/mosi \
              --config.data.root=STORE
          the encoder is a transformer, or configs/mosi.py:lstm or configs/mosi.py:gru, on the three
          joined; or text, audio and video are modalities of their own: configs/mosi.py:moe, a
          mixture of experts, or configs/mosi.py:cross, attention among them
Test:     python -m affect_jax.main --mode=evaluate --workdir=runs/mosi \
              --config.data.root=TEST_STORE --config.data.split=test
Seeds:    runs with --config.seed=0, 1, 2 in folders of their own, then the mean of their
          probabilities, which needs no data to fit on:
          python -m affect_jax.ensemble runs/mosi0 runs/mosi1 runs/mosi2 --out=runs/mosi_all
          python -m affect_jax.ensemble --apply=runs/mosi_all \
              --config.data.root=TEST_STORE --config.data.split=test

The features were trained on the labels of the training videos (see the store's `trained_on`), so
no score inside them says anything: settings are chosen by reason, all training videos are used,
and the last step is kept. The encoder is small and drops much, because 62 videos are few; the
features are normalised by the training statistics because their scales differ a hundredfold. Fusion
has the same width and rates; a modality is left out of three rows in ten, as the text alone fits
the labels that its extractor was trained on.
"""

from ml_collections import ConfigDict

from configs.base import base_config, multitask_model
from configs.fusion_keys import fusion_model

# Encoders in the place of the transformer, as small as it is. They read a video both ways, as it
# does: what is said after an utterance tells of it too, and a video is one segment.
ENCODERS = {
    "lstm": dict(name="lstm", hidden=32, layers=1, dropout=0.5, bidirectional=True),
    "gru": dict(name="gru", hidden=32, layers=1, dropout=0.5, bidirectional=True),
}
FUSERS = {"moe": "experts", "cross": "cross"}
MODALITIES = ("text", "audio", "video")
VARIANTS = (*ENCODERS, *FUSERS, "smoke")
EXCLUSIVE = ((*ENCODERS, *FUSERS),)


def get_config(variants: str = "") -> ConfigDict:
    """The config of the transformer, or of another of VARIANTS; "smoke" is two epochs of it."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    c = base_config()
    c.data.length = 64  # utterances: the longest video has 55
    c.data.batch_size = 8
    c.data.split = ""  # nothing to validate on, see above
    c.checkpoint = "last"

    c.tasks = ("sentiment",)
    c.task.sentiment = ConfigDict(
        dict(
            kind="labels",
            size=1,
            names=("positive",),
            loss="bce",
            metrics=("accuracy", "f1_binary"),
            weight=1.0,
        )
    )
    c.total = ConfigDict(dict(name="accuracy", terms=(("sentiment/accuracy", 1.0),)))

    c.model = multitask_model()
    c.model.features = MODALITIES
    c.model.encoder.layers = 1
    c.model.encoder.ffn = 64
    c.model.encoder.dropout = 0.5
    for name in set(ENCODERS) & set(chosen):
        c.model.encoder = ConfigDict(ENCODERS[name])
    c.model.head = ConfigDict(dict(layers=(32,), dropout=0.5))
    for name in set(FUSERS) & set(chosen):
        c.model = fusion_model({modality: (modality,) for modality in MODALITIES}, FUSERS[name])
        c.model.dropout = c.model.head.dropout = 0.5
        c.model.modality_dropout = 0.3
        if name == "moe":
            c.aux.balance = 0.01  # of the loss that all experts are used alike
        else:
            c.model.fuser.layers = 1

    c.epochs = 30
    c.eval_every_epochs = 5
    c.optim.name, c.optim.weight_decay = "adamw", 0.01
    c.optim.lr = 5e-4
    c.optim.hold_epochs = 2
    c.ema_decay = 0.99

    if "smoke" in chosen:
        c.epochs, c.optim.hold_epochs = 2, 0
    return c
