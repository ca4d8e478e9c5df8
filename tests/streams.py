"""Stores with streams of every kind, for tests of what feeds them."""

import pathlib

import numpy as np

from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

FEATURES = {
    "x": dict(size=3),
    "gaps": dict(size=2, dtype="float16"),
    "face": dict(shape=(4, 3, 1), dtype="uint8"),
    "audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=100),
    "film": dict(shape=(2, 2), dtype="uint8", axis="rate", rate_hz="30000/1001"),
    "words": dict(size=2, axis="table"),
    "quiet": dict(shape=(), axis="rate", rate_hz=37.5),  # with a mask
}
LABELS = {"valence": dict(kind="values", size=1), "kind": dict(kind="classes", size=3)}


def _streams(rng: np.random.Generator, seconds: float) -> dict:
    n, m = int(seconds * 100), int(seconds * 30)
    k = max(int(seconds * 37.5), 1)
    return dict(
        audio=rng.integers(-32768, 32768, n),
        film=rng.integers(0, 256, (m, 2, 2)),
        quiet=rng.normal(size=k),
    )


def tracks_store(path: pathlib.Path, *, fps="30000/1001") -> Store:
    """Three tracks of sampled images with all FEATURES; one has no words and no audio."""
    rng = np.random.default_rng(3)
    with StoreWriter(path, name="streams", features=FEATURES, labels=LABELS) as writer:
        for i, frames in enumerate((23, 9, 14)):
            images = np.cumsum(rng.integers(1, 3, frames))
            streams = _streams(rng, images[-1] / 30)
            starts = np.sort(rng.integers(0, images[-1], 6)).astype(float)
            streams["words"], spans = rng.normal(size=(6, 2)), np.stack([starts, starts + 4.5], 1)
            if i == 1:
                del streams["words"], streams["audio"]
            masks = {
                "gaps": rng.random(frames) < 0.7,
                "quiet": rng.random(len(streams["quiet"])) < 0.8,
            }
            writer.add(
                track=f"t{i}",
                split="train" if i < 2 else "validation",
                features={
                    "x": rng.normal(size=(frames, 3)),
                    "gaps": rng.normal(size=(frames, 2)),
                    "face": rng.integers(0, 256, (frames, 4, 3, 1)),
                    **streams,
                },
                feature_masks=masks,
                spans={"words": spans} if "words" in streams else {},
                labels={"valence": rng.normal(size=frames), "kind": rng.integers(0, 3, frames)},
                frames=images,
                fps=fps,
            )
    return Store(path)


def clips_store(path: pathlib.Path, count: int = 7, *, validation: int = 2) -> Store:
    """Tracks of one labelled frame: audio and film of 0.3 to 1.5 seconds, a picture, words."""
    rng = np.random.default_rng(4)
    with StoreWriter(path, name="clips", features=FEATURES, labels=LABELS) as writer:
        for i in range(count):
            streams = _streams(rng, float(rng.uniform(0.3, 1.5)))
            rows = int(rng.integers(0, 4))
            spans = np.stack([np.arange(rows), np.arange(rows) + 1.0], 1)
            writer.add(
                track=f"c{i}",
                split="train" if i < count - validation else "validation",
                features={
                    "x": rng.normal(size=(1, 3)),
                    "gaps": rng.normal(size=(1, 2)),
                    "face": rng.integers(0, 256, (1, 4, 3, 1)),
                    "words": rng.normal(size=(rows, 2)),
                    **streams,
                },
                feature_masks={"gaps": [i % 2 == 0]},
                spans={"words": spans},
                labels={"valence": rng.normal(size=1), "kind": [i % 3]},
            )
    return Store(path)
