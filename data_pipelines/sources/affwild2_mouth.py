"""Aff-Wild2 valence-arousal texts with mouth-opening tables, the public slice.

    FOLDER/annotations/<split>/<track>.txt   valence-arousal texts; any names of splits
    FOLDER/mouth/<split>.npz                 <track>/area_e6 (mouth area times 1e6, 0 where absent)
                                             <track>/state (0 no face, 1 closed, 2 open)
    FOLDER/manifest.json                     optional: fps and video of each track

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
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_pipelines import labels as readers
from data_pipelines.errors import UserError
from data_pipelines.paths import user_path
from data_pipelines.report import Report
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("Aff-Wild2", "s-Aff-Wild2")
MOUTH = ("face", "open", "log_area", "area_x100", "change")
CONTEXT = (
    "log_area_mean",
    "log_area_std",
    "area_x100_mean",
    "open_mean",
    "change_mean",
    "face_mean",
)
# Feature and its window in seconds; None: the whole track.
SCALES = {
    "mouth_1s": 1.0,
    "mouth_4s": 4.0,
    "mouth_16s": 16.0,
    "mouth_64s": 64.0,
    "mouth_track": None,
}
QUANTILES = ("log_area_q10", "log_area_q50", "log_area_q90")
QUANTILE_SCALES = {"mouth_1s_quantiles": 1.0, "mouth_4s_quantiles": 4.0}
DEFAULT_FPS = 30.0
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


def mouth_features(area_e6: np.ndarray, state: np.ndarray) -> np.ndarray:
    """float32 [T, 5] in the order of MOUTH: face p, open o, log(area + 1e-3), 100 area, |o' - o|.

    Area and its logarithm are 0 where there is no face; the change in the first frame is 0.
    """
    face = state > 0
    opened = (state == 2).astype(np.float64)
    area = np.where(face, area_e6 * 1e-6, 0.0)
    log_area = np.where(face, np.log(area + 1e-3), 0.0)
    change = np.abs(np.diff(opened, prepend=opened[:1]))
    return np.stack([face, opened, log_area, 100 * area, change], axis=1).astype(np.float32)


def mouth_context(mouth: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """{feature of SCALES: float32 [T, 6]}, the columns in the order of CONTEXT.

    Centred moving means over max(1, round(seconds * fps)) frames, edges repeated. Means of
    log area, its standard deviation, area and open are over frames with a face; all but
    face_mean are 0 where hardly a frame of the window (less than 0.1 %) has one.
    """
    return {name: _context(mouth.astype(np.float64), s, fps) for name, s in SCALES.items()}


def _context(mouth: np.ndarray, seconds: float | None, fps: float) -> np.ndarray:
    # Slow to import, and only needed here.
    from scipy.ndimage import uniform_filter1d

    def mean(x: np.ndarray) -> np.ndarray:
        if seconds is None:
            return np.full_like(x, x.mean())
        return uniform_filter1d(x, max(1, round(seconds * fps)), mode="nearest")

    face, opened, log_area, area, change = mouth.T
    seen = mean(face)
    some = seen >= 1e-3
    of_seen = np.where(some, seen, 1.0)
    log_mean = mean(log_area) / of_seen
    variance = np.maximum(mean(log_area**2) / of_seen - log_mean**2, 0.0)
    columns = [
        log_mean,
        np.sqrt(variance),
        mean(area) / of_seen,
        mean(opened) / of_seen,
        mean(change),
    ]
    columns = [np.where(some, column, 0.0) for column in columns]
    return np.stack([*columns, seen], axis=1).astype(np.float32)


def mouth_quantiles(mouth: np.ndarray, fps: float) -> dict[str, np.ndarray]:
    """{feature of QUANTILE_SCALES: float32 [T, 3]}, 10, 50 and 90 % quantiles of log(area + 0.01).

    Centred windows of max(1, round(seconds * fps)) frames, edges repeated; the area is 0 where
    there is no face. The larger offset keeps closed mouths, below 1e-3, from being far apart.
    """
    # Slow to import, and only needed here.
    from scipy.ndimage import percentile_filter

    log_area = np.log(mouth[:, MOUTH.index("area_x100")].astype(np.float64) / 100 + 0.01)

    def quantiles(seconds: float) -> np.ndarray:
        width = max(1, round(seconds * fps))
        columns = [percentile_filter(log_area, q, size=width, mode="nearest") for q in (10, 50, 90)]
        return np.stack(columns, axis=1).astype(np.float32)

    return {name: quantiles(seconds) for name, seconds in QUANTILE_SCALES.items()}


def fill(
    folder: str | pathlib.Path, store: str | pathlib.Path, report: Report | None = None
) -> None:
    """Writes the store of every split that is there; see the module's docstring."""
    folder, report = pathlib.Path(folder), report or Report()
    splits = _splits(folder, report)
    known = _manifest(folder / "manifest.json")
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
            _fill_split(writer, folder, split, files, known, report)
    references = {s: _RIDGE[s] for s, size in _SLICE.items() if _size_of(store, s) == size}
    if references:
        text = json.dumps(references, indent=1) + "\n"
        (user_path(store) / "references.json").write_text(text)


def _fill_split(
    writer: StoreWriter,
    folder: pathlib.Path,
    split: str,
    files: Mapping[str, pathlib.Path],
    known: Mapping[str, Mapping[str, Any]],
    report: Report,
) -> None:
    path = folder / "mouth" / f"{split}.npz"
    without, short, warnings = [], [], []
    with _open(path) as arrays:
        spare = {key.rpartition("/")[0] for key in arrays} - set(files)
        for track, file in report.progress(list(files.items()), split):
            texts = readers.read_text(file, "va", warn=warnings.append)
            total = len(texts.frames)
            area, state = (_array(arrays, path, track, key) for key in ("area_e6", "state"))
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
    names = [p.name for p in sorted(annotations.iterdir()) if p.is_dir()]
    order = {split: i for i, split in enumerate(KNOWN_SPLITS)}
    names = sorted((n for n in names if n[0] != "."), key=lambda n: (order.get(n, len(order)), n))
    splits = {}
    for name in names:
        files = {p.stem: p for p in (annotations / name).glob("*.txt") if p.name[0] != "."}
        if not files:
            raise UserError(f"{annotations / name}: no annotation texts (<track>.txt) in it.")
        splits[name] = {track: files[track] for track in sorted(files)}
    if not splits:
        raise UserError(f"{annotations}: no folder of a split in it, such as validation.")
    absent = [name for name in KNOWN_SPLITS if name not in splits]
    if absent:
        report.note("splits that are not there", absent)
    unused = sorted(p.stem for p in (folder / "mouth").glob("*.npz") if p.stem not in splits)
    if unused:
        report.note("mouth tables of splits without annotations, left out", unused)
    return splits


def _open(path: pathlib.Path) -> np.lib.npyio.NpzFile:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not a readable npz file of mouth tables ({error}).") from None


def _array(
    arrays: Mapping[str, np.ndarray], path: pathlib.Path, track: str, key: str
) -> np.ndarray:
    """One array of a track; empty where the track has neither."""
    name = f"{track}/{key}"
    if name not in arrays:
        if any(f"{track}/{other}" in arrays for other in ("area_e6", "state")):
            raise UserError(
                f"{path}: {name} is missing, while the other array of {track} is there."
            )
        return np.zeros(0, np.uint16)
    array = arrays[name]
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(
            f"{path}: {name} is {array.dtype} {array.shape}, expected integers [frames]."
        )
    if key == "state" and ((array < 0) | (array > 2)).any():
        row = int(np.argmax((array < 0) | (array > 2)))
        raise UserError(f"{path}: {name}[{row}] is {array[row]}, expected 0, 1 or 2.")
    return array


def _manifest(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """{track: its entry} of all splits; empty without a manifest."""
    if not path.is_file():
        return {}
    try:
        entries = [e for part in json.loads(path.read_text())["tracks"].values() for e in part]
        return {e["track"]: {k: v for k, v in e.items() if v is not None} for e in entries}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: expected tracks: {{split: [{{track, video_group, fps}}]}} ({error!r})."
        ) from None


def _size_of(store: str | pathlib.Path, split: str) -> tuple[int, int]:
    tracks = [t for t in Store(store).tracks if t.split == split]
    return len(tracks), sum(t.frames for t in tracks)
