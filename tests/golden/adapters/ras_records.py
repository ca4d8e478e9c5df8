"""RAS: records of frames and windows put together to batches, and packs of descriptions."""

from __future__ import annotations

import pathlib
import pickle
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines.av_windows import Window, speaks
from data_pipelines.ras_files import Descriptions
from data_pipelines.records import FrameRecords, WindowRecords, read, read_frames
from data_pipelines.report import Report
from data_pipelines.rows import segments
from data_pipelines.source import Source
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.golden.adapters.ras_windows import ANY, Track, lines_of, windows_of
from tests.golden.fixture import Answer, Fixture, adapter

MISSING = -5
VALUES = dict(kind="values", size=2)


@adapter("ras__fusion_align")
def fusion_align(fixture: Fixture) -> Answer:
    """The original takes no frame of a video that a stream lacks, however far others are."""
    meta, arrays = fixture.meta, {}
    records = {name: _frames(fixture.arrays, f"in_train_{name}") for name in meta["modalities"]}
    texts = {pathlib.Path(name).stem: text for name, text in meta["annotation_files"].items()}
    for case in meta["cases"]:
        found: dict[str, dict[str, np.ndarray]] = {}
        for name, of_track in records.items():
            tracks = {}
            for video in sorted(texts):
                images, labels = zip(*lines_of(texts[video]))
                moved = np.minimum(np.arange(len(labels)) + case["time_delay"], len(labels) - 1)
                one = of_track.get(video, _nothing(of_track))
                columns = _columns(one, case["modality_input_mode"])
                va = np.array(labels, np.float32)[moved]
                tracks[video] = Track(np.array(images), va, one.frames, columns)
            gap = ANY if case["allow_nearest"] else 0.0
            found[name] = windows_of(tracks, gap, case["window_length"], case["hop_length"])
        batch = next(iter(found.values()))
        missing = [one["missing_mask"] for one in found.values()]
        batch = {**batch, "missing_any_mask": np.any(missing, axis=0)}
        batch |= {f"feat_{name}": one["features"] for name, one in found.items()}
        arrays |= {f"out_{what}_{case['case']}": x for what, x in batch.items()}
    return Answer({name: x for name, x in arrays.items() if name in fixture.outputs})


def _frames(given: Mapping[str, np.ndarray], prefix: str) -> dict[str, FrameRecords]:
    """{track: its records}, written as the original's pickle and read from it."""
    names = [n for n in ("embedding", "prediction", "label") if f"{prefix}_{n}" in given]
    columns = [given[f"{prefix}_{n}"] for n in names]
    keys = given[f"{prefix}_keys"].tolist()
    table = {key: dict(zip(names, arrays)) for key, *arrays in zip(keys, *columns)}
    return _through(table, read_frames)


def _through(table: dict[str, Any], reader: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "train.pkl"
        path.write_bytes(pickle.dumps(table, pickle.HIGHEST_PROTOCOL))
        return reader(path)


def _nothing(of_track: Mapping[str, FrameRecords]) -> FrameRecords:
    """Records of no frame, as wide as the others."""
    one = next(iter(of_track.values()))
    return FrameRecords(one.frames[:0], one.embedding[:0], one.prediction[:0], None)


def _columns(one: FrameRecords, mode: str) -> np.ndarray:
    both = {"embedding": one.embedding, "prediction": one.prediction}
    return np.concatenate([both[name] for name in (both if mode == "both" else [mode])], axis=1)


@adapter("ras__mm_batch")
def mm_batch(fixture: Fixture) -> Answer:
    """Every window is a track of its own, of the images that it covers."""
    config, given = fixture.meta["config"], fixture.arrays
    records = {name: _frames(given, f"in_{name}") for name in config["modalities_emb_sizes"]}
    windows = {one["key"]: one for one in config["windows"]}
    order = sorted(windows)
    whats = ("embedding", *["prediction"] * config["use_predictions"])
    batch = _batch([windows[key] for key in order], records, given, config, whats)
    arrays: dict[str, np.ndarray] = {"out_order": np.array(order)}
    for name in ("audio", *records):
        arrays |= {f"out_{name}_{what}": batch["inputs"][f"{name}_{what}"] for what in whats}
    arrays |= {f"out_valid_{name}": batch["inputs_mask"][f"{name}_embedding"] for name in records}
    mask, label, known = batch["mask"], batch["labels"]["va"], batch["label_mask"]["va"]
    for split in ("train", "val", "test"):
        own = config[split]
        known_here = known & own.get("labeled", True)
        targets = np.where(known_here, label, np.float32(MISSING))
        heard = batch["inputs_mask"]["audio_embedding"].copy()
        if own["mask_audio"]:
            heard &= np.array([[_speaks(windows[key], own)] for key in order])
        arrays |= {
            f"out_{split}_targets": np.where(mask[..., None], targets, 0),
            f"out_{split}_targets_sequence_mask": mask,
            f"out_{split}_targets_valid_mask": known_here.all(-1),
            f"out_{split}_valid_audio": heard,
        }
    return Answer({name: x for name, x in arrays.items() if name in fixture.outputs})


def _speaks(window: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    place = Window(0, 0, window["use_start_frame"], window["use_end_frame"])
    limits = dict(
        least_open=own["audio_min_open_sec"], least_coverage=own["audio_min_coverage_ratio"]
    )
    return speaks(place, window["open_sec"], window["coverage_ratio"], **limits)


def _batch(
    windows: list[dict[str, Any]],
    records: Mapping[str, Mapping[str, FrameRecords]],
    given: Mapping[str, np.ndarray],
    config: Mapping[str, Any],
    whats: tuple[str, ...],
) -> dict[str, Any]:
    """One batch of all windows."""
    target, offset = config["target_source_modality"], config["frame_index_offset"]
    features = {f"audio_{what}": {"axis": "table"} for what in whats}
    features |= {f"{name}_{what}": {} for name in records for what in whats}
    for name, entry in features.items():
        modality, _, what = name.rpartition("_")
        key = f"audio_{what}/{windows[0]['key']}" if modality == "audio" else name
        entry["size"] = given[f"in_{key}"].shape[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "store"
        with StoreWriter(path, name="w", features=features, labels={"va": VALUES}) as writer:
            for window in windows:
                start, stop = window["use_start_frame"], window["use_end_frame"]
                # Images count from 1, frames of the records from `offset`.
                images = np.arange(start, max(stop, start + 1)) + 1
                heard = _heard(window, images, given, whats)
                arrays = {f"audio_{what}": getattr(heard, what) for what in whats}
                masks, label = {}, np.full((len(images), 2), np.nan, np.float32)
                for name in records:
                    one = records[name].get(window["vid"], _nothing(records[name]))
                    shown = one.frames + 1 - offset
                    there = np.isin(shown, images if stop > start else [])
                    at = np.searchsorted(images, shown[there])
                    for what in whats:
                        rows = getattr(one, what)[there]
                        arrays[f"{name}_{what}"] = _placed(rows, at, len(images), 0)
                        masks[f"{name}_{what}"] = _placed(
                            np.ones(len(at), bool), at, len(images), 0
                        )
                    if name == target and one.label is not None:
                        label = _placed(one.label[there], at, len(images), np.nan)
                known = np.isfinite(label)
                writer.add(
                    track=window["key"],
                    split="all",
                    fps=1,
                    frames=images,
                    features=arrays,
                    feature_masks=masks,
                    spans={f"audio_{what}": heard.spans for what in whats},
                    labels={"va": (np.where(known, label, 0), known)},
                )
        store = Store(path)
        source = Source(store, tuple(features), ("va",))
        frames = [track.frames for track in store.tracks]
        rows = segments(frames, max(frames))
        return source.batch(rows, source.shape(rows), np.arange(len(rows)))


def _heard(
    window: Mapping[str, Any],
    images: np.ndarray,
    given: Mapping[str, np.ndarray],
    whats: tuple[str, ...],
) -> WindowRecords:
    """The steps of a window, through the original's pickle."""
    record = {"vid": window["vid"], "start_frame": int(images[0]) - 1, "end_frame": int(images[-1])}
    record |= {what: given[f"in_audio_{what}/{window['key']}"] for what in whats}
    return _through({window["key"]: record}, read)[window["vid"]]


def _placed(rows: np.ndarray, at: np.ndarray, length: int, empty: float) -> np.ndarray:
    placed = np.full((length, *rows.shape[1:]), empty, rows.dtype)
    placed[at] = rows
    return placed


@adapter("ras__beh_pack_cache")
def beh_pack_cache(fixture: Fixture) -> Answer:
    given, arrays = fixture.arrays, {}
    stored = [name.removeprefix("out_") for name in fixture.outputs]
    pack = {
        name: {"video_name": name, "embeddings": {}} for name in given["in_pack_names"].tolist()
    }
    for key in stored:
        branch, _, pool = key.partition("_")
        for entry, vector in zip(pack.values(), given[f"in_pack_{key}"]):
            entry["embeddings"].setdefault(branch, {})[pool] = vector
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "s.csv").write_text(fixture.meta["csv"])
        (folder / "p.pkl").write_bytes(pickle.dumps(pack, pickle.HIGHEST_PROTOCOL))
        for key in stored:
            described = Descriptions(folder, Report(), *key.split("_", 1))
            arrays[f"out_{key}"] = _in_table_order(described, fixture.meta["csv"])
    return Answer(arrays)


def _in_table_order(described: Descriptions, text: str) -> np.ndarray:
    """Rows of all tracks as the table has them; those of a track come in time order."""
    vectors: dict[str, np.ndarray] = {}
    for track, table in described.tables.items():
        names = [
            one.name for one in sorted(table, key=lambda one: (one.window.start, one.window.stop))
        ]
        vectors |= zip(names, described.rows(track)[0])
    return np.stack([vectors[line.split(",")[0]] for line in text.split("\n")[1:] if line])
