r"""Behaviour branch of team RAS (ABAW10): embeddings of descriptions to valence and arousal.

A description is of 4 s and begins every 2 s. Its embedding is a row of a table with a span; a
frame reads the mean of the rows that cover it (data.spread), so that predictions and what is
exported stand at frames, as those of the other branches, and a video without descriptions is a gap.
The model sees every k-th frame (data.stride), once for each of the k phases.

Run:      python -m affect_jax.main --config=configs/ras_behaviour.py --workdir=runs/behaviour
          on the descriptions of a synthetic twin of Aff-Wild2.
Variants: any of these, joined by commas:
          mamba (the default), transformer: the encoder;
          segment: no encoder, the head alone on each embedding, as the released code trains it on
          those of a text encoder (python -m affect_jax.text);
          paper, the sizes and rates of the released code (arXiv 2603.13056), for embeddings of
          one's own: python -m data_pipelines.prepare --source=ras --input=FOLDER --store=STORE;
          smoke, two short epochs.
"""

from ml_collections import ConfigDict

from configs.ras_face import branch_config, smoke

ENCODERS = {
    "mamba": dict(
        name="mamba",  # models/blocks/mamba.py
        hidden=32,
        layers=1,
        dropout=0.4,
        state=8,
        kernel=5,  # frames of the convolution
        rank=0,  # of the map to the step; 0: hidden // 16
        discretisation="zoh",  # ras: the decay of the released code, for its weights
    ),
    "transformer": dict(
        name="dynamic",  # TransformerRegressor (models/blocks/encoded.py)
        hidden=32,
        layers=1,
        heads=4,
        ffn=64,
        dropout=0.4,
        positions="sinusoid",  # or none
        gate="none",  # bt, bd, t, d
        longest=0,  # gate t: data.length
    ),
    "segment": dict(name="passed_on"),
}
VARIANTS = (*ENCODERS, "paper", "smoke")
EXCLUSIVE = (tuple(ENCODERS),)


def get_config(variants: str = "") -> ConfigDict:
    """The config of these variants, or "" for the small default."""
    from affect_jax.config import variants_of

    chosen = variants_of(variants, VARIANTS, EXCLUSIVE)
    encoder = next((name for name in ENCODERS if name in chosen), "mamba")
    c = branch_config()
    c.model.features = ("behaviour",)
    c.model.encoder = ConfigDict(ENCODERS[encoder])
    c.model.head.dropout = 0.4
    if encoder == "segment":
        c.model.head.norm = "none"
    c.data.spread = ("behaviour:mean",)
    c.data.length, c.data.stride = 32, 30  # half a minute, a frame a second
    if "paper" in chosen:
        _published(c, encoder)
    if "smoke" in chosen:
        smoke(c)
    return c


def _published(c: ConfigDict, encoder: str) -> None:
    """Shipped settings of the released code; rows of 2 s are every 60th frame at 30 a second."""
    if encoder == "mamba":
        c.model.encoder.update(hidden=256, dropout=0.2, layers=12, discretisation="ras")
    if encoder == "transformer":
        c.model.encoder.update(hidden=256, dropout=0.2, layers=4, heads=8, ffn=512)
    c.model.head.update(hidden=512, dropout=0.2)
    if encoder == "segment":
        c.model.head.update(input_dropout=0.15, dropout=0.3)
    c.data.length, c.data.stride = 16, 60
    c.data.normalise, c.data.batch_size = "none", 8
    c.optim.lr, c.optim.weight_decay, c.optim.clip_norm = 3e-4, 1e-3, 0.0
    c.optim.schedule = "constant"
    c.epochs, c.early_stop = 100, 12
