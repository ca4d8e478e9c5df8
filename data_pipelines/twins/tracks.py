"""Which tracks a twin has: names in the official forms, very different lengths, image numbers."""

from __future__ import annotations

import dataclasses
import statistics

import numpy as np

from data_pipelines.plan import generator

# Persons of a video with two faces: both suffixed, or the first without.
PAIRS = (("_left", "_right"), ("", "_right"))
LENGTH_SIGMA = 1.15  # of log length: shortest and longest of 60 tracks are a factor 200 apart
SHORTEST = 12  # rows
EVERY = 4  # mean distance of the images in the sparse sample, in video frames


@dataclasses.dataclass(frozen=True)
class Size:
    """How much there is of each split: (tracks, rows)."""

    train: tuple[int, int]
    validation: tuple[int, int]
    test: tuple[int, int] = (0, 0)


SIZES = {
    "default": Size(train=(60, 12_000), validation=(20, 4_000), test=(10, 2_000)),
    "small": Size(train=(12, 1_200), validation=(6, 600), test=(3, 300)),
}
LABELLED = ("train", "validation")
VIDEOS = {"labelled": (1, 601), "test": (601, 901)}  # numbers that names are drawn from


@dataclasses.dataclass(frozen=True)
class Track:
    """One person in a video.

    Attributes:
        name: of the video, with the person's suffix.
        split: "train", "validation" or "test".
        images: int64 [T], 1-based numbers of the labelled images, ascending.
    """

    name: str
    split: str
    images: np.ndarray


def make_tracks(size: Size, seed: int, *, sparse: bool) -> list[Track]:
    """The tracks of all splits; no video is in two.

    The test split is drawn from random numbers of its own: the others are what they are without.

    Args:
        sparse: a sample of the frames, as in the multi-task lists, else every frame.
    """
    of_labelled = generator(seed, "tracks"), VIDEOS["labelled"]
    of_test = generator(seed, "test tracks"), VIDEOS["test"]
    return [
        *_make(size, LABELLED, *of_labelled, sparse=sparse),
        *_make(size, ("test",), *of_test, sparse=sparse),
    ]


def _make(size: Size, splits: tuple[str, ...], rng, between, *, sparse: bool) -> list[Track]:
    numbers = iter(rng.permutation(np.arange(*between)))
    tracks = []
    for split in splits:
        count, rows = getattr(size, split)
        videos = _videos(rng, split, count, numbers)
        lengths = _lengths(rng, [len(persons) for _, persons in videos], rows)
        for (video, persons), length in zip(videos, lengths):
            for person in persons:
                images = _sample(rng, length) if sparse else np.arange(1, length + 1)
                tracks.append(Track(video + person, split, images))
    return tracks


def _videos(rng, split: str, count: int, numbers) -> list[tuple[str, tuple[str, ...]]]:
    """(name, suffixes of its persons), `count` persons in all."""
    videos, pairs = [], list(PAIRS)
    while count:
        number, form = next(numbers), rng.random()
        # The forms' shares follow the valence-arousal sets: no video<number> in training.
        if form < 0.3:
            name = f"{number}-{rng.choice((24, 25, 30, 60))}-{rng.choice(('1280x720', '640x480'))}"
        elif split == "train":
            name = f"{number}"
        else:
            name = f"video{number}" + ("_1" if form > 0.9 else "")
        persons = pairs.pop() if pairs and count > 2 and len(videos) % 4 == 3 else ("",)
        videos.append((name, persons))
        count -= len(persons)
    return videos


def _lengths(rng, persons: list[int], rows: int) -> np.ndarray:
    """Rows of each video: quantiles of a log-normal distribution in random order."""
    n = len(persons)
    normal = statistics.NormalDist()
    shape = np.exp([LENGTH_SIGMA * normal.inv_cdf((i + 0.5) / n) for i in range(n)])
    shape = rng.permutation(shape)
    lengths = shape * rows / np.dot(shape, persons)
    return np.maximum(lengths.astype(int), SHORTEST)


def _sample(rng, length: int) -> np.ndarray:
    """Image numbers of a sparse sample that starts anywhere, with a few long holes."""
    gaps = 1 + rng.poisson(EVERY - 1, length)
    holes = rng.random(length) < 0.003
    gaps[holes] += rng.integers(30, 300, holes.sum())
    return np.cumsum(gaps)
