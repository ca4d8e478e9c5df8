"""Seconds that a split of many clips takes after the model: files, scores, intervals, smoothing.

    python -m benchmarks.many_tracks [--tracks=20000]

A clip is a track of one labelled frame and a group of its own. Four tasks: 8 classes, and 2, 10
and 40 values.
"""

from __future__ import annotations

import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np

from affect_jax.prediction_files import read_split, write_split
from affect_jax.report import score_intervals
from affect_jax.scoring import score
from affect_jax.smoothing import smooth_tracks
from affect_jax.tasks import Task
from data_pipelines.command import Parser, exit_code, whole
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

SIZES = (2, 10, 40)
TASKS = (
    Task("emotion", "classes", 8, metrics=("f1", "accuracy", "uar", "f1_per_class", "confusion")),
    *(Task(f"values{k}", "values", k, metrics=("ccc", "pearson", "rmse")) for k in SIZES),
)


def store(folder: pathlib.Path, tracks: int) -> Store:
    """A store of clips, without features."""
    rng = np.random.default_rng(0)
    labels = {t.name: dict(kind=t.kind, size=t.size) for t in TASKS}
    with StoreWriter(folder, name="clips", features={}, labels=labels) as writer:
        for i in range(tracks):
            given = {t.name: rng.normal(size=(1, t.size)).astype(np.float32) for t in TASKS[1:]}
            given["emotion"] = rng.integers(0, 8, 1)
            writer.add(track=f"clip{i}", split="val", features={}, labels=given)
    return Store(folder)


def predicted(tracks: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Raw predictions of every clip, as a model gives them."""
    rng = np.random.default_rng(1)
    raw = {t.name: rng.normal(size=(tracks, 1, t.size)).astype(np.float32) for t in TASKS}
    return ((i, {name: x[i] for name, x in raw.items()}) for i in range(tracks))


def measure(tracks: int) -> Iterator[tuple[str, float]]:
    """(what, seconds) of every part."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        clips = store(folder / "store", tracks)
        clocks = [time.perf_counter()]

        def lap() -> float:
            clocks.append(time.perf_counter())
            return clocks[-1] - clocks[-2]

        score(TASKS, clips, predicted(tracks))
        yield "scores of the split", lap()
        for _ in write_split(folder, TASKS, clips, range(tracks), predicted(tracks)):
            pass
        yield "writing its files", lap()
        loaded = read_split(folder, TASKS)
        yield "reading them", lap()
        group_of = {track.name: track.group for track in clips.tracks}
        score_intervals(loaded, group_of)
        yield "2,000 bootstrap draws of all scores", lap()
        widest = loaded[TASKS[-1]]
        for k in range(widest.raw.shape[1]):
            smooth_tracks(widest.raw[:, k], widest.bounds, 10)
        yield "smoothing 40 values", lap()


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    parser = Parser(
        prog="python -m benchmarks.many_tracks",
        description=__doc__.split("\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--tracks", type=whole(1, 10**6), default=20_000)
    flags = parser.parse_all(arguments)
    for what, seconds in measure(flags.tracks):
        print(f"{what}: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
