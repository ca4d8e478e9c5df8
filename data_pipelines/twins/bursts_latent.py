"""The state behind a burst, and the map from it to labels.

A burst has a kind and a point z in four dimensions, near its kind's. Valence and arousal mostly
follow the first two; the intensity of an emotion is a smooth function that rises towards the
emotion's home. Each country has homes and thresholds somewhat of its own. The map is the same for
every seed.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.bursts import CLASSES, COUNTRIES, EMOTIONS, TYPE, TYPES
from data_pipelines.plan import generator

DIMENSIONS = 4
SPREAD = 0.8  # deviation of a point from its kind's
# Share of the clips, and where the kind is at home.
KINDS = {
    "Laugh": (0.20, (1.0, 0.3, -0.5, 0.2)),
    "Grunt": (0.09, (-0.3, -0.4, 0.1, -0.7)),
    "Cry": (0.11, (-0.9, -0.1, -0.3, 0.7)),
    "Pant": (0.07, (0.1, 0.2, -0.6, -0.5)),
    "Gasp": (0.25, (0.1, 0.3, 0.7, -0.2)),
    "Groan": (0.09, (-0.6, -0.7, 0.0, 0.1)),
    "Scream": (0.11, (-0.4, 1.1, 0.5, 0.4)),
    "Other": (0.08, (0.2, -0.2, 0.0, 0.3)),
}
COUNTRY_SHARES = {"China": 0.25, "United States": 0.35, "South Africa": 0.25, "Venezuela": 0.15}
HOMES = {
    "Awe": (0.6, -0.2, 1.0, 0.0),
    "Excitement": (0.9, 0.9, 0.0, -0.4),
    "Amusement": (1.1, 0.2, -0.8, 0.3),
    "Awkwardness": (-0.1, -0.5, -0.7, -0.9),
    "Fear": (-0.7, 0.8, 0.9, 0.3),
    "Horror": (-1.0, 0.7, 0.4, -0.7),
    "Distress": (-1.0, 0.3, -0.3, 0.6),
    "Triumph": (0.8, 0.6, 0.2, 1.0),
    "Sadness": (-0.9, -0.8, 0.0, 0.5),
    "Surprise": (0.1, 0.7, 0.8, -0.8),
}
STEEPNESS, THRESHOLD, CURVE = 1.3, 1.0, 0.12
OWN_HOME, OWN_THRESHOLD = 0.35, 0.35  # deviation of a country's from all countries'
# Of raters: share of the clips that are given any kind; deviation of a mean rating.
CONFUSED = 0.08
DOUBT = {"two": 0.05, "high": 0.06, "culture": 0.09}


@dataclasses.dataclass(frozen=True)
class Burst:
    """What a clip is made of.

    Attributes:
        clip: its name.
        split: "Train", "Val" or "Test", as the tables have it.
        kind: number of a type.
        country: number of a country.
        z: float64 [4], the state.
    """

    clip: str
    split: str
    kind: int
    country: int
    z: np.ndarray

    @property
    def truth(self) -> dict[str, np.ndarray]:
        """{label: the noise-free label}, [1, K] each, of classes [1]."""
        z = self.z[None]
        return {
            "type": np.array([self.kind]),
            "two": affect(z),
            "high": intensities(z),
            "culture": ratings(z),
            "country": np.array([self.country]),
        }

    def rated(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The labels as raters give them, shapes of the truth."""
        labels = dict(self.truth)
        if rng.random() < CONFUSED:
            labels["type"] = rng.integers(len(TYPES), size=1)
        for name, deviation in DOUBT.items():
            noise = deviation * rng.standard_normal(labels[name].shape)
            labels[name] = np.clip(labels[name] + noise, 0, 1)
        return labels


def make_bursts(size: dict[str, int], seed: int) -> list[Burst]:
    """The bursts of all splits, sorted by name; those of Test from random numbers of their own.

    Args:
        size: {split: clips}.
    """
    labelled = {split: n for split, n in size.items() if split != "Test"}
    test = {split: n for split, n in size.items() if split == "Test"}
    bursts = _make(labelled, generator(seed, "bursts"), np.arange(1, 90_000, 2))
    bursts += _make(test, generator(seed, "test bursts"), np.arange(0, 90_000, 2))
    return sorted(bursts, key=lambda burst: burst.clip)


def _make(size: dict[str, int], rng: np.random.Generator, numbers: np.ndarray) -> list[Burst]:
    total = sum(size.values())
    splits = np.repeat(list(size), list(size.values()))
    kinds = rng.choice(len(TYPES), total, p=[KINDS[name][0] for name in CLASSES[TYPE]])
    countries = rng.choice(len(COUNTRIES), total, p=[COUNTRY_SHARES[c] for c in COUNTRIES])
    homes = np.array([KINDS[name][1] for name in TYPES])
    z = homes[kinds] + SPREAD * rng.standard_normal((total, DIMENSIONS))
    names = [f"{number:05d}" for number in rng.permutation(numbers)[:total]]
    return [Burst(*of) for of in zip(names, splits.tolist(), kinds.tolist(), countries.tolist(), z)]


def affect(z: np.ndarray) -> np.ndarray:
    """float64 [N, 2]: valence and arousal of states [N, 4]."""
    return _sigmoid(z @ np.array([[1.2, -0.2], [0.0, 1.1], [0.2, 0.0], [0.0, 0.2]]))


def intensities(z: np.ndarray) -> np.ndarray:
    """float64 [N, 10]: the emotions, of all raters."""
    return _intensities(z, np.array([HOMES[name] for name in EMOTIONS]), 0.0)


def ratings(z: np.ndarray) -> np.ndarray:
    """float64 [N, 40]: the emotions, of the raters of each country."""
    homes = np.array([HOMES[name] for name in EMOTIONS])
    parts = []
    for country in COUNTRIES:
        rng = generator(0, "country", country)
        own = homes + OWN_HOME * rng.standard_normal(homes.shape)
        parts.append(_intensities(z, own, OWN_THRESHOLD * rng.standard_normal(len(EMOTIONS))))
    return np.concatenate(parts, axis=1)


def _intensities(z: np.ndarray, homes: np.ndarray, threshold: np.ndarray | float) -> np.ndarray:
    bent = CURVE * (z**2).sum(1, keepdims=True)
    return _sigmoid(STEEPNESS * z @ homes.T - THRESHOLD - threshold - bent)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
