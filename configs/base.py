"""Keys that configs share, each with what it means. Plain data: code is chosen by name."""

from ml_collections import ConfigDict

# Keys that configs of older runs lack. Their defaults are what was done before.
LATER = (
    *("data.clips", "data.drop_last", "data.hop_seconds", "data.keep", "data.label_delay"),
    *("data.lanes", "data.overlap", "data.random_start", "data.seconds", "data.spread"),
    *("optim.group", "optim.groups", "optim.least_rate", "optim.momentum", "optim.nesterov"),
    *("data.spread_gap", "aux", "explain", "folds", "init.weights", "keep_epochs"),
    *("optim.threshold", "sweep", "system"),
)
# Model families that older runs know by another name.
RENAMED_MODELS = {"mtl": "multitask"}
# Numbers are from 0 on, those of these keys from 1 on, and some below a bound.
FROM_1 = (
    *("epochs", "eval_every_epochs", "chunk_steps", "optim.every_epochs"),
    *("data.length", "data.stride", "data.batch_size", "data.eval_batch_size"),
    *("explain.targets", "explain.shown"),
    *("model.encoder.hidden", "model.encoder.heads", "model.encoder.ffn"),
    *("model.structure.ffn", "model.head.layers", "sweep.trials"),
)
BELOW = {
    "seed": 2**32,
    "data.workers": 1024,
    "data.seconds": 10**6,
    "folds.count": 10_000,
    "folds.seed": 2**32,
    "optim.beta1": 1,
    "optim.beta2": 1,
    "optim.momentum": 1,
    "optim.threshold": 1,
    "sweep.seed": 2**32,
    "ema_decay": 1,
    "model.encoder.layers": 1001,
    "model.structure.layers": 1001,
}


def multitask_model() -> ConfigDict:
    """The family affect_jax/models/multitask.py: features, a temporal encoder, a head a task."""
    m = ConfigDict()
    m.name = "multitask"
    m.features = ("mae", "ires100", "fau")  # streams of the store, joined in this order
    m.feature_norm = False  # layer norm over the joined features
    # se: shared encoder, one head a task; sbe: a transformer a task on top of it; joint: one head.
    m.structure = ConfigDict(dict(name="se"))
    m.dtype = "float32"  # of activations; "bfloat16" keeps float32 parameters and norms
    m.encoder = ConfigDict()
    m.encoder.name = "transformer"
    m.encoder.hidden = 64
    m.encoder.layers = 2
    m.encoder.heads = 4
    m.encoder.ffn = 128
    m.encoder.dropout = 0.1
    # abaw4: the original's table, row 0 all zero; sinusoid: the usual one; none.
    m.encoder.positions = "sinusoid"
    m.head = ConfigDict(dict(layers=(64, 32), dropout=0.1))  # hidden widths
    return m


def base_config() -> ConfigDict:
    """A config without model and tasks; the files beside this one fill it."""
    c = ConfigDict()
    c.name = ""  # filled with the command line's --config
    c.system = "supervised"  # a file of affect_jax/systems, or the path of a .py file
    c.seed = 0  # of everything random: initial values, order, dropout

    c.data = _data()

    # Cross-validation (--mode=folds): groups of `train_split` are dealt into fold1, fold2, ..., and
    # for each fold a run is trained on all the others.
    c.folds = ConfigDict()
    c.folds.count = 5
    c.folds.seed = 0  # of the deal
    c.folds.official = True  # `data.split` is one more fold; false: it is never read
    c.folds.checkpoint = "last"  # what is scored; best would be chosen on the scored fold itself
    # The split that is dealt out in a run that is trained or scored on folds: --mode=folds sets it,
    # and where it is set takes it for `train_split`.
    c.folds.cut = ""

    # Search (--mode=sweep): a training for each of many settings of some keys, the best one kept.
    c.sweep = ConfigDict()
    c.sweep.space = ()  # (("optim.lr", (1e-4, 3e-4)), ("seed", (0, 1)), ...): keys, their values
    c.sweep.method = "grid"  # every combination; random: `trials` of them, drawn
    c.sweep.trials = 20  # of random
    c.sweep.seed = 0  # of the draw
    c.sweep.objective = ""  # the score that decides; empty: the first of `monitor`
    # A setting is scored on folds of `train_split`, as `folds` says, and `data.split` is not read;
    # false: it is a single run, scored on `data.split`.
    c.sweep.folds = True

    # Which tasks, in order; the definitions stand in `task`.
    c.tasks = ()
    c.task = ConfigDict()
    # The score over all tasks: sum of weight * score over (score, weight) terms.
    c.total = ConfigDict(dict(name="total", terms=()))
    # Scores whose best step is kept; the first decides early stopping and the plateau rule.
    c.monitor = ()
    # How task losses are combined, after each task's own weight: fixed, uncertainty, dwa, rruw or
    # druw, options behind it: "dwa(temperature=2, by=epoch)" (affect_jax/weighting.py).
    c.weighting = "fixed"
    # Weights of losses that a model adds to the tasks' (reconstruction, say): aux.NAME; others: 1.
    c.aux = ConfigDict()

    c.optim = _optim()

    c.epochs = 1
    c.eval_every_epochs = 1
    c.early_stop = 0  # evaluations without a better first monitored score; 0: off
    c.ema_decay = 0.0  # > 0: moving average of the parameters, used for evaluation
    c.freeze = ()  # regular expressions over parameter paths ("encoder/.*") that are not trained
    # Start from the weights of another run, or of the original (a file; FOLDER/EPOCH of its nets; a
    # speech model's folder, or its name in the Hugging Face cache, facebook/wav2vec2-base), those
    # whose whole path here matches one of the expressions.
    c.init = ConfigDict(dict(run="", weights="", match=(".*",)))
    c.chunk_steps = 32  # steps in one compiled scan; checkpoints and signals act between them
    c.checkpoint_every_steps = 0  # besides one at every evaluation; 0: none
    c.keep_epochs = ()  # "17" or "10-19", from 1: their checkpoints stay beside the newest and best
    # What evaluate, predict and explain use: best, last, a monitored score, or epoch:17.
    c.checkpoint = "best"
    # --mode=explain (affect_jax/explain.py): which predictions of `data.split`.
    c.explain = ConfigDict()
    c.explain.tracks = ()  # names; none: three (of clips twelve) that are spread over the split
    c.explain.targets = 3  # frames of a track, spread evenly over it
    c.explain.frame = 0  # > 0: the frame with this image number, or the nearest one, instead
    c.explain.shown = 24  # pictures of a row that are drawn: the target's and the most important
    return c


def _data() -> ConfigDict:
    """Data, and how they are fed."""
    data = ConfigDict()
    # `root` is a store (python -m data_pipelines.prepare makes one), several joined by
    # commas, or twin:NAME for synthetic data.
    data.root = ""
    data.train_split = "train"  # several joined by +
    data.split = "validation"  # scored while training and by --mode=evaluate; empty: none
    data.normalise = "train"  # none, train (statistics of the training split), track
    # Seconds by which annotators lag behind what they see: features are read so much earlier.
    data.label_delay = 0.0
    data.length = 64  # frames fed at once; no more than the longest track of the store has
    data.hop = 0  # > 0: windows that overlap, this many frames apart; 0: segments end to end
    # What a frame takes of windows that overlap, as predictions are put together: mean, last, or
    # center_weighted and gaussian_weighted, which trust the middle of a window most.
    data.overlap = "mean"
    # Train on tracks in their order, as a recurrent model does, also where nothing is carried.
    data.lanes = False
    data.stride = 1  # feed every k-th frame; a track is cut once for each of its k phases
    data.seconds = 0.0  # > 0: rows of so much time instead of `length` frames
    data.hop_seconds = 0.0  # > 0: they overlap, and begin this much time apart
    # Tracks are clips: of one labelled frame each, fed without a time axis. Their streams are fed
    # whole, or their first `seconds`.
    data.clips = False
    # In training each row is fed from a place of its track that is drawn anew in each epoch.
    data.random_start = False
    # Tables that are spread over the frames, NAME:nearest or NAME:mean; others are fed as they are.
    data.spread = ()
    data.spread_gap = 0.0  # seconds that nearest reaches over
    # A text of `track`, `track,frame` or `track,start,stop` lines (image numbers): only rows of
    # these tracks, that hold such a frame, or that are just these frames are trained on.
    data.keep = ""
    data.drop_last = False  # leave out the last batch of an epoch where it is not full
    data.batch_size = 8  # rows over all devices
    data.eval_batch_size = 32  # rows over all devices
    data.feeder = "auto"  # resident (on the device), streamed (from disk), auto (what fits)
    data.resident_gib = 4.0  # what "auto" lets resident data take on a device
    data.workers = 0  # processes that read streamed data; 0: threads
    return data


def _optim() -> ConfigDict:
    """Update of the parameters, and its rate."""
    optim = ConfigDict()
    optim.name = "adam"  # adam, adamw, sgd
    optim.lr = 1e-3
    optim.beta1 = 0.9
    optim.beta2 = 0.999
    optim.eps = 1e-8
    optim.momentum = 0.9  # sgd; 0: none
    optim.nesterov = False  # sgd
    # adamw: lr * decay * weight a step; sgd: decay * weight is added to the clipped gradient.
    optim.weight_decay = 0.0
    optim.clip_norm = 5.0  # L2, or of every element by itself; 0: off
    # subnetwork: one norm for the encoder and one for each task; global: one; value: each element.
    optim.clip = "subnetwork"
    optim.schedule = "cosine"  # constant, linear, warmup, cosine, step, held_step, plateau
    optim.by = "step"  # the rate changes with every "step", or once an "epoch"
    optim.hold_epochs = 0  # linear, held_step: at the full rate; warmup, cosine: rising
    optim.decay_epochs = 0  # linear, warmup, cosine: falling; 0: all that is left of `epochs`
    optim.warmup_offset = 1  # warmup: 0 starts the first epoch at rate 0, as the original
    optim.factor = 0.1  # step, plateau: multiplies the rate
    optim.every_epochs = 50  # step
    optim.patience = 5  # plateau: evaluations without a better score
    optim.threshold = 0.0  # plateau: share of the best by which a score must be better
    optim.least_rate = 0.0  # plateau: no cut goes below it
    # Groups of parameters that are trained in another way, in order; the definitions stand in
    # `group`: match (regular expressions over parameter paths; the first group that matches has
    # it), rate (factor on lr), weight_decay, clip_norm, schedule, frozen (affect_jax/optim.py).
    optim.groups = ()
    optim.group = ConfigDict()
    return optim
