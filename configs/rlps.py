r"""RLPS: which faces to learn from? A selector is trained beside the classifier to say so.

Run:      python -m affect_jax.main --config=configs/rlps.py --workdir=runs/rlps
          six convolutions at a quarter of their width on the twin of RAF-DB, minutes on a CPU
Noise:    python -m data_pipelines.noise --store=STORE --out=NOISY --kind=crops, then
          --config.data.root=NOISY
FER2013:  configs/rlps.py:fer2013 (VGG-19, for a GPU) or :quarter (the small network), with
          --config.data.root=STORE as in configs/fer2013.py
Selector: linear, f1, class, retain, literal, sigmoid change one thing each: configs/rlps_keys.py
After:    RUN/selection/keep.txt is a list for --config.data.keep of another training;
          python -m affect_jax.main --mode=predict --workdir=runs/rlps --config.data.split=test
          writes what the policy would retain beside the predictions

The policy sees what a picture shows (its features) and not the label. So it can learn to remove
pictures without a face, but finds few of the wrong labels of good ones: against noise in labels
compare small_loss and confident of python -m affect_jax.selection.

Another data set, or sound, or frames: a config of one's own with system = "rlps" and
`rlps = rlps_keys(SYSTEM)`, SYSTEM being the one it had.

Pictures are fed whole and as they are, as in the paper. Of the lengths the paper says nothing: here
10 epochs of all rows, 5 turns of the policy alone, 20 of both. VGG-19 learns more slowly and begins
with 30: after 10 it retained next to nothing, with a quarter of its channels (configs/README.md).
"""

from ml_collections import ConfigDict

from configs import fer2013
from configs.image_keys import image_keys
from configs.rlps_keys import rlps_keys

SELECTORS = ("linear", "f1", "class", "retain", "literal", "sigmoid")
VARIANTS = ("fer2013", "quarter", *SELECTORS, "smoke")
EXCLUSIVE = (
    ("fer2013", "quarter"),
    ("f1", "class", "sigmoid"),
    ("retain", "literal", "sigmoid"),
    ("linear", "sigmoid"),
)


def get_config(variants: str = "") -> ConfigDict:
    """The config on the twin of RAF-DB, or on FER2013; "smoke" is two epochs of something tiny."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    of_classifier = ["vgg19"] if "fer2013" in chosen else []
    of_classifier += ["smoke"] if "smoke" in chosen else []
    c = fer2013.get_config(",".join(of_classifier))
    c.system = "rlps"
    c.rlps = rlps_keys("image")
    c.image = image_keys()
    metrics = ("accuracy", "recall_fixed", "f1", "f1_of_averages", "recall_per_class", "confusion")
    c.task.expression.metrics = metrics
    c.epochs = 10 + c.rlps.alternations
    c.optim.schedule = "constant"
    c.checkpoint = "last"
    if not {"fer2013", "quarter"} & set(chosen):
        c.data.root, c.data.train_split, c.data.split = "twin:rafdb", "train", "validation"
        c.folds.cut = ""
    if "fer2013" in chosen:
        c.optim.name, c.optim.lr, c.optim.momentum = "sgd", 0.01, 0.9
        c.epochs = 30 + c.rlps.alternations
        c.optim.weight_decay, c.optim.clip, c.optim.clip_norm = 5e-4, "value", 0.1
    _select(c.rlps, chosen)
    if "smoke" in chosen:
        c.epochs, c.rlps.alternations, c.rlps.policy_passes = 2, 1, 1
    return c


def _select(r: ConfigDict, chosen: list[str]) -> None:
    """The selector of the variants."""
    if "linear" in chosen:
        r.policy.name = "linear"
    for reward in {"f1", "class"} & set(chosen):
        r.reward = reward
    for returns in {"retain", "literal"} & set(chosen):
        r.returns = returns
    if "f1" in chosen:
        r.policy_passes = 0  # F1 stays as it is while the classifier does
    if "sigmoid" in chosen:
        r.method, r.lr, r.policy_passes = "sigmoid", 0.02 / 16, 50
