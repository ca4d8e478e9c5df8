"""What both sides of the audio suite run: sizes, and the same random sounds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

CLASSES = 8
# What the base models share beside the defaults of config.json: nothing is dropped whole.
BASE = {"layerdrop": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.1}


@dataclasses.dataclass(frozen=True)
class Shape:
    """Model type, clips a batch, samples a clip, steps a round."""

    model: str
    batch: int
    samples: int
    steps: int
    bf16: bool

    @property
    def config(self) -> dict[str, Any]:
        """Fields of config.json, for both sides."""
        return {"model_type": self.model, **BASE}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """(audio float32 [B, S], classes [B])."""
        rng = np.random.default_rng(0)
        audio = rng.standard_normal((self.batch, self.samples), np.float32) / 10
        return audio, rng.integers(0, CLASSES, self.batch)
