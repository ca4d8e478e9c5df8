r"""FER2013: which of seven expressions does a face of 48 x 48 grey pixels show?

Prepare:  python -m data_pipelines.prepare --source=fer2013 --input=FOLDER --store=STORE
Run:      python -m affect_jax.main --config=configs/fer2013.py --workdir=runs/fer2013 \
              --config.data.root=STORE
          six convolutions at a quarter of their width, minutes on a CPU; vgg19 and resnet18 are the
          networks of a public classifier, efficientnet_b1 is that of the face branch of RAS; with
          a layer of 128 features, for a GPU
Ten crops: configs/fer2013.py:vgg19,ten_crop is the recipe of that classifier, its network as it was
Test:     python -m affect_jax.main --mode=evaluate --workdir=runs/fer2013 \
              --config.data.split=public_test
          public_test_seen are its pictures that occur in the training pictures, too

A tenth of the training pictures, the fold "fold1", is left out and chooses the best step; identical
pictures stay together. No picture of a test has a say.

Source of the recipe: github.com/WuJie1010/Facial-Expression-Recognition.Pytorch. It ends at 71.5 %
on PublicTest and 73.1 % on PrivateTest (VGG-19, its own numbers: the best of 250 epochs by the test
itself, trained on all 28,709 pictures).
"""

from ml_collections import ConfigDict

from configs.base import base_config
from configs.image_keys import image_keys
from data_pipelines.expressions import EXPRESSIONS

NETWORKS = ("vgg19", "resnet18", "efficientnet_b1")
VARIANTS = (*NETWORKS, "ten_crop", "smoke")
EXCLUSIVE = (NETWORKS,)
FOLDS = 10


def get_config(variants: str = "") -> ConfigDict:
    """The config of the small network or of another; "smoke" is two epochs of something tiny."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    c = base_config()
    c.system = "image"
    c.image = image_keys()
    c.image.flip = True

    c.data.clips = True
    c.data.normalise = "none"  # pictures are in [0, 1]
    c.data.batch_size, c.data.eval_batch_size = 128, 128
    c.folds.cut, c.folds.count, c.folds.official = "train", FOLDS, False
    c.data.split = "fold1"
    c.data.train_split = "+".join(f"fold{k}" for k in range(2, FOLDS + 1))

    c.tasks = ("expression",)
    c.task.expression = ConfigDict(
        dict(
            kind="classes",
            size=len(EXPRESSIONS),
            names=EXPRESSIONS,
            loss="ce",
            metrics=("accuracy", "uar", "f1", "confusion"),
        )
    )
    c.total = ConfigDict(dict(name="accuracy", terms=(("expression/accuracy", 1.0),)))

    c.model = image_model()
    c.epochs = 15
    c.optim.lr = 2e-3
    c.optim.clip, c.optim.clip_norm = "global", 5.0

    for name in set(chosen) & set(NETWORKS):
        c.model.backbone = ConfigDict(dict(name=name))
        c.model.dropout = 0.5
    if "ten_crop" in chosen:
        _ten_crop(c)
    if "smoke" in chosen:
        c.epochs = 2
        name = c.model.backbone.name
        small = {"six_conv": (2,) * 6, "vgg19": (2,) * 5, "resnet18": (2,) * 4}
        sizes = dict(channels=small[name]) if name in small else dict(stem=2, last=4)
        c.model.backbone = ConfigDict(dict(name=name, **sizes))
    return c


def image_model() -> ConfigDict:
    """The family affect_jax/models/image.py: a convolutional network, a head a task."""
    m = ConfigDict()
    m.name = "image"
    m.features = ("face",)
    # six_conv (channels of six convolutions; pooled: those with a pooling behind them), vgg19
    # (channels of five stages), resnet18 (of four), efficientnet_b1 and _b4 (stem, stages, last).
    # Without them: those of the paper.
    m.backbone = ConfigDict(dict(name="six_conv", channels=(16, 24, 32, 32, 64, 64)))
    m.feature = 128  # width of the layer that the heads read; 0: they read the backbone
    m.feature_norm = False  # batch norm behind that layer
    m.activation = "relu"  # behind that: relu or tanh
    m.dropout = 0.0  # on what the backbone gives
    m.dtype = "float32"  # "bfloat16" keeps float32 parameters, norms and predictions
    return m


def _ten_crop(c: ConfigDict) -> None:
    """The recipe of the public classifier; in training 44 x 44 of 48 x 48, in tests ten of them."""
    c.image.crop, c.image.views, c.image.flip = 44, 10, True
    c.model.feature, c.model.dropout = 0, 0.5
    c.epochs = 250
    c.optim.name, c.optim.lr, c.optim.momentum = "sgd", 0.01, 0.9
    c.optim.weight_decay = 5e-4
    c.optim.clip, c.optim.clip_norm = "value", 0.1
    # 0.01 until epoch 80, then a tenth less every five epochs.
    c.optim.schedule, c.optim.by = "held_step", "epoch"
    c.optim.hold_epochs, c.optim.factor, c.optim.every_epochs = 80, 0.9, 5
