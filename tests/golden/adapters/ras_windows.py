"""RAS, windows: their frames and labels, mouths that open, sequences of segments, face windows."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import re
import tempfile
import warnings
from typing import Any, NamedTuple

import numpy as np

from data_pipelines import av_windows
from data_pipelines.av_windows import Window
from data_pipelines.labels.segments import Segment, read_segments, track_of
from data_pipelines.rows import Rows
from data_pipelines.rows import windows as rows_of_windows
from data_pipelines.source import Source
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
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
    seconds, coverage = map(float, re.findall(r"\d+(?:\.\d+)?", config["shipped_rule"]))
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


@adapter("ras__face_windows")
def face_windows(fixture: Fixture) -> Answer:
    """The original moves labels, not features, by its delay; it pads with a window's last row."""
    given, arrays = fixture.arrays, {}
    for case in fixture.meta["cases"]:
        i, split = case["case"], case["split"]
        texts = fixture.meta["annotation_files"][_FOLDERS[split]]
        parsed = {
            pathlib.Path(n).stem: lines_of(texts[n], case["filter_invalid"]) for n in sorted(texts)
        }
        found = [(v, image, *va) for v, rows in parsed.items() for image, va in rows]
        arrays |= {
            f"out_index_frame_{i}": np.array([image for _, image, *_ in found]),
            f"out_index_valence_{i}": np.nan_to_num([v for *_, v, _ in found]),
            f"out_index_arousal_{i}": np.nan_to_num([a for *_, a in found]),
            f"out_index_location_{i}": np.array([f"{v}/{n:05d}.jpg" for v, n, *_ in found]),
        }
        tracks = {}
        for video in sorted(parsed):
            images = np.array([image for image, _ in parsed[video]])
            labels = np.array([va for _, va in parsed[video]], np.float32)
            moved = np.minimum(np.arange(len(labels)) + case["time_delay"], len(labels) - 1)
            cache = (given[f"in_cache_{split}_{video}_{what}"] for what in ("frames", "features"))
            tracks[video] = Track(images, labels[moved], *cache)
        gap = ANY if case["allow_nearest"] else 0.0
        found = windows_of(tracks, gap, case["window_length"], case["hop_length"])
        arrays |= {f"out_{what}_{i}": x for what, x in found.items()}
    frames, query = given["in_nearest_frames"], given["in_nearest_query"]
    before = min(frames.min(), query.min()) - 1  # images count from 1
    images, places = np.unique(query - before, return_inverse=True)
    one = Track(images, np.zeros((len(images), 2)), frames - before, frames[:, None])
    nearest = windows_of({"v": one}, ANY, len(images), len(images))["features"]
    return Answer(arrays | {"out_nearest": nearest[0, places, 0]})


_FOLDERS = {"train": "Train_Set", "val": "Validation_Set"}
ANY = 1e6  # seconds, and frames: the original's nearest frame has no largest gap


class Track(NamedTuple):
    """Images [T] of a video with their labels [T, 2], and frames [N] with features [N, D]."""

    images: np.ndarray
    labels: np.ndarray
    frames: np.ndarray
    features: np.ndarray


def lines_of(text: str, filtered: bool = False) -> list[tuple[int, tuple[float, float]]]:
    """(image, (valence, arousal)) of the lines; what the original reads of odd ones."""
    lines = [line.split(",") for line in text.splitlines()[1:] if line.strip()]
    rows = [
        (i, tuple(map(_float, fields[:2])) if len(fields) > 1 else (math.nan, math.nan))
        for i, fields in enumerate(lines, 1)
    ]
    return [row for row in rows if not (filtered and MISSING in row[1])]


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def windows_of(
    tracks: dict[str, Track], gap: float, length: int, hop: int
) -> dict[str, np.ndarray]:
    """Windows of a store whose features are a table, spread over the frames within a gap."""
    width = next(iter(tracks.values())).features.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "store"
        features = {"face": dict(size=width, axis="table")}
        labels = {"va": dict(kind="values", size=2)}
        with StoreWriter(path, name="fixture", features=features, labels=labels) as writer:
            for name, one in tracks.items():
                valid = (np.isfinite(one.labels) & (one.labels != MISSING)).all(1)
                writer.add(
                    track=name,
                    split="all",
                    fps=1,
                    frames=one.images,
                    features={"face": one.features},
                    spans={"face": np.stack([one.frames - 1, one.frames], 1)},
                    labels={"va": (one.labels, np.stack([valid] * 2, 1))},
                )
        source = Source(Store(path), ("face",), ("va",), spread={"face": "nearest"}, gap=gap)
        rows = rows_of_windows([len(one.images) for one in tracks.values()], length, hop)
        batch = source.batch(rows, source.shape(rows), np.arange(len(rows)))
    step = np.minimum(np.arange(length), rows.sizes[:, None] - 1)  # padding is the last row
    row, names = np.arange(len(rows))[:, None], np.array(list(tracks))
    indices = rows.start[:, None] + step
    of_rows = [tracks[names[track]].labels for track in rows.track]
    return {
        "features": batch["inputs"]["face"][row, step],
        "labels": np.nan_to_num([x[i] for x, i in zip(of_rows, indices, strict=True)]),
        "valid_mask": batch["label_mask"]["va"].all(-1),
        "missing_mask": ~batch["inputs_mask"]["face"][row, step],
        "indices": indices,
        "lengths": rows.sizes,
        "videos": names[rows.track],
        "starts": rows.start,
    }


@adapter("ras__beh_sequences")
def behaviour_sequences(fixture: Fixture) -> Answer:
    """Groups of segments, each a track of the store whose frames are the segments."""
    given = fixture.arrays
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "segments.csv"
        path.write_text(fixture.meta["csv"])
        table = read_segments(path, warn=warnings.warn)
    arrays: dict[str, Any] = {
        "out_stream": np.array([track_of(name) for name in given["in_names"].tolist()]),
        "out_frame_eval_name": np.array([_stem(name) for name in given["in_names"].tolist()]),
        "out_ranges": np.array([_ranges(*row) for row in given["in_ranges"].tolist()]),
    }
    for case in fixture.meta["cases"]:
        groups = _groups(table[: case["limit"] or None], case)
        if f"out_kept_rows_{case['case']}" in fixture.outputs:
            arrays[f"out_kept_rows_{case['case']}"] = np.concatenate(list(groups.values()))
        found = _sequences(table, given["in_embeddings"], groups, case)
        arrays |= {f"out_{what}_{case['case']}": x for what, x in found.items()}
    return Answer(arrays)


def _stem(name: str) -> str:
    last = name.strip().rpartition("/")[2]
    return last.rpartition(".")[0] or last


def _groups(table: list[Segment], case: dict[str, Any]) -> dict[str, list[int]]:
    """{group: its rows in time}, without those that overlap the one before if so asked."""
    groups: dict[str, list[int]] = {}
    for row, one in enumerate(table):
        of = {"stream_name": one.track, "video_name": one.name, "full_video_name": one.video}
        groups.setdefault(of[case["resolved_group_col"]], []).append(row)
    for group, rows in groups.items():
        rows.sort(key=lambda row: (table[row].window.start, table[row].window.stop))
        if case["drop_overlapping_segments"]:
            kept: list[int] = []
            for row in rows:
                if not kept or table[row].window.start >= table[kept[-1]].window.stop:
                    kept.append(row)
            groups[group] = kept
    return groups


def _cut(counts: list[int], size: int, stride: int) -> Rows:
    """Windows of sequences; a size of 0 is all of one, a stride of 0 the size.

    The original also leaves rows out, with a stride beyond the size.
    """
    size = size or max(counts)
    stride = stride if stride > 0 else size
    rows = rows_of_windows(counts, max(size, stride), stride, tail="pad")
    cut = dataclasses.replace(rows, stop=np.minimum(rows.stop, rows.start + size), length=size)
    return cut.chosen(cut.stop > cut.start)


def _ranges(count: int, size: int, stride: int) -> str:
    rows = _cut([count], size, stride)
    return " ".join(f"{a}:{b}" for a, b in zip(rows.start, rows.stop, strict=True))


def _sequences(
    table: list[Segment],
    embeddings: np.ndarray,
    groups: dict[str, list[int]],
    case: dict[str, Any],
) -> dict[str, np.ndarray]:
    features = {"text": dict(size=embeddings.shape[1])}
    labels = {"va": dict(kind="values", size=2)}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "store"
        with StoreWriter(path, name="fixture", features=features, labels=labels) as writer:
            for group, own in groups.items():
                va = np.stack([table[row].labels for row in own])
                writer.add(
                    track=group,
                    split="all",
                    features={"text": embeddings[own]},
                    labels={"va": (np.nan_to_num(va, nan=MISSING), np.ones_like(va, bool))},
                )
        source = Source(Store(path), ("text",), ("va",))
        rows = _cut([*map(len, groups.values())], case["window_size"], case["window_stride"])
        batch = source.batch(rows, source.shape(rows), np.arange(len(rows)))
    longest = rows.sizes.max()
    mask, names = batch["mask"][:, :longest], list(groups)
    index = np.full(mask.shape, -1)
    for i, (track, start, stop) in enumerate(zip(rows.track, rows.start, rows.stop, strict=True)):
        index[i, : stop - start] = groups[names[track]][start:stop]
    return {
        "features": batch["inputs"]["text"][:, :longest],
        "labels": batch["labels"]["va"][:, :longest],
        "valid_mask": mask,
        "row_idx": index,
        "groups": np.array(names)[rows.track],
    }
