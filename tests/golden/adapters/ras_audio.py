"""RAS, audio branch: changes of waveforms with their draws given."""

from __future__ import annotations

import re

import jax
import numpy as np

from affect_jax import augment
from tests.golden.compare import NUMBER
from tests.golden.fixture import Answer, Fixture, adapter


@adapter("ras__augment")
def changes(fixture: Fixture) -> Answer:
    """The original applies its impulse backwards in time: it is turned round here."""
    config, given = fixture.meta["config"], fixture.arrays
    x, room, (high, low) = given["in_x"], config["reverb"], config["band"]
    noise = given["in_rir_noise"]
    taps = augment.impulse(noise, room["decay"], len(noise))[::-1]
    ours = {
        "noise": [augment.add_noise(x, given["in_noise"], _decibels(fixture, "snr"))],
        "gain": [augment.gain(x, _decibels(fixture, "gain"))],
        "lowpass": [_low_pass(x, keep) for keep in config["lowpass_keep"]],
        "band": [_low_pass(x, high) - _low_pass(x, low)],
        "reverb": [augment.reverb(x, taps, room["mix"])],
    }
    stored = [entry["name"] for entry in fixture.meta["arrays"]]
    arrays = {}
    for kind, results in ours.items():
        names = [name for name in stored if name.startswith(f"out_{kind}")]
        arrays |= dict(zip(names, results, strict=True))
    return Answer(arrays)


def _decibels(fixture: Fixture, what: str) -> float:
    """The number of a note such as "snr 8 dB": the options do not hold it."""
    notes = " ".join(fixture.meta["notes"])
    return float(re.search(rf"{what} ({NUMBER.pattern}) dB", notes)[1])


def _low_pass(x: np.ndarray, keep: float) -> jax.Array:
    """The original's share of the frequencies, cut down to a whole number of them."""
    return augment.low_pass(x, max(1, int((x.shape[-1] // 2 + 1) * keep)))
