"""Keys of the system "audio" (affect_jax/systems/audio.py): sound before a model."""

from ml_collections import ConfigDict


def audio_keys() -> ConfigDict:
    """`config.audio` that leaves sound as it is."""
    a = ConfigDict()
    # Level of what is fed of a clip: none (as recorded), rms (root mean square .1), peak (largest
    # value 1), standard (mean 0, deviation 1: as published backbones mostly were trained).
    a.level = "none"
    # Labels of task "culture" in training: those of the clip's own country alone. It needs a store
    # with label "country". Scores are over all that are labelled.
    a.own_culture = False
    # > 0: in training each clip is mixed with another of its batch, and their labels with them, in
    # shares drawn from Beta(mixup, mixup). Task losses: ce of classes, and those of values.
    a.mixup = 0.0
    # Changes in training, before the level: each with the probability that a clip has it in an
    # epoch, in this order, and the range (from, to) of what is drawn. Values as in the audio branch
    # of RAS, which has the probabilities .3, .6, .3, .2.
    a.augment = ConfigDict()
    a.augment.gain = ConfigDict(dict(probability=0.0, db=(-6.0, 6.0)))
    a.augment.noise = ConfigDict(dict(probability=0.0, snr=(8.0, 25.0)))  # white; decibels
    a.augment.band = ConfigDict(
        dict(
            probability=0.0,
            low_pass=(0.15, 0.45),  # kept share of the frequencies; half of the time
            band_from=(0.03, 0.12),  # else only those between two shares
            band_to=(0.18, 0.5),
        )
    )
    a.augment.reverb = ConfigDict(
        dict(
            probability=0.0,
            seconds=(0.05, 0.2),  # of the impulse response: noise that fades
            decay=(2.0, 8.0),  # exponent by which it has faded at its end
            mix=(0.1, 0.4),  # share of the echo
        )
    )
    return a
