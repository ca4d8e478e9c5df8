"""Features of a twin's tracks: three streams, each of which needs context.

mae      the state now, under noise that is new in every image: averaging over time helps; offset
         and gain belong to the person and show only against the rest of the track
ires100  the state DELAY rows ago and its change since CHANGE rows ago, with noise
fau      the state now with a sign that flips from time to time, and a noisy trace of that sign

The noise is added before the projections, so that more columns do not average it away. Names are
those of the extractors the ABAW4 system used; nothing here comes from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_pipelines.plan import generator
from data_pipelines.twins.latent import SOURCES, Latent, smooth

WIDTHS = {"mae": 48, "ires100": 32, "fau": 24}
ABOUT = {
    "mae": "synthetic: the latent state under strong frame-wise noise",
    "ires100": "synthetic: the latent state delayed, and its change",
    "fau": "synthetic: the latent state with a sign that flips, and a trace of the sign",
}
# Deviations, in those of the sources.
NOISE = {"mae": 1.6, "ires100": 1.3, "fau": 1.0}
CHANNEL_NOISE = 0.05  # of every column for itself
PERSON_OFFSET, PERSON_LOG_GAIN = 0.3, 0.15
DELAY, CHANGE = 8, 4  # rows
CHANGE_SCALE = 1.5  # brings the change near unit variance
FLIP_TIME = 60  # rows
SIGN_NOISE, SIGN_COLUMNS = 2.0, 4


def extract(latents: Sequence[Latent], seed: int) -> list[dict[str, np.ndarray]]:
    """{stream: float32 [T, WIDTHS[stream]]} of every track."""
    inputs = {
        "mae": (SOURCES, WIDTHS["mae"]),
        "ires100": (2 * SOURCES, WIDTHS["ires100"]),
        "fau": (SOURCES, WIDTHS["fau"] - SIGN_COLUMNS),
        "sign": (1, SIGN_COLUMNS),
    }
    projections = {
        name: generator(seed, "projection", name).standard_normal(shape) / np.sqrt(shape[0])
        for name, shape in inputs.items()
    }
    return [
        _extract(latent, projections, generator(seed, "features", latent.track.name))
        for latent in latents
    ]


def _extract(latent: Latent, projections, rng: np.random.Generator) -> dict[str, np.ndarray]:
    rows, every, at = len(latent.at), latent.every, latent.at

    def noisy(x: np.ndarray, deviation: float) -> np.ndarray:
        return x + deviation * rng.standard_normal(x.shape)

    now = latent.sources[at]
    gain = np.exp(PERSON_LOG_GAIN * rng.standard_normal(SOURCES))
    offset = PERSON_OFFSET * rng.standard_normal(SOURCES)
    mae = np.tanh(0.7 * noisy(now * gain + offset, NOISE["mae"]) @ projections["mae"])

    delayed = latent.sources[at - DELAY * every]
    change = CHANGE_SCALE * (now - latent.sources[at - CHANGE * every])
    parts = [noisy(delayed, NOISE["ires100"]), noisy(change, 0.7 * NOISE["ires100"])]
    ires100 = np.concatenate(parts, axis=1) @ projections["ires100"]

    flips = smooth(rng, len(latent.sources), FLIP_TIME * every, 1)[at]
    sign = np.where(flips > 0, 1.0, -1.0)
    seen = sign * (noisy(now, NOISE["fau"]) @ projections["fau"])
    fau = np.concatenate([seen, noisy(sign, SIGN_NOISE) @ projections["sign"]], axis=1)

    streams = {"mae": mae, "ires100": ires100, "fau": fau}
    assert all(x.shape == (rows, WIDTHS[name]) for name, x in streams.items())
    return {name: noisy(x, CHANNEL_NOISE).astype(np.float32) for name, x in streams.items()}
