"""Stores of the toy systems: sound of one tone each, and pictures of one brightness each."""

import pathlib

import numpy as np

from data_pipelines.store_writer import StoreWriter

RATE = 16_000


def pictures(path: pathlib.Path, *, train=22, validation=9) -> pathlib.Path:
    """uint8 pictures of three classes; a quarter of the training labels is wrong."""
    rng = np.random.default_rng(0)
    features = {"face": dict(shape=(6, 6, 1), dtype="uint8")}
    labels = {"kind": dict(kind="classes", size=3)}
    with StoreWriter(path, name="pictures", features=features, labels=labels) as writer:
        for split, count in (("train", train), ("validation", validation)):
            for i in range(count):
                kind = i % 3
                face = rng.integers(0, 60, (1, 6, 6, 1)) + 80 * kind
                wrong = split == "train" and i % 4 == 3
                shown = (kind + 1) % 3 if wrong else kind
                writer.add(
                    track=f"{split}{i}",
                    split=split,
                    features={"face": face},
                    labels={"kind": [shown]},
                )
    return path


def sound(path: pathlib.Path, *, train=14, validation=6) -> pathlib.Path:
    """int16 sound at 16 kHz of 40 to 80 ms: its class is the tone, its value the loudness."""
    rng = np.random.default_rng(0)
    features = {"audio": dict(shape=(), dtype="int16", axis="rate", rate_hz=RATE)}
    labels = {"tone": dict(kind="classes", size=2), "loudness": dict(kind="values", size=1)}
    with StoreWriter(path, name="sound", features=features, labels=labels) as writer:
        for split, count in (("train", train), ("validation", validation)):
            for i in range(count):
                time = np.arange(int(rng.uniform(0.04, 0.08) * RATE)) / RATE
                loudness = rng.uniform(0.1, 0.9)
                wave = loudness * np.sin(2 * np.pi * (300 if i % 2 else 1500) * time)
                writer.add(
                    track=f"{split}{i}",
                    split=split,
                    features={"audio": np.round(wave * 32767).astype(np.int16)},
                    labels={"tone": [i % 2], "loudness": [loudness]},
                )
    return path
