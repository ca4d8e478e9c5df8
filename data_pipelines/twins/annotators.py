"""From latent state to labels: annotators who err, and labels that do not exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.labels import ACTION_UNITS, EXPRESSIONS
from data_pipelines.plan import generator
from data_pipelines.twins.latent import EXPRESSION_RATES, Latent, smooth

DRIFT = 0.13  # deviation of valence and arousal that stays for a while,
JITTER = 0.02  # and of what differs from image to image
DECIMALS = 3
DOUBT = {"expression": 0.5, "au": 0.4}  # smooth noise on logits and margins: boundaries move
DOUBT_TIME = 8  # rows
CONFUSED = 0.03  # share of images given any expression

KINDS = ("va", "expression", "au")
PRESENT = -0.6  # a kind exists where a smooth process is above: in 73 % of the rows
BLOCK_TIME = 40  # rows
LACKING_EVERY = 6  # of the tracks by length, every sixth lacks one kind altogether
SINGLE_UNIT = 0.15  # share of the tracks where one action unit alone is missing for a while
VA_GAPS = (0.1, 0.3)  # valence-arousal twin: share of the tracks with one gap, share of its rows


@dataclasses.dataclass(frozen=True)
class Annotation:
    """Labels of a track, and where they exist.

    Attributes:
        values: {"valence": [T] in [-1, 1], "arousal": [T], "expression": [T], "au": [T, 12]}.
        known: bool of the same keys and shapes.
    """

    values: dict[str, np.ndarray]
    known: dict[str, np.ndarray]


def annotate(latents: Sequence[Latent], seed: int, *, gaps: str) -> list[Annotation]:
    """Labels as annotators wrote them.

    Args:
        gaps: "kinds": each kind of label is missing in blocks of its own, every row has one;
            "few": one gap in a few tracks.
    """
    if gaps not in ("kinds", "few"):
        raise ValueError(f"gaps {gaps!r}")
    order = np.argsort([len(latent.at) for latent in latents], kind="stable")
    lacking = dict(zip(order[LACKING_EVERY // 2 :: LACKING_EVERY], KINDS * len(latents)))
    annotations = []
    for i, latent in enumerate(latents):
        values = _values(latent, generator(seed, "labels", latent.track.name))
        rng = generator(seed, "gaps", latent.track.name)
        known = _few_gaps(rng, latent) if gaps == "few" else _gaps(rng, latent, lacking.get(i))
        annotations.append(Annotation(values, known))
    return annotations


def _values(latent: Latent, rng: np.random.Generator) -> dict[str, np.ndarray]:
    truth, rows = latent.truth, len(latent.at)

    def drifting(time: float, width: int) -> np.ndarray:
        return smooth(rng, len(latent.sources), time * latent.every, width)[latent.at]

    affect = np.stack([truth["valence"], truth["arousal"]], axis=1)
    affect += DRIFT * drifting(2 * DOUBT_TIME, 2) + JITTER * rng.standard_normal((rows, 2))
    affect = np.clip(affect, -1, 1).round(DECIMALS)
    doubted = latent.logits + DOUBT["expression"] * drifting(DOUBT_TIME, len(EXPRESSIONS))
    anything = rng.choice(len(EXPRESSIONS), rows, p=EXPRESSION_RATES)
    confused = rng.random(rows) < CONFUSED
    units = latent.margins + DOUBT["au"] * drifting(DOUBT_TIME, len(ACTION_UNITS))
    return {
        "valence": affect[:, 0],
        "arousal": affect[:, 1],
        "expression": np.where(confused, anything, doubted.argmax(axis=1)),
        "au": (units > 0).astype(int),
    }


def _gaps(rng: np.random.Generator, latent: Latent, lacking: str | None) -> dict[str, np.ndarray]:
    """Independent blocks for each kind; the kind `lacking` nowhere; no row without any."""
    process = smooth(rng, len(latent.sources), BLOCK_TIME * latent.every, len(KINDS))[latent.at]
    has = {kind: column > PRESENT for kind, column in zip(KINDS, process.T)}
    if lacking is not None:
        has[lacking] = np.zeros(len(latent.at), bool)
    nothing = ~np.logical_or.reduce(list(has.values()))
    has["expression" if lacking == "va" else "va"] |= nothing

    units = np.repeat(has["au"][:, None], len(ACTION_UNITS), axis=1)
    if rng.random() < SINGLE_UNIT:
        units[_block(rng, len(units), 0.2), rng.integers(len(ACTION_UNITS))] = False
    return {
        "valence": has["va"],
        "arousal": has["va"],
        "expression": has["expression"],
        "au": units,
    }


def _few_gaps(rng: np.random.Generator, latent: Latent) -> dict[str, np.ndarray]:
    known = np.ones(len(latent.at), bool)
    if rng.random() < VA_GAPS[0]:
        known[_block(rng, len(known), VA_GAPS[1])] = False
    return {"valence": known, "arousal": known}


def _block(rng: np.random.Generator, rows: int, share: float) -> slice:
    """Consecutive rows somewhere."""
    size = max(1, int(share * rows))
    start = int(rng.integers(rows - size + 1))
    return slice(start, start + size)
