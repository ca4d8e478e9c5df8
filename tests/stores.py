"""A small store with all ABAW tasks, gaps and missing labels, for tests of what reads stores."""

import pathlib

import numpy as np

from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

EXPRESSIONS = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
AUS = ("AU1", "AU2", "AU4", "AU6", "AU7", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")
LABELS = {
    "valence": dict(kind="values", size=1),
    "arousal": dict(kind="values", size=1),
    "expression": dict(kind="classes", size=8, names=EXPRESSIONS),
    "au": dict(kind="labels", size=12, names=AUS),
}


def small_store(
    folder: pathlib.Path, *, frames=(11, 3, 24, 17), validation=(9, 14), gaps=False, seed=0
) -> Store:
    """Features `a` (5 columns) and `b` (3) that carry the labels plus noise."""
    rng = np.random.default_rng(seed)
    features = {"a": dict(size=5), "b": dict(size=3)}
    with StoreWriter(folder, name="small", features=features, labels=LABELS) as writer:
        for split, sizes in (("train", frames), ("validation", validation)):
            for i, n in enumerate(sizes):
                latent = np.cumsum(rng.normal(size=(n, 3)), 0) / np.sqrt(n)
                va = np.tanh(latent[:, :2])
                va[rng.random(n) < 0.2] = np.nan
                expression = np.abs(np.round(latent[:, 2] * 4)).astype(int) % 8
                au = (latent @ rng.normal(size=(3, 12)) > 0).astype(int)
                masks = {"b": rng.random(n) < 0.7} if gaps and i % 2 else {}
                writer.add(
                    track=f"{split}{i}",
                    split=split,
                    features={
                        "a": np.c_[latent, rng.normal(size=(n, 2)) + i],
                        "b": latent + rng.normal(size=(n, 3)),
                    },
                    feature_masks=masks,
                    labels={
                        "valence": va[:, 0],
                        "arousal": va[:, 1],
                        "expression": (expression, rng.random(n) < 0.8),
                        "au": (au, rng.random((n, 12)) < 0.8),
                    },
                    frames=np.cumsum(rng.integers(1, 4, n)),
                    fps=10.0,
                )
    return Store(folder)
