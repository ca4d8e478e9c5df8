"""Latent affect of the people in a twin: smooth, correlated, without any noise.

Every track has eight *sources*, stationary Gaussian processes of unit variance with two time
constants and an offset of the person: valence, arousal, three that move the expression, three
that move the action units. Expression and action units follow from the sources; their rates are
set exactly, over all labelled images of the twin; the test split takes the same biases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.labels import ACTION_UNITS, EXPRESSIONS
from data_pipelines.plan import generator
from data_pipelines.twins.tracks import LABELLED, Track

FACTORS = 3  # sources of the expression, and as many of the action units
SOURCES = 2 + 2 * FACTORS
AFFECT, EXPRESSION, UNITS = slice(0, 2), slice(2, 2 + FACTORS), slice(2 + FACTORS, SOURCES)
# Rows until the correlation has fallen to 1/e, faster and slower part; their weights. A segment
# of 64 rows shows several of the first and hardly one of the second.
TIMES = (15, 45)
WEIGHTS = (0.6, 0.8)
PERSON = np.repeat([0.35, 0.3], [2, SOURCES - 2])  # deviation of the person's own offset
LEAD = 64  # video frames before image 0, for what looks back
# Mean and deviation before tanh: labels end up near those of Aff-Wild2's training set.
VALENCE, AROUSAL = (0.08, 0.42), (0.33, 0.33)

# Share of the images, and where in the plane of valence and arousal the expression is at home.
_EXPRESSIONS = {
    "Neutral": (0.38, (0.0, -0.3)),
    "Anger": (0.06, (-0.8, 0.8)),
    "Disgust": (0.025, (-1.0, 0.3)),
    "Fear": (0.025, (-0.7, 1.0)),
    "Happiness": (0.20, (1.2, 0.2)),
    "Sadness": (0.10, (-1.0, -0.7)),
    "Surprise": (0.09, (0.3, 1.2)),
    "Other": (0.12, (0.1, 0.2)),
}
# Share of the images, and the expressions that come with the unit.
_UNITS = {
    "AU1": (0.12, ("Fear", "Sadness", "Surprise")),
    "AU2": (0.08, ("Fear", "Surprise")),
    "AU4": (0.16, ("Anger", "Fear", "Sadness")),
    "AU6": (0.28, ("Happiness",)),
    "AU7": (0.40, ("Anger", "Fear", "Happiness")),
    "AU10": (0.35, ("Disgust", "Happiness")),
    "AU12": (0.30, ("Happiness",)),
    "AU15": (0.03, ("Disgust", "Sadness")),
    "AU23": (0.05, ("Anger",)),
    "AU24": (0.04, ("Anger", "Other")),
    "AU25": (0.58, ("Happiness", "Surprise", "Other")),
    "AU26": (0.10, ("Fear", "Surprise")),
}
EXPRESSION_RATES = np.array([_EXPRESSIONS[name][0] for name in EXPRESSIONS])
UNIT_RATES = np.array([_UNITS[name][0] for name in ACTION_UNITS])


@dataclasses.dataclass(frozen=True)
class Latent:
    """The noise-free state of a track.

    Attributes:
        track: name, split and labelled images.
        every: video frames from one row to the next, on average.
        sources: float64 [N, SOURCES], one row a video frame; image i is row i + LEAD.
        logits: float64 [T, 8]; the expression is the largest.
        margins: float64 [T, 12] in standard deviations; an action unit is there above 0.
    """

    track: Track
    every: int
    sources: np.ndarray
    logits: np.ndarray
    margins: np.ndarray

    @property
    def at(self) -> np.ndarray:
        """int64 [T]: index into `sources` of each labelled image."""
        return _at(self.track)

    @property
    def truth(self) -> dict[str, np.ndarray]:
        """Labels of a perfect observer: valence, arousal [T], expression [T], au [T, 12]."""
        valence, arousal = self.sources[self.at, AFFECT].T
        return {
            "valence": np.tanh(VALENCE[0] + VALENCE[1] * valence),
            "arousal": np.tanh(AROUSAL[0] + AROUSAL[1] * arousal),
            "expression": self.logits.argmax(axis=1),
            "au": (self.margins > 0).astype(int),
        }


def smooth(rng: np.random.Generator, length: int, time: float, width: int) -> np.ndarray:
    """float64 [length, width]: Gaussian, unit variance, independent columns, stationary.

    White noise through two equal exponential filters (an AR(2) process with a double root), so
    that it has a derivative; the correlation falls to 1/e within `time` steps.
    """
    from scipy.signal import lfilter  # slow to import, needed only where a twin is made

    # (1 + k / s) exp(-k / s) is 1/e at k = 2.146 s.
    root = np.exp(-2.146 / time)
    burn = int(8 * time)
    noise = rng.standard_normal((length + burn, width))
    values = lfilter([1.0], [1.0, -2 * root, root**2], noise, axis=0)[burn:]
    return values * np.sqrt((1 - root**2) ** 3 / (1 + root**2))


def make_latents(tracks: Sequence[Track], every: int, seed: int) -> list[Latent]:
    """The latent state of every track; expression and action units at their stated rates."""
    labelled = [track for track in tracks if track.split in LABELLED]
    rest = [track for track in tracks if track.split not in LABELLED]
    latents, scales = [], None
    for part in filter(None, (labelled, rest)):
        sources = [_sources(track, every, generator(seed, "latent", track.name)) for track in part]
        shown = np.concatenate([x[_at(track)] for x, track in zip(sources, part)])
        logits, margins, scales = _show(shown, generator(seed, "loadings"), scales)
        ends = np.cumsum([len(track.images) for track in part])[:-1]
        split = zip(part, sources, np.split(logits, ends), np.split(margins, ends))
        latents += [Latent(track, every, *arrays) for track, *arrays in split]
    return latents


def _at(track: Track) -> np.ndarray:
    return track.images + LEAD


def _sources(track: Track, every: int, rng: np.random.Generator) -> np.ndarray:
    """float64 [N, SOURCES], one row a video frame."""
    length = int(track.images[-1]) + LEAD + 1
    moving = sum(
        weight * smooth(rng, length, time * every, SOURCES) for weight, time in zip(WEIGHTS, TIMES)
    )
    sources = np.sqrt(1 - PERSON**2) * moving + PERSON * rng.standard_normal(SOURCES)
    sources[:, 1] = 0.3 * sources[:, 0] + np.sqrt(1 - 0.3**2) * sources[:, 1]
    return sources


@dataclasses.dataclass(frozen=True)
class _Scales:
    """Biases of the logits [8], thresholds and deviations of the margins [12]."""

    biases: np.ndarray
    thresholds: np.ndarray
    deviations: np.ndarray


def _show(
    sources: np.ndarray, rng: np.random.Generator, scales: _Scales | None
) -> tuple[np.ndarray, np.ndarray, _Scales]:
    """Logits [N, 8] and margins [N, 12] of images [N, SOURCES], and the scales they are at.

    Args:
        scales: None for those that give these images the stated rates.
    """
    homes = np.array([_EXPRESSIONS[name][1] for name in EXPRESSIONS])
    of_factors = _directions(rng, FACTORS, len(EXPRESSIONS))
    logits = 0.8 * sources[:, AFFECT] @ homes.T + sources[:, EXPRESSION] @ of_factors
    biases = _biases(logits) if scales is None else scales.biases
    logits += biases

    shown = np.exp(logits - logits.max(axis=1, keepdims=True))
    shown /= shown.sum(axis=1, keepdims=True)
    come_with = np.array([[name in _UNITS[u][1] for u in ACTION_UNITS] for name in EXPRESSIONS])
    of_factors = _directions(rng, FACTORS, len(ACTION_UNITS))
    of_affect = 0.4 * _directions(rng, 2, len(ACTION_UNITS))
    margins = 2.5 * shown @ come_with + sources[:, UNITS] @ of_factors
    margins += sources[:, AFFECT] @ of_affect
    if scales is None:
        thresholds = [np.quantile(m, 1 - rate) for m, rate in zip(margins.T, UNIT_RATES)]
        scales = _Scales(biases, np.array(thresholds), margins.std(axis=0))
    return logits, (margins - scales.thresholds) / scales.deviations, scales


def _directions(rng, inputs: int, outputs: int) -> np.ndarray:
    """[inputs, outputs] with columns of length 1."""
    matrix = rng.standard_normal((inputs, outputs))
    return matrix / np.linalg.norm(matrix, axis=0)


def _biases(logits: np.ndarray) -> np.ndarray:
    """[8] to be added so that each class is the largest at its rate."""
    bias = np.zeros(len(EXPRESSION_RATES))
    for _ in range(200):
        counts = np.bincount((logits + bias).argmax(axis=1), minlength=len(bias))
        bias += 0.3 * np.log(EXPRESSION_RATES / np.maximum(counts / len(logits), 1e-4))
    return bias
