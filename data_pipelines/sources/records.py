"""Records of embeddings and predictions, as team RAS hands them from stage to stage.

    FOLDER/<modality>/{train,val,test}.pkl    or .npz: see data_pipelines/records.py; of frames, or
                                              of windows with steps
    FOLDER/videos_fps.csv                     optional: video_name, fps

Streams are <modality>/embedding, <modality>/valence and <modality>/arousal, as affect_jax.export
makes them: those of predictions can be members of an ensemble. Those of windows are tables, a row a
step with its span. A frame of the store is an image that any modality has a record of, and one
without a record of a modality is a gap in its streams; where there are windows alone it is every
image that they cover. Labels are those of the records, which must agree. Pickles are read as
arrays, nothing in them is run.
"""

from __future__ import annotations

import math
import pathlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from data_pipelines import folder as folders
from data_pipelines import labels as readers
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.labels.folders import SPLITS
from data_pipelines.labels.rates import NAME as RATES
from data_pipelines.labels.rates import read_rates, stems, video_of
from data_pipelines.labels.texts import VA_COLUMNS
from data_pipelines.labels.va_folders import FOLDERS
from data_pipelines.records import SUFFIXES, FrameRecords, WindowRecords, read
from data_pipelines.report import Report
from data_pipelines.store_writer import StoreWriter

TAKEN = ("embedding", "prediction")
FLAGS: dict[str, dict[str, Any]] = {
    "take": dict(
        default=",".join(TAKEN),
        metavar="NAMES",
        help="what of the records is taken, of embedding,prediction (default: both)",
    ),
    "trained-on": dict(
        default="train",
        metavar="SPLITS",
        help="whose labels the models behind the records have seen, for marks beside scores; "
        "several by commas, empty for none (default: train)",
    ),
}

Records = dict[str, dict[str, FrameRecords]] | dict[str, dict[str, WindowRecords]]


def fill(
    folder: str | pathlib.Path,
    store: str | pathlib.Path,
    report: Report | None = None,
    *,
    take: str = ",".join(TAKEN),
    trained_on: str = "train",
) -> None:
    """Writes the store; see the module's docstring and FLAGS."""
    folder, report = pathlib.Path(folder), report or Report()
    taken = [name.strip() for name in take.split(",") if name.strip()]
    for name in taken or [""]:
        if name not in TAKEN:
            raise UserError(f"--take={take}: {nearest(name, TAKEN)}")
    modalities = _modalities(folder, report)
    read_of = {
        name: {split: read(path) for split, path in report.progress([*files.items()], name, "file")}
        for name, files in modalities.items()
    }
    rates = _rates(folder, report)
    folders.note_rest(folder, report)
    split_of = _split_of(read_of, modalities)
    entry = {"trained_on": [name.strip() for name in trained_on.split(",") if name.strip()]}
    features: dict[str, dict[str, Any]] = {}
    for name, records in read_of.items():
        features |= _definitions(folder / name, name, records, taken, entry)
    labels = {k: v for k, v in readers.definitions().items() if k in VA_COLUMNS}
    with StoreWriter(
        store,
        name=folder.resolve().name,
        features=features,
        labels=labels if _labelled(read_of) else {},
        source="records",
        notes=report.notes,
    ) as writer:
        order = sorted(split_of, key=lambda t: (SPLITS.index(split_of[t]), t))
        for track in report.progress(order, "records"):
            split = split_of[track]
            own = {n: r[split][track] for n, r in read_of.items() if track in r.get(split, {})}
            frames = _frames(own)
            arrays, masks, spans = _streams(own, frames, features)
            writer.add(
                track=track,
                split=split,
                group=readers.group_of(track),
                frames=frames,
                fps=rates.get(video_of(track, {stem: stem for stem in rates}) or ""),
                features=arrays,
                feature_masks=masks,
                spans=spans,
                labels=_labels(own, frames, track) if _labelled(read_of) else {},
            )


def _modalities(folder: pathlib.Path, report: Report) -> dict[str, dict[str, pathlib.Path]]:
    """{modality: {split: file}} of the folders that hold files of splits."""
    found: dict[str, dict[str, pathlib.Path]] = {}
    for inner in (p for p in folders.entries(folder) if p.is_dir()):
        for path in folders.files(inner, *SUFFIXES):
            split = FOLDERS.get(path.stem.lower())
            if split is None:
                continue
            files = found.setdefault(folders.plain_name(inner.name, f"{folder}: modality"), {})
            if files.setdefault(split, path) != path:
                raise UserError(f"{path}: beside it {files[split]}. Leave one.")
            report.use(path)
    if not found:
        expected = "<modality>/train.pkl, val.pkl or test.pkl"
        raise UserError(f"{folders.nothing(folder, expected)}.")
    return found


def _rates(folder: pathlib.Path, report: Report) -> dict[str, Fraction | None]:
    path = folders.named(folder, RATES)
    if not path.is_file():
        return {}
    report.use(path)
    rates = read_rates(path, warn=report.note)
    return {stem: rates[video] for stem, video in stems(rates, path).items()}


def _split_of(
    read_of: Mapping[str, Records], files: Mapping[str, Mapping[str, pathlib.Path]]
) -> dict[str, str]:
    """{track: its split}; UserError where it has two."""
    found: dict[str, str] = {}
    for name, records in read_of.items():
        for split, of_split in records.items():
            for track in of_split:
                if found.setdefault(track, split) != split:
                    raise UserError(
                        f"{files[name][split]}: track {track!r} is in {found[track]} too. A track "
                        "has one split."
                    )
    return found


def _definitions(
    place: pathlib.Path, name: str, records: Records, taken: list[str], entry: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Definitions of a modality's streams, after a look at what the records of all splits have."""
    every = [one for of_split in records.values() for one in of_split.values()]
    if len({type(one) for one in every}) > 1:
        raise UserError(f"{place}: records of frames in one file, of windows in another.")
    common = {**entry, "run": name, "extractor": f"records of {name}"}
    if isinstance(every[0], WindowRecords):
        common["axis"] = "table"
    found: dict[str, dict[str, Any]] = {}
    for what in taken:
        sizes = {None if (x := getattr(one, what)) is None else x.shape[1] for one in every}
        if None in sizes:
            others = [
                n for n in TAKEN if n != what and all(getattr(o, n) is not None for o in every)
            ]
            hint = f" Take the rest: --take={','.join(others)}." if others else ""
            raise UserError(f"{place}: records without {what}s.{hint}")
        if len(sizes) > 1:
            raise UserError(f"{place}: {what}s of {listed(sorted(sizes))} numbers.")
        if what == "embedding":
            found[f"{name}/{what}"] = {"size": sizes.pop(), **common}
        elif sizes != {len(VA_COLUMNS)}:
            raise UserError(
                f"{place}: predictions of {sizes.pop()} numbers, expected {listed(VA_COLUMNS)}."
            )
        else:
            for task in VA_COLUMNS:
                found[f"{name}/{task}"] = {"size": 1, "columns": (task,), **common}
    return found


def _labelled(read_of: Mapping[str, Records]) -> bool:
    return any(
        isinstance(one, FrameRecords) and one.label is not None
        for records in read_of.values()
        for of_split in records.values()
        for one in of_split.values()
    )


def _frames(own: Mapping[str, FrameRecords | WindowRecords]) -> np.ndarray:
    """int32 [T]: image numbers of a track."""
    known = [one.frames for one in own.values() if isinstance(one, FrameRecords)]
    if known:
        return np.unique(np.concatenate(known)).astype(np.int32)
    last = max(math.ceil(one.spans[:, 1].max()) for one in own.values())
    return np.arange(1, last + 1, dtype=np.int32)


def _streams(
    own: Mapping[str, FrameRecords | WindowRecords],
    frames: np.ndarray,
    definitions: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(arrays, masks of frames, spans of rows) by stream."""
    arrays, masks, spans = {}, {}, {}
    for name, one in own.items():
        columns = {"embedding": one.embedding}
        if one.prediction is not None:
            columns |= {task: one.prediction[:, k : k + 1] for k, task in enumerate(VA_COLUMNS)}
        for what, rows in columns.items():
            stream = f"{name}/{what}"
            if stream not in definitions:
                continue
            if isinstance(one, WindowRecords):
                arrays[stream], spans[stream] = rows, one.spans
                continue
            at = np.searchsorted(frames, one.frames)
            arrays[stream] = np.zeros((len(frames), rows.shape[1]), np.float32)
            arrays[stream][at] = rows
            masks[stream] = np.isin(frames, one.frames)
    return arrays, masks, spans


def _labels(
    own: Mapping[str, FrameRecords | WindowRecords], frames: np.ndarray, track: str
) -> dict[str, np.ndarray]:
    """{task: [T, 1]}, NaN where no record has a label; UserError where two disagree."""
    label = np.full((len(frames), len(VA_COLUMNS)), np.nan, np.float32)
    for name, one in own.items():
        if not isinstance(one, FrameRecords) or one.label is None:
            continue
        if one.label.shape[1] != len(VA_COLUMNS):
            raise UserError(
                f"records of {name}: labels of {one.label.shape[1]} numbers, expected "
                f"{listed(VA_COLUMNS)}."
            )
        at = np.searchsorted(frames, one.frames)
        other = np.abs(label[at] - one.label).max(1) > 1e-5  # False where either is NaN
        if other.any():
            image = one.frames[int(np.argmax(other))]
            raise UserError(
                f"track {track!r}, image {image}: the label of {name} is not that of the others. "
                "Records of one data set belong together."
            )
        label[at] = np.where(np.isnan(label[at]), one.label, label[at])
    return {task: label[:, k : k + 1] for k, task in enumerate(VA_COLUMNS)}
