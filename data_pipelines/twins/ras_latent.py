"""Affect of the people in the multimodal twin, and what each modality can see of it.

Valence and arousal are Gaussian processes of unit variance: a part that changes within seconds, one
that changes within a quarter of a minute, and an offset of the person. A modality sees them under
errors of its own: an offset of the video, a slow drift, and noise that is new in every observation.
The face sees mostly valence, in every frame; sound mostly arousal, once a stretch of speech;
behaviour the slower parts of both, once a segment. As errors of modalities are independent, each
tells what the others cannot.

All of it is Gaussian, so the best estimate from any of the observations is that of a Gaussian
process with the covariances from which they were drawn: what fusion can reach.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from data_pipelines.twins.latent import smooth

AFFECT = ("valence", "arousal")
MODALITIES = ("face", "sound", "behaviour")
# Parts of affect: seconds until the correlation has fallen to 1/e, and their shares of variance.
FAST, SLOW = 2.5, 10.0
VARIANCE = {"fast": 0.3, "slow": 0.55, "person": 0.15}
# Mean and deviation before tanh.
LEVEL = {"valence": (0.1, 0.45), "arousal": (0.3, 0.4)}
DRIFT = 4.0  # seconds of a modality's drift until its correlation has fallen to 1/e
_MATERN = 2.146  # (1 + x) exp(-x) is 1/e here


@dataclasses.dataclass(frozen=True)
class Error:
    """Deviations of a modality's errors: offset of the video, drift, noise of an observation."""

    offset: float
    drift: float
    noise: float


ERRORS = {
    "face": {"valence": Error(0.25, 0.4, 0.8), "arousal": Error(0.9, 1.2, 2.5)},
    "sound": {"valence": Error(0.9, 1.0, 1.6), "arousal": Error(0.25, 0.3, 0.3)},
    "behaviour": {"valence": Error(0.4, 0.5, 0.7), "arousal": Error(0.5, 0.6, 0.7)},
}


@dataclasses.dataclass(frozen=True)
class Person:
    """Affect of a person in a video of T frames.

    Attributes:
        parts: {part of VARIANCE: float64 [T, 2]}, valence and arousal, of unit variance.
    """

    parts: Mapping[str, np.ndarray]

    @property
    def state(self) -> np.ndarray:
        """float64 [T, 2]: valence and arousal before tanh, of unit variance."""
        return self.slower + np.sqrt(VARIANCE["fast"]) * self.parts["fast"]

    @property
    def slower(self) -> np.ndarray:
        """float64 [T, 2]: the state without its fast part."""
        return sum(np.sqrt(VARIANCE[name]) * self.parts[name] for name in ("slow", "person"))


@dataclasses.dataclass(frozen=True)
class Seen:
    """Observations of a person by a modality.

    Attributes:
        frames: float64 [N]: places of the observations, in frames from 0.
        values: float64 [N, 2].
    """

    frames: np.ndarray
    values: np.ndarray


def make_person(rng: np.random.Generator, frames: int, fps: float) -> Person:
    """A person drawn at random."""
    parts = {name: smooth(rng, frames, s * fps, 2) for name, s in (("fast", FAST), ("slow", SLOW))}
    return Person(parts | {"person": np.tile(rng.standard_normal(2), (frames, 1))})


def affect(state: np.ndarray) -> dict[str, np.ndarray]:
    """{"valence": [T], "arousal": [T]} in [-1, 1] of a state [T, 2]."""
    levels = (LEVEL[name] for name in AFFECT)
    return {n: np.tanh(mean + d * x) for n, (mean, d), x in zip(AFFECT, levels, state.T)}


def observe(
    rng: np.random.Generator, modality: str, person: Person, frames: np.ndarray, fps: float
) -> Seen:
    """Observations by a modality at some frames (places of the middle, rounded down to a frame)."""
    truth = person.slower if modality == "behaviour" else person.state
    at = np.clip(np.asarray(frames).astype(int), 0, len(truth) - 1)
    errors = [ERRORS[modality][name] for name in AFFECT]
    offset, drift, noise = np.array([dataclasses.astuple(e) for e in errors]).T
    values = truth[at] + offset * rng.standard_normal(2)
    values = values + drift * smooth(rng, len(truth), DRIFT * fps, 2)[at]
    return Seen(np.asarray(frames, float), values + noise * rng.standard_normal(values.shape))


def estimate(
    seen: Mapping[str, Seen], places: np.ndarray, fps: float, *, block: int = 10
) -> np.ndarray:
    """float64 [P, 2]: the expected state at some frames, given all that modalities have seen.

    Args:
        seen: {modality: its observations}.
        block: frames of which observations of the face are averaged, as if they were one.
    """
    kinds, times, values, counts = [], [], [], []
    for modality, of in seen.items():
        of, count = _blocks(of, block) if modality == "face" else (of, np.ones(len(of.frames)))
        kinds += [modality] * len(count)
        times.append(of.frames / fps)
        values.append(of.values)
        counts.append(count)
    if not kinds:
        return np.zeros((len(places), 2))
    kind, at = np.array(kinds), np.concatenate(times)
    value, count = np.concatenate(values), np.concatenate(counts)
    faster = kind != "behaviour"
    apart = np.abs(at[:, None] - at)
    between = _slower(apart) + np.outer(faster, faster) * _faster(apart)
    ahead = np.abs(places[:, None] / fps - at)
    towards = _slower(ahead) + faster * _faster(ahead)
    found = []
    for column, name in enumerate(AFFECT):
        covariance = between.copy()
        for modality in seen:
            error, own = ERRORS[modality][name], kind == modality
            square = np.outer(own, own)
            covariance += square * (error.offset**2 + error.drift**2 * _matern(apart, DRIFT))
            covariance[own, own] += error.noise**2 / count[own]
        found.append(towards @ np.linalg.solve(covariance, value[:, column]))
    return np.stack(found, axis=1)


def _blocks(of: Seen, block: int) -> tuple[Seen, np.ndarray]:
    """(means over blocks of frames, number of observations in each)."""
    _, index, count = np.unique(of.frames // block, return_inverse=True, return_counts=True)
    rows = np.column_stack([of.frames, of.values])
    sums = np.stack([np.bincount(index, column, len(count)) for column in rows.T], axis=1)
    means = sums / count[:, None]
    return Seen(means[:, 0], means[:, 1:]), count.astype(float)


def _slower(seconds: np.ndarray) -> np.ndarray:
    return VARIANCE["slow"] * _matern(seconds, SLOW) + VARIANCE["person"]


def _faster(seconds: np.ndarray) -> np.ndarray:
    return VARIANCE["fast"] * _matern(seconds, FAST)


def _matern(seconds: np.ndarray, time: float) -> np.ndarray:
    """Correlation of `latent.smooth` at a distance."""
    x = _MATERN * seconds / time
    return (1 + x) * np.exp(-x)
