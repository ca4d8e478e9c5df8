"""Keys of a speech backbone (affect_jax/models/blocks/speech), called as in a config.json."""

from ml_collections import ConfigDict


def small_backbone() -> ConfigDict:
    """A wav2vec2 of 64 channels and three layers that trains from nothing on two cores."""
    b = ConfigDict()
    b.model_type = "wav2vec2"  # wav2vec2, hubert, wavlm
    # Convolutions over the samples: channels, taps and steps of each, in samples of what it reads.
    # A frame of the transformer is 640 samples here, .04 s; of the published models 320.
    b.conv_dim = (32, 64, 64, 64)
    b.conv_kernel = (16, 8, 4, 4)
    b.conv_stride = (8, 5, 4, 4)
    b.conv_bias = False
    # group: each channel of the first convolution is normalised over time; layer: the channels of
    # every convolution, frame by frame.
    b.feat_extract_norm = "group"
    b.hidden_size = 64
    b.num_hidden_layers = 3
    b.num_attention_heads = 4
    b.intermediate_size = 128
    b.layer_norm_eps = 1e-5
    b.do_stable_layer_norm = False  # norms in front of attention and feed-forward, not behind
    b.num_conv_pos_embeddings = 16  # taps of the positional convolution, in frames
    b.num_conv_pos_embedding_groups = 4  # its groups of channels
    b.conv_pos_batch_norm = False  # hubert: batch norm in front of it, without weight norm
    b.feat_proj_layer_norm = True  # hubert: a norm in front of the projection to hidden_size
    b.num_buckets = 320  # wavlm: of relative positions
    b.max_bucket_distance = 800  # wavlm: frames beyond which all are alike
    # Rates of dropout: behind attention and feed-forward, on the attention, inside the
    # feed-forward, behind the projection.
    b.hidden_dropout = 0.1
    b.attention_dropout = 0.0
    b.activation_dropout = 0.0
    b.feat_proj_dropout = 0.0
    b.layerdrop = 0.0  # probability that a layer is left out in training
    # SpecAugment in training: share of the frames (time) or channels (feature) in masked spans,
    # length of a span, least number of spans.
    b.apply_spec_augment = True
    b.mask_time_prob = 0.05
    b.mask_time_length = 5
    b.mask_time_min_masks = 0
    b.mask_feature_prob = 0.0
    b.mask_feature_length = 10
    b.mask_feature_min_masks = 0
    b.initializer_range = 0.02  # standard deviation of fresh linear layers
    b.remat = False  # activations are computed again going back: less memory, a third more work
    return b


def base_backbone() -> ConfigDict:
    """facebook/wav2vec2-base: 95 million parameters, 50 frames a second."""
    b = small_backbone()
    b.conv_dim = (512,) * 7
    b.conv_kernel = (10, 3, 3, 3, 3, 2, 2)
    b.conv_stride = (5, 2, 2, 2, 2, 2, 2)
    b.hidden_size, b.num_hidden_layers, b.num_attention_heads = 768, 12, 12
    b.intermediate_size = 3072
    b.num_conv_pos_embeddings, b.num_conv_pos_embedding_groups = 128, 16
    b.attention_dropout, b.feat_proj_dropout = 0.1, 0.1
    b.mask_time_length, b.mask_time_min_masks = 10, 2
    return b


def wavlm_large() -> ConfigDict:
    """microsoft/wavlm-large: 315 million parameters, 50 frames a second."""
    b = base_backbone()
    b.model_type = "wavlm"
    b.feat_extract_norm, b.do_stable_layer_norm = "layer", True
    b.hidden_size, b.num_hidden_layers, b.num_attention_heads = 1024, 24, 16
    b.intermediate_size = 4096
    b.layerdrop, b.mask_time_prob = 0.1, 0.075
    return b


def all_but_last(backbone: ConfigDict, layers: int) -> tuple[str, ...]:
    """Patterns of `config.freeze`: the backbone without its last layers, which stay trained.

    The norm behind the layers is frozen too, as is all in front of them. The relative positions of
    wavlm are of its first layer.
    """
    depth = backbone.num_hidden_layers
    trained = [f"layer_{i}" for i in range(max(depth - layers, 0), depth)]
    trained += ["relative"] if "layer_0" in trained else []
    return (rf"backbone/(?!({'|'.join(trained)})/).*",)
