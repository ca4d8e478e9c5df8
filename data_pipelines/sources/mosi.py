"""CMU-MOSI utterance features: binary sentiment, the utterances of a video as a sequence.

    FOLDER/<split>.npz   videos [V] names, video_index int [N], utterance int [N] (ascending in a
                         video), label int [N] (1 positive, 0 negative), and text, audio, video
                         float [N, D]; rows sorted by video, then utterance
    FOLDER/manifest.json optional

A track is a video, its frames the utterances 1, 2, ... in their order. The extractors were trained
on the sentiment labels of the training videos (Poria et al., ACL 2017), which the store records.
"""

from __future__ import annotations

import pathlib

import numpy as np

from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed
from data_pipelines.files import Npz, float32, require_array
from data_pipelines.report import Report
from data_pipelines.store_writer import StoreWriter

DATA_SETS = ("CMU-MOSI",)
FEATURES = ("text", "audio", "video")
KEYS = ("videos", "video_index", "utterance", "label", *FEATURES)
KNOWN_SPLITS = ("train", "test")


def fill(
    folder: str | pathlib.Path, store: str | pathlib.Path, report: Report | None = None
) -> None:
    """Writes the store of every split that is there; see the module's docstring."""
    folder, report = pathlib.Path(folder), report or Report()
    files = folders.by_name(folders.files(folder, ".npz"))
    if not files:
        raise UserError(f"{folders.nothing(folder, '<split>.npz')}. Expected such as train.npz.")
    report.use(*files.values(), folders.named(folder, "manifest.json"))
    folders.note_rest(folder, report)
    order = {split: i for i, split in enumerate(KNOWN_SPLITS)}
    splits = sorted(files, key=lambda s: (order.get(s, len(order)), s))
    absent = [split for split in KNOWN_SPLITS if split not in files]
    if absent:
        report.note("splits that are not there", absent)
    tables = {split: _read(files[split]) for split in splits}
    sizes = {name: {t[name].shape[1] for t in tables.values()} for name in FEATURES}
    for name, widths in sizes.items():
        if len(widths) > 1:
            raise UserError(f"{folder}: {name} has other widths from split to split, {widths}.")
    with StoreWriter(
        store,
        name="mosi",
        features={
            name: dict(size=widths.pop(), extractor="Poria et al. 2017", trained_on=("train",))
            for name, widths in sizes.items()
        },
        labels={"sentiment": dict(kind="labels", size=1, names=("positive",))},
        source="mosi",
        notes=report.notes,
    ) as writer:
        for split, table in tables.items():
            for index, name in report.progress(list(enumerate(table["videos"])), split, "video"):
                rows = np.flatnonzero(table["video_index"] == index)
                if len(rows) == 0:
                    report.note(f"{files[split]}: a video without utterances, left out", [name])
                    continue
                writer.add(
                    track=name,
                    split=split,
                    features={key: table[key][rows] for key in FEATURES},
                    labels={"sentiment": table["label"][rows]},
                )
        report.note_not_finite(writer.not_finite)


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Every array of a file, its kind and shape checked before it is unpacked."""
    with Npz(path) as arrays:
        missing = [key for key in KEYS if key not in arrays]
        if missing:
            raise UserError(f"{path}: has no {missing[0]!r}, only {listed(arrays)}.")
        kinds = {"videos": "US", "label": "iufb"} | dict.fromkeys(FEATURES, "iuf")
        rows = arrays.header("video_index")[0][:1]
        for key in KEYS:
            shape = (*rows, "width") if key in FEATURES else rows or ("rows",)
            shape = ("videos",) if key == "videos" else shape
            require_array(f"{path}: {key}", *arrays.header(key), kinds.get(key, "iu"), shape)
        table = {key: arrays[key] for key in KEYS}
    # Unsigned numbers have no negative differences.
    index, utterance = (table[key].astype(np.int64) for key in ("video_index", "utterance"))
    label = table["label"]
    if ((index < 0) | (index >= len(table["videos"]))).any():
        raise UserError(f"{path}: video_index leaves 0 to {len(table['videos']) - 1}.")
    same = np.diff(index) == 0
    if (np.diff(index) < 0).any() or (np.diff(utterance)[same] <= 0).any():
        raise UserError(f"{path}: rows must be sorted by video_index, then utterance.")
    if not np.isin(label, (0, 1)).all():
        row = int(np.argmin(np.isin(label, (0, 1))))
        raise UserError(f"{path}: label[{row}] is {label[row]}, expected 0 or 1.")
    table |= {key: float32(table[key]) for key in FEATURES}
    table["videos"] = [_name(name, f"{path}: video") for name in table["videos"]]
    return table


def _name(name: str | bytes, what: str) -> str:
    """The name of a video; bytes are UTF-8."""
    if isinstance(name, bytes):
        try:
            name = name.decode()
        except UnicodeDecodeError:
            raise UserError(f"{what} {bytes(name)!r}: the name is not UTF-8 text.") from None
    return folders.plain_name(str(name), what)
