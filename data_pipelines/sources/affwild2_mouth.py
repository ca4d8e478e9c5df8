"""Aff-Wild2 valence-arousal texts with mouth-opening tables, the public slice.

    FOLDER/annotations/<split>/<track>.txt   valence-arousal texts; any names of splits
    FOLDER/mouth/<split>.npz                 <track>/area_e6 (mouth area times 1e6, 0 where absent)
                                             <track>/state (0 no face, 1 closed, 2 open)
    FOLDER/manifest.json                     optional: fps and video of each track
    FOLDER/segments/...                      what the slice's makers cut; not read

Array index i is image i + 1. Arrays longer than the annotation are cut; frames beyond the end of a
shorter one, and tracks without arrays, have no face. Without a manifest the rate is taken as 30
frames a second and the video from the track's name.

Features: "mouth", five numbers a frame, and six centred moving statistics of them for each time
scale, "mouth_1s", "mouth_4s", "mouth_16s", "mouth_64s" and "mouth_track": what the ridge baseline
of this slice sees (benchmarks/ridge_mouth.py). Moving quantiles, "mouth_1s_quantiles" and
"mouth_4s_quantiles", are for models beside: an ensemble gains by members that see other things.
"""

from __future__ import annotations

import json
import pathlib
import unicodedata
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines import folder as folders
from data_pipelines import labels as readers
from data_pipelines.errors import UserError
from data_pipelines.files import Npz, read_json, readable
from data_pipelines.labels.folders import text_files
from data_pipelines.mouth import (
    CONTEXT,
    MOUTH,
    QUANTILE_SCALES,
    QUANTILES,
    SCALES,
    mouth_context,
    mouth_features,
    mouth_quantiles,
)
from data_pipelines.paths import require_name, user_path
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("Aff-Wild2", "s-Aff-Wild2")
DEFAULT_FPS, HIGHEST_FPS = 30.0, 1000.0
KNOWN_SPLITS = ("train", "validation")

# CCC of the ridge regression published with the slice, for exactly these 57 tracks; computed
# again by benchmarks/ridge_mouth.py.
_SLICE = {"validation": (57, 255_770)}  # split: (tracks, frames)
_RIDGE = {
    "validation": {
        "ridge": {"valence/ccc": 0.194, "arousal/ccc": 0.374},
        "ridge, matched": {"valence/ccc": 0.287, "arousal/ccc": 0.425},
    }
}


def fill(
    folder: str | pathlib.Path, store: str | pathlib.Path, report: Report | None = None
) -> None:
    """Writes the store of every split that is there; see the module's docstring."""
    folder, report = pathlib.Path(folder), report or Report()
    splits = _splits(folder, report)
    tables = _tables(folder / "mouth", splits, report)
    manifest = folders.named(folder, "manifest.json")
    known = _manifest(manifest)
    report.use(manifest, folder / "segments")
    folders.note_rest(folder, report)
    unknown = [t for files in splits.values() for t in files if "fps" not in known.get(t, {})]
    if unknown:
        report.note(f"tracks without a known rate, taken as {DEFAULT_FPS:g} frames/s", unknown)
    with StoreWriter(
        store,
        name="affwild2_mouth",
        features={
            "mouth": dict(size=len(MOUTH), extractor="mouth opening of a face mesh"),
            **{
                name: dict(size=len(CONTEXT), extractor="moving statistics of mouth")
                for name in SCALES
            },
            **{
                name: dict(size=len(QUANTILES), extractor="moving quantiles of mouth")
                for name in QUANTILE_SCALES
            },
        },
        labels={k: v for k, v in readers.definitions().items() if k in ("valence", "arousal")},
        source="affwild2_mouth",
        notes=report.notes,
    ) as writer:
        for split, files in splits.items():
            _fill_split(writer, tables[split], split, files, known, report)
    references = {s: _RIDGE[s] for s, size in _SLICE.items() if _size_of(store, s) == size}
    if references:
        text = json.dumps(references, indent=1) + "\n"
        (user_path(store) / "references.json").write_text(text)


def _fill_split(
    writer: StoreWriter,
    path: pathlib.Path,
    split: str,
    files: Mapping[str, pathlib.Path],
    known: Mapping[str, Mapping[str, Any]],
    report: Report,
) -> None:
    without, short, warnings = [], [], []
    with Npz(path, "a readable npz file of mouth tables") as arrays:
        names = _composed(arrays, path)
        spare = {name.rpartition("/")[0] for name in names} - set(files)
        apart = dict.fromkeys(key.rpartition("/")[0] for key in arrays)
        folders.warn_decomposed(apart, path, report.note)
        for track, file in report.progress(list(files.items()), split):
            texts = readers.read_text(file, "va", warn=warnings.append)
            total = len(texts.frames)
            area, state = (
                _array(arrays, names, path, track, k, total) for k in ("area_e6", "state")
            )
            if len(area) != len(state):
                raise UserError(
                    f"{path}: {track}/area_e6 has {len(area)} values, {track}/state {len(state)}."
                )
            if len(area) == 0:
                without.append(track)
            elif len(area) < total:
                short.append(f"{track} ({len(area)} of {total})")
            missing = max(0, total - len(area))
            mouth = mouth_features(
                np.pad(area[:total], (0, missing)), np.pad(state[:total], (0, missing))
            )
            fps = float(known.get(track, {}).get("fps", DEFAULT_FPS))
            writer.add(
                track=track,
                split=split,
                group=known.get(track, {}).get("video_group") or readers.group_of(track),
                frames=texts.frames,
                fps=fps,
                labels=texts.labels,
                features={
                    "mouth": mouth,
                    **mouth_context(mouth, fps),
                    **mouth_quantiles(mouth, fps),
                },
            )
    for text, names in (
        ("tracks without arrays, no face in any frame", without),
        ("arrays shorter than the annotation, no face in the rest", short),
        ("texts read with warnings", warnings),
        ("arrays without an annotation, left out", sorted(spare)),
    ):
        if names:
            report.note(f"{path}: {text}", names)


def _splits(folder: pathlib.Path, report: Report) -> dict[str, dict[str, pathlib.Path]]:
    """{split: {track: its text}}: the sub-folders of annotations, the usual ones first."""
    annotations = folder / "annotations"
    if not annotations.is_dir():
        raise UserError(f"{annotations}: no such folder. Expected annotations/<split>/<track>.txt.")
    texts = {
        folders.plain_name(path.name, f"{annotations}: split"): tracks
        for path in folders.entries(annotations)
        if path.is_dir() and (tracks := text_files(path, report))
    }
    if not texts:
        without = folders.nothing(annotations, "folder of a split")
        raise UserError(f"{without}. Expected such as validation/<track>.txt.")
    absent = [name for name in KNOWN_SPLITS if name not in texts]
    if absent:
        report.note("splits that are not there", absent)
    return {name: texts[name] for name in (*KNOWN_SPLITS, *sorted(texts)) if name in texts}


def _tables(folder: pathlib.Path, splits: Mapping, report: Report) -> dict[str, pathlib.Path]:
    """{split: its mouth tables}; UserError where a split has none."""
    tables = folders.by_name(folders.files(folder, ".npz"))
    report.use(*tables.values())
    for split in splits:
        if split not in tables:
            raise UserError(f"{folders.nothing(folder, f'{split}.npz')}.")
    unused = [name for name in tables if name not in splits]
    if unused:
        report.note("mouth tables of splits without annotations, left out", unused)
    return tables


def _composed(arrays: Npz, path: pathlib.Path) -> dict[str, str]:
    """{name in composed form, as tracks have it: name in the file}."""
    names: dict[str, str] = {}
    for key in arrays:
        before = names.setdefault(unicodedata.normalize("NFC", key), key)
        if before != key:
            raise UserError(f"{path}: {before!a} and {key!a} are one name. Leave one.")
    return names


def _array(
    arrays: Npz, names: Mapping[str, str], path: pathlib.Path, track: str, key: str, total: int
) -> np.ndarray:
    """One array of a track of `total` rows; empty where the track has neither."""
    name = names.get(f"{track}/{key}")
    if name is None:
        if f"{track}/area_e6" in names or f"{track}/state" in names:
            raise UserError(f"{path}: {track}/{key} is missing, its other array is there.")
        return np.zeros(0, np.uint16)
    shape, dtype = arrays.header(name)
    if len(shape) != 1 or dtype.kind not in "iu":
        raise UserError(f"{path}: {name} is {str(dtype)[:60]} {shape}, expected integers [frames].")
    if shape[0] > 2 * total + 1000:  # before it is unpacked
        raise UserError(f"{path}: {name} has {shape[0]:,} values, the annotation {total:,} rows.")
    array = arrays[name]
    if key == "state" and ((array < 0) | (array > 2)).any():
        row = int(np.argmax((array < 0) | (array > 2)))
        raise UserError(f"{path}: {name}[{row}] is {array[row]}, expected 0, 1 or 2.")
    return array


def _manifest(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """{track: its video_group and fps, where known} of all splits; empty without a manifest."""
    if not path.is_file():
        return {}
    with readable(path, "a manifest", "Expected tracks: {split: [{track, video_group, fps}]}."):
        entries = [e for part in read_json(path)["tracks"].values() for e in part]
        named = [(folders.plain_name(e["track"], f"{path}: track"), e) for e in entries]
        known = {t: {k: v for k, v in e.items() if v is not None} for t, e in named}
    for track, entry in known.items():
        fps, where = entry.get("fps", DEFAULT_FPS), f"{path}: track {track!r}"
        if type(fps) not in (int, float) or not 0 < fps <= HIGHEST_FPS:
            expected = f"expected a number of frames a second, up to {HIGHEST_FPS:g}"
            raise UserError(f"{where}: fps is {str(fps)[:40]!r}, {expected}.")
        if "video_group" in entry:
            require_name(entry["video_group"], f"{where}: video_group")
    return known


def _size_of(store: str | pathlib.Path, split: str) -> tuple[int, int]:
    tracks = [t for t in Store(store).tracks if t.split == split]
    return len(tracks), sum(t.frames for t in tracks)
