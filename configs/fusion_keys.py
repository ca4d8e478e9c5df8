"""Keys of the family "fusion" (affect_jax/models/fusion.py): streams of several modalities."""

from ml_collections import ConfigDict, FieldReference

# The other keys of each of config.model.fuser.name.
FUSERS = {
    # An expert for every ordered pair of modalities, and a gate that weights them at each frame.
    # Its loss that the experts are used alike is weighted by config.aux.balance.
    "experts": dict(),
    # Layers in which queries ask keys for values. Each is a modality, or fusion, the mean of all.
    "cross": dict(layers=2, query="fusion", key="fusion", value="fusion"),
    "raav": dict(
        layers=1,  # over time, behind the gate and the tokens
        latents=4,  # learned vectors that gather the tokens
        tokens=(),  # modalities that are context in place of frames: sound, say
        # Tokens are means of so many frames; 0: rows of their streams, a table's or at a rate.
        token_frames=0,
        # Share of each modality of frames where the gates know nothing; 1 of one without.
        priors=ConfigDict(),
    ),
}


def fusion_model(streams: dict[str, tuple[str, ...]], fuser: str) -> ConfigDict:
    """The family, small.

    Args:
        streams: {modality: its streams of the store}; () keeps a place for it.
        fuser: one of FUSERS.
    """
    m = ConfigDict()
    m.name = "fusion"
    # Modalities, each with its streams, joined in this order. One without streams is left out:
    # --config.model.streams.audio= on the command line. A modality exists at a frame where all its
    # streams do.
    m.streams = ConfigDict(streams)
    # All of these: they follow the streams, also where the command line changes them.
    m.features = sum((m.streams.get_ref(name) for name in sorted(streams)), FieldReference(()))
    m.fuser = ConfigDict({"name": fuser, **FUSERS[fuser]})
    m.hidden = 32  # width of everything
    m.heads = 4
    m.dropout = 0.2
    # hidden: width of a layer, 0 for none. norm: of its output (hidden), of its input, none.
    norm = "input" if fuser == "raav" else "hidden"
    m.head = ConfigDict(dict(name="norm", hidden=32, dropout=0.2, norm=norm))
    # In training each modality of a row is left out with this probability, so that the model can be
    # used with any of them (python -m affect_jax.subsets). One that the row has always stays.
    m.modality_dropout = 0.2
    m.dtype = "float32"  # of activations; "bfloat16" keeps float32 parameters and norms
    return m
