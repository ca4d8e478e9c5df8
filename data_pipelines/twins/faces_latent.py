"""The state behind a cartoon face: which expression, how strong, mixed with which other.

Each expression moves mouth, brows, eyes and nose away from rest (MOVES). A face shows its
expression with some strength and a share of another one; 40 raters each take one of the two, by
that share, and their majority is the label. A face with nearly as much of the other is ambiguous.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_pipelines.expressions import EXPRESSIONS
from data_pipelines.plan import generator

MOVES = ("curve", "gap", "width", "height", "tilt", "eyes", "nose")
# Of each expression: share of the pictures, and how far it moves the corners of the mouth up, the
# lips apart and the mouth wide, the brows up and their inner ends down, the eyes open, the nose up.
HOMES = {
    "anger": (0.12, (-0.45, 0.05, -0.3, -0.7, 1.0, -0.2, 0.2)),
    "disgust": (0.11, (-0.55, 0.2, 0.0, -0.35, 0.4, -0.5, 1.0)),
    "fear": (0.09, (-0.35, 0.45, 0.3, 0.6, -0.8, 0.7, 0.0)),
    "happiness": (0.22, (1.0, 0.3, 0.5, 0.1, 0.0, -0.25, 0.0)),
    "sadness": (0.15, (-0.8, 0.0, -0.2, 0.0, -0.9, -0.35, 0.0)),
    "surprise": (0.13, (0.0, 1.0, -0.5, 1.0, -0.1, 0.8, 0.0)),
    "neutral": (0.18, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)),
}
STRENGTH = (0.8, 1.2)
OWN = 0.08  # deviation of a person's face at rest
AMBIGUOUS, MIXED, PURE = 0.1, (0.25, 0.5), (0.0, 0.1)  # share of the faces; shares of the other
RATERS = 40


@dataclasses.dataclass(frozen=True)
class Face:
    """What a picture is made of.

    Attributes:
        name: of the picture, "train_00001".
        split: "train" or "test", as its name begins.
        truth: number of the expression that it shows most.
        label: number of the expression that most raters saw.
        moves: float64 [7], by MOVES.
    """

    name: str
    split: str
    truth: int
    label: int
    moves: np.ndarray


def make_faces(size: dict[str, int], seed: int) -> list[Face]:
    """The faces of the lists of training and test, each from random numbers of its own.

    Args:
        size: {list: pictures}.
    """
    return [face for split, count in size.items() for face in _make(split, count, seed)]


def _make(split: str, count: int, seed: int) -> list[Face]:
    rng = generator(seed, "faces", split)
    shares = np.array([HOMES[name][0] for name in EXPRESSIONS])
    homes = np.array([HOMES[name][1] for name in EXPRESSIONS])
    truth = rng.choice(len(shares), count, p=shares)
    other = (truth + rng.integers(1, len(shares), count)) % len(shares)
    low, high = np.where(rng.random(count)[:, None] < AMBIGUOUS, MIXED, PURE).T
    mixed = rng.uniform(low, high)
    moves = (1 - mixed[:, None]) * homes[truth] + mixed[:, None] * homes[other]
    moves *= rng.uniform(*STRENGTH, (count, 1))
    moves += OWN * rng.standard_normal(moves.shape)
    label = np.where(rng.binomial(RATERS, mixed) > RATERS / 2, other, truth)
    names = [f"{split}_{number:05d}" for number in range(1, count + 1)]
    return [Face(*of) for of in zip(names, [split] * count, truth.tolist(), label.tolist(), moves)]
