"""The sound of a burst: pulses and noise through three formants, shaped by what it expresses.

The kind decides the pattern: bouts (laughing, panting), noise or voice, trembling, roughness, the
slope of the pitch, the length. The state moves numbers within it: valence the first formant and
the slope, arousal the pitch and the effort (brightness), the third dimension the second formant
and the speed of bouts, the fourth the breathiness. Beside them stand what no label tells: the
speaker's pitch and size, the level, background noise, where the burst begins.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.audio import RATE
from data_pipelines.bursts import TYPES
from data_pipelines.twins.bursts_latent import Burst

SECONDS = (0.5, 3.0)
FORMANTS = (600.0, 1500.0, 2700.0)  # Hz
WIDTHS = (90.0, 120.0, 180.0)  # Hz
PITCH = 180.0  # Hz


@dataclasses.dataclass(frozen=True)
class Pattern:
    """How a kind sounds.

    Attributes:
        pitch: factor on the pitch.
        slope: octaves that the pitch moves by, from start to end.
        noise: log odds of noise against voice.
        bouts: a second; 0 for one burst.
        trembling: octaves that the pitch swings by, 6 times a second.
        rough: depth of a fast beating.
        rise: share of the length after which it is loudest.
        seconds: length, in the middle.
    """

    pitch: float
    slope: float
    noise: float
    bouts: float
    trembling: float
    rough: float
    rise: float
    seconds: float


PATTERNS = {
    "Laugh": Pattern(1.3, -0.3, -1.0, 5.0, 0.0, 0.0, 0.2, 1.8),
    "Grunt": Pattern(0.6, -0.2, -0.5, 0.0, 0.0, 0.4, 0.2, 0.7),
    "Cry": Pattern(1.5, -0.5, -1.0, 0.0, 0.12, 0.1, 0.3, 2.2),
    "Pant": Pattern(0.9, 0.0, 1.8, 3.5, 0.0, 0.0, 0.3, 1.9),
    "Gasp": Pattern(1.2, 0.4, 1.6, 0.0, 0.0, 0.0, 0.7, 0.8),
    "Groan": Pattern(0.7, -0.6, -0.8, 0.0, 0.0, 0.2, 0.4, 1.9),
    "Scream": Pattern(2.4, 0.1, -0.8, 0.0, 0.03, 0.7, 0.3, 1.5),
}


def sound(burst: Burst, rng: np.random.Generator) -> np.ndarray:
    """int16 [S], half a second to three seconds at 16 kHz."""
    from scipy.signal import sosfilt  # slow to import, needed only where a twin is made

    pattern = _pattern(burst.kind, rng)
    valence, arousal, third, fourth = np.clip(burst.z, -2.5, 2.5)
    speaker = np.clip(rng.standard_normal(2), -2, 2)
    seconds = np.clip(pattern.seconds * np.exp(0.25 * rng.standard_normal()), *SECONDS)
    lead = rng.uniform(0, 0.15) * seconds
    times = np.arange(int((seconds - lead) * RATE)) / RATE
    place = times / times[-1]

    octaves = 0.45 * arousal + 0.2 * speaker[0] + (pattern.slope + 0.25 * valence) * (place - 0.5)
    octaves = octaves + pattern.trembling * np.sin(2 * np.pi * 6 * times)
    phase = np.cumsum(PITCH * pattern.pitch * 2**octaves) / RATE
    noisy = 1 / (1 + np.exp(-pattern.noise - 0.9 * fourth))
    source = (1 - noisy) * _pulses(phase) + noisy * 0.5 * rng.standard_normal(len(times))
    source *= 1 - pattern.rough * (0.5 + 0.5 * np.sin(np.pi * phase))
    source *= _envelope(pattern, times, place, 2 ** (0.25 * third), rng.uniform(0, 1))

    size = 2 ** (0.12 * speaker[1])
    moved = np.array([2 ** (0.3 * valence), 2 ** (0.25 * third), 1.0])
    formants = np.minimum(np.array(FORMANTS) * size * moved, 0.4 * RATE)
    effort = np.clip(0.93 - 0.1 * arousal, 0.5, 0.99)  # a pole: the lower, the brighter
    voiced = sosfilt(_filters(formants, effort), source)

    samples = np.concatenate([np.zeros(int(seconds * RATE) - len(times)), voiced])
    samples /= np.abs(samples).max()
    background = 10 ** (-rng.uniform(15, 40) / 20) * np.sqrt(np.mean(samples**2))
    samples += background * rng.standard_normal(len(samples))
    level = np.exp(rng.uniform(np.log(0.05), np.log(0.9)))
    return np.rint(level * 32767 * samples / np.abs(samples).max()).astype(np.int16)


def _pattern(kind: int, rng: np.random.Generator) -> Pattern:
    """That of the kind; of "Other" something between two of the rest."""
    name = TYPES[kind]
    if name in PATTERNS:
        return PATTERNS[name]
    one, other = rng.choice(list(PATTERNS), 2, replace=False)
    pair = dataclasses.astuple(PATTERNS[one]), dataclasses.astuple(PATTERNS[other])
    return Pattern(*np.mean(pair, axis=0))


def _pulses(phase: np.ndarray) -> np.ndarray:
    """A wave with all harmonics, falling by 6 dB an octave."""
    return 1 - 2 * (phase % 1)


def _envelope(
    pattern: Pattern, times: np.ndarray, place: np.ndarray, speed: float, start: float
) -> np.ndarray:
    rise = np.minimum(place / pattern.rise, (1 - place) / (1 - pattern.rise))
    if pattern.bouts:
        beat = np.sin(np.pi * (pattern.bouts * speed * times + start))
        rise = np.sqrt(rise) * beat**2
    return rise


def _filters(formants: np.ndarray, pole: float) -> np.ndarray:
    """Second-order sections [4, 6]: a low-pass and a resonance for each formant."""
    sections = [[1 - pole, 0, 0, 1, -pole, 0]]
    for frequency, width in zip(formants, WIDTHS):
        radius = np.exp(-np.pi * width / RATE)
        first, second = -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2
        sections.append([1 + first + second, 0, 0, 1, first, second])
    return np.array(sections)
