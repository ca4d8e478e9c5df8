r"""Valence and arousal from several modalities: face, behaviour and sound, or any others.

Run:      python -m affect_jax.main --config=configs/ras_fusion.py --workdir=runs/fusion
          on the face and behaviour features of a synthetic twin, without any model before.
Chain:    the predictions of models of one modality beside the features, a command a stage. A fold
          predicts the videos that it has not seen, so that no training row has a prediction of a
          run that knows its label; other splits get the mean of all folds.

    python -m affect_jax.main --mode=folds --config=configs/ras_face.py --workdir=runs/face \
        --config.folds.count=3 --config.folds.official=false
    python -m affect_jax.main --mode=folds --config=configs/ras_behaviour.py \
        --workdir=runs/behaviour --config.folds.count=3 --config.folds.official=false
    python -m affect_jax.main --mode=folds --config=configs/ras_audio.py --workdir=runs/audio \
        --config.folds.count=3 --config.folds.official=false
    python -m affect_jax.export folds:runs/face --out=exports/face
    python -m affect_jax.export folds:runs/behaviour --out=exports/behaviour
    python -m affect_jax.export folds:runs/audio --out=exports/audio
    python -m affect_jax.main --config=configs/ras_fusion.py:branches --workdir=runs/fusion \
        --config.data.root=twin:ras,exports/face,exports/behaviour,exports/audio
    python -m affect_jax.subsets runs/fusion
    python -m affect_jax.provenance runs/fusion

          Beside it, members with weights that are fitted by folds of the training split:

    python -m affect_jax.ensemble feature:face feature:behaviour feature:audio --out=runs/late \
        --config.data.root=twin:ras,exports/face,exports/behaviour,exports/audio \
        --config.data.split=train --windows=0,30,90,180,360
    python -m affect_jax.ensemble --apply=runs/late --config.data.split=validation \
        --config.data.root=twin:ras,exports/face,exports/behaviour,exports/audio
    python -m affect_jax.provenance runs/late --split=validation \
        --config.data.root=twin:ras,exports/face,exports/behaviour,exports/audio

          Embeddings of different folds lie in different coordinates, so they are taken from one
          run, and are marked as having seen the labels of its training split:

    python -m affect_jax.main --config=configs/ras_audio.py --workdir=runs/heard
    python -m affect_jax.export runs/heard --out=exports/heard --arrays=embedding
    python -m affect_jax.main --config=configs/ras_fusion.py:branches --workdir=runs/embedded \
        --config.data.root=twin:ras,exports/face,exports/behaviour,exports/audio,exports/heard \
        --config.model.streams.audio=audio/valence,audio/arousal,heard/embedding

          python -m benchmarks.fusion runs all of it for several seeds; README.md has its table.
Subsets:  python -m affect_jax.subsets runs/fusion scores every subset of the modalities.
Variants: any of these, joined by commas:
          moe (the default): a directed mixture of experts, one for each ordered pair of modalities;
          raav: the frame's modalities weighted by how reliable they are; sound, where there is any,
          is context that the frames attend to;
          cross: attention with queries, keys and values from named modalities;
          branches: as above;
          avec2019: predictions of nine systems of AVEC 2019 as nine modalities:
          python -m data_pipelines.prepare --source=avec2019 --input=FOLDER --store=STORE
          python -m affect_jax.main --config=configs/ras_fusion.py:avec2019 \
              --config.data.root=STORE --workdir=RUN
          python -m affect_jax.main --mode=evaluate --workdir=RUN --config.data.split=report
          paper: the sizes and rates of the released scripts (arXiv 2603.13056), for Aff-Wild2;
          smoke: two short epochs.
"""

from ml_collections import ConfigDict

from configs.abaw_tasks import abaw_task
from configs.base import base_config
from configs.fusion_keys import fusion_model

FUSERS = {"moe": "experts", "raav": "raav", "cross": "cross"}
VARIANTS = (*FUSERS, "branches", "avec2019", "paper", "smoke")
# Those of which one can be chosen.
EXCLUSIVE = (tuple(FUSERS), ("branches", "avec2019"))

RAW = {"face": ("face",), "behaviour": ("behaviour",), "audio": ()}
BRANCHES = {
    "face": ("face", "face/valence", "face/arousal"),
    "behaviour": ("behaviour", "behaviour/valence", "behaviour/arousal"),
    "audio": ("audio/valence", "audio/arousal"),
}
# Systems of AVEC 2019, and whether they hear or see.
HEARD = ("deepspectrum", "egemaps-func_STD", "egemaps-xbow", "mfcc-func_STD", "mfcc-xbow")
SEEN = ("visual-func", "visual-resnet", "visual-vgg", "visual-xbow")


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the small default: experts on the twin."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    name = next((name for name in FUSERS if name in chosen), "moe")
    c = base_config()
    c.data.root = "twin:ras"
    c.model = fusion_model(BRANCHES if "branches" in chosen else RAW, FUSERS[name])
    c.data.spread = ("behaviour:mean",)  # its rows last four seconds each, two apart
    c.data.length = 128
    c.data.stride = 6  # a row of 128 frames lasts 26 seconds
    c.data.batch_size = 16  # the concordance is taken over all labelled frames of the batch
    c.epochs = 12
    c.optim.name, c.optim.weight_decay = "adamw", 0.01
    c.optim.lr, c.optim.hold_epochs = 1e-3, 1
    if name == "moe":
        c.aux.balance = 0.01  # of the loss that all experts are used alike
    _tasks(c, "valence", "arousal")
    if "branches" in chosen:
        c.data.root = ""
        # By one fold of the twin's training split, of 4 and 8 epochs and rows of 8 and 26 seconds.
        c.epochs, c.optim.lr = 4, 3e-3
    if name == "raav" or "branches" in chosen:  # RAAV's layers know no order of the frames
        c.data.length, c.data.batch_size = 40, 48  # rows of 8 seconds
    if name == "raav" and "branches" in chosen:
        # Sound is context for the frames, one token a second.
        c.model.fuser.tokens, c.model.fuser.token_frames = ("audio",), 5
    if "avec2019" in chosen:
        _avec2019(c, FUSERS[name])
    if "paper" in chosen:
        _published(c, name)
    if "smoke" in chosen:
        c.data.root = c.data.root and "twin:ras?size=small"
        c.epochs, c.optim.hold_epochs = 2, 0
        c.model.hidden = c.model.head.hidden = 8
    return c


def _tasks(c: ConfigDict, *names: str) -> None:
    c.tasks = names
    c.task = ConfigDict({name: abaw_task("valence", loss="ccc") for name in names})
    terms = tuple((f"{name}/ccc", 1 / len(names)) for name in names)
    c.total = ConfigDict(dict(name="CCC", terms=terms))
    c.monitor = ("CCC", *(score for score, _ in terms))


def _avec2019(c: ConfigDict, fuser: str) -> None:
    """Eight recordings to fit on: small, much left out, and the last step kept.

    Nothing is chosen on the recordings that are scored; inside the others --mode=folds with
    --config.folds.official=false chooses.
    """
    c.data.root = ""
    c.model = fusion_model({name: (name,) for name in (*HEARD, *SEEN)}, fuser)
    c.model.hidden, c.model.heads, c.model.head.hidden = 16, 2, 16
    c.model.dropout = c.model.head.dropout = 0.3
    c.model.modality_dropout = 0.3
    if fuser == "cross":
        c.model.fuser.layers = 1
    if fuser == "raav":
        c.model.fuser.tokens, c.model.fuser.token_frames = HEARD, 10  # one a second
    _tasks(c, "arousal", "valence", "liking")
    c.data.train_split, c.data.split = "fit", ""
    c.checkpoint = "last"
    c.data.spread, c.data.stride = (), 4
    c.data.length = 64  # 26 seconds at 10 frames a second
    c.data.batch_size = 16
    c.epochs = 12 if fuser == "experts" else 25
    c.optim.lr = 4e-3  # better than 1e-3 by four folds of the fitting recordings (cross)
    c.optim.weight_decay = 0.1
    c.ema_decay = 0.98


def _published(c: ConfigDict, name: str) -> None:
    """The training scripts of the released code, which has no mixture: that takes their values."""
    c.data.stride, c.data.normalise = 1, "none"
    c.model.hidden = c.model.head.hidden = 256
    c.model.dropout = c.model.head.dropout = 0.1
    c.model.modality_dropout = 0.0
    c.data.batch_size = 8
    c.optim.weight_decay, c.optim.hold_epochs = 0.01, 0
    if name == "raav":
        c.model.heads, c.model.fuser.layers, c.model.fuser.latents = 4, 1, 4
        if "audio" in c.model.fuser.tokens:
            c.model.fuser.token_frames = 30  # four of a window
        if "face" in c.model.streams:
            c.model.fuser.priors = ConfigDict(dict(face=0.85, behaviour=0.15))
        c.data.seconds, c.data.hop_seconds = 4.0, 2.0
        for task, weight in zip(c.tasks, (0.7, 0.3)):
            c.task[task].update(loss="ccc+0.01*mse", weight=weight)
        c.optim.lr, c.optim.schedule = 5e-5, "constant"
        c.optim.clip, c.optim.clip_norm = "global", 1.0
        c.epochs, c.early_stop = 50, 6
        return
    c.model.heads = 8
    if name == "cross":
        c.model.fuser.layers = 5
        if "face" in c.model.streams and not c.model.streams.audio:
            c.model.fuser.update(query="face", key="behaviour", value="behaviour")
    c.data.length, c.data.hop = 400, 150
    for task in c.tasks:
        c.task[task].loss = "ccc_by_row"
    c.optim.lr, c.optim.schedule, c.optim.clip_norm = 1e-4, "plateau", 0.0
    c.optim.patience, c.optim.factor, c.optim.threshold = 5, 0.1, 1e-4
    c.epochs, c.early_stop = 100, 15
