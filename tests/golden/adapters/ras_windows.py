"""RAS, windows: their frames and labels, mouths that open, sequences of segments, face windows."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from data_pipelines import av_windows
from data_pipelines.av_windows import Window
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

MISSING = -5


@adapter("ras__windows")
def windows(fixture: Fixture) -> Answer:
    config, arrays = fixture.meta["config"], {}
    length = config["win_max_length"]
    for clip, expected in fixture.meta["window_names"].items():
        values = fixture.arrays[f"in_va_{clip}"]
        fps, duration = fixture.arrays[f"in_fps_duration_{clip}"].tolist()
        found = av_windows.windows(
            duration,
            fps,
            length=length,
            hop=config["win_shift"],
            shortest=config["win_min_length"],
        )
        names = [av_windows.name(f"clip{clip}", w, i, ".mp4") for i, w in enumerate(found)]
        if names != expected:
            raise Mismatch(f"clip {clip}: windows {names}, stored {expected}")
        mask = values != MISSING
        means = [_marked(*av_windows.label_means(values, mask, w.start, w.stop)) for w in found]
        arrays[f"out_windows_{clip}"] = np.array(
            [[w.start_time, w.end_time, w.start, w.stop, *m] for w, m in zip(found, means)]
        )
        steps = dict(steps=config["s2s_frames"], length=length, rule="script")
        arrays[f"out_seq_{clip}"] = np.array(
            [_marked(*av_windows.step_labels(values, mask, w, fps, **steps)) for w in found]
        )
    return Answer(arrays)


@adapter("ras__mouth_filter")
def mouth_filter(fixture: Fixture) -> Answer:
    """The original puts image k at index k, not k - 1: index 0 is no image."""
    config, given, arrays = fixture.meta["config"], fixture.arrays, {}

    def smooth(flags: np.ndarray, fps: float) -> np.ndarray:
        options = dict(largest_gap=config["max_gap_sec"], shortest_open=config["min_open_sec"])
        return av_windows.smoothed(flags, fps, **options)

    for stored, array in fixture.outputs.items():
        kind, _, case = stored.removeprefix("out_").partition("_")
        if kind == "edge":
            arrays[stored] = smooth(given[f"in_edge_{case}"], float(case.rpartition("_")[2]))
        elif kind == "windows":
            fps = given[f"in_fps_nframes_{case}"].tolist()[0]
            images = given[f"in_frame_{case}"]
            face, flags = np.zeros((2, images.max(initial=-1) + 1), bool)
            face[images] = True
            flags[images] = given[f"in_mouth_open_{case}"] != 0
            found = {"dense_flags": flags, "dense_present": face, "smoothed": smooth(flags, fps)}
            arrays |= {f"out_{what}_{case}": x for what, x in found.items()}
            rows = [_heard(config, row, found["smoothed"], face, fps) for row in array]
            arrays[stored] = np.array(rows)
    return Answer(arrays)


def _heard(
    config: dict[str, Any], row: np.ndarray, flags: np.ndarray, face: np.ndarray, fps: float
) -> list[Any]:
    """Ours of a stored row, of which the first four numbers are the window."""
    window = Window(*row[:2].tolist(), *row[2:4].astype(int).tolist())
    measured = av_windows.mouth(window, flags, face, fps)
    seconds, coverage = map(float, re.findall(r"[\d.]+", config["shipped_rule"]))
    least = {
        "script": (config["min_open_ratio"], config["min_coverage_ratio"]),
        "shipped": (seconds, coverage),
    }
    speech = [
        av_windows.speaks(window, *measured, rule=rule, least_open=a, least_coverage=b)
        for rule, (a, b) in least.items()
    ]
    return [*row[:4], *measured, *speech]


def _marked(means: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask, means, MISSING)
