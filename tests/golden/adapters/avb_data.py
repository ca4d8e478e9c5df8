"""A-VB's data: prepared tables, clips as they are fed, and files of predictions.

The original calls two tasks otherwise, takes predictions as they are and writes one column's name
as in its tables: all of it is put in here, from outside.
"""

from __future__ import annotations

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from affect_jax.prediction_files import Predictions
from affect_jax.submission.formats import Format, format_of
from affect_jax.submission.official import read_list
from affect_jax.submission.write import write
from affect_jax.tasks import Task, to_json
from data_pipelines.bursts import CLASSES, COLUMNS, DEFINITIONS, FILE_ID
from data_pipelines.labels.bursts import SPLITS, Clips, read_folder
from data_pipelines.report import Report
from data_pipelines.rows import clips
from data_pipelines.source import Source
from data_pipelines.sources import humevb
from data_pipelines.store import Store
from tests.golden.fixture import Answer, Fixture, adapter

TASKS = {"voc_type": "type", "low": "two", "high": "high", "culture_emotion": "culture"}
LABELS = TASKS | {"country": "country"}
INPUTS = ("data_info.csv", "type_info.csv", "wav/*")


@adapter("avb__data")
def data(fixture: Fixture) -> Answer:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "given").mkdir()
        for given in ("data_info.csv", "type_info.csv", "wav"):
            (folder / "given" / given).symlink_to((fixture.folder / given).resolve())
        tables = read_folder(folder / "given", Report())
        files = {f"{part}.csv": _table(tables, split) for part, split in SPLITS.items()}
        humevb.fill(folder / "given", folder / "store")
        store = Store(folder / "store")
        arrays = dict(_items(store, fixture.meta["settings"]))
        (folder / "test.csv").write_text(files["test.csv"])
        files |= _predictions(fixture.arrays, arrays["out_test_file_id"], folder)
    wanted = {name: x for name, x in arrays.items() if name in fixture.outputs}
    return Answer(wanted, files=files, inputs=INPUTS)


def _table(tables: Clips, split: str) -> str:
    """Text of train.csv, val.csv or test.csv."""
    lines = [",".join([FILE_ID, *COLUMNS])]
    for clip, of, row in zip(tables.ids, tables.splits, tables.values.tolist()):
        if of == split:
            lines.append(",".join([clip, *map(_cell, COLUMNS, row)]))
    return "\n".join(lines) + "\n"


def _cell(column: str, value: float) -> str:
    if np.isnan(value):
        return ""
    return CLASSES[column][int(value)] if column in CLASSES else repr(value)


def _items(store: Store, settings: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Clips of each split, as evaluation has them."""
    rows = clips(
        [track.frames for track in store.tracks],
        Fraction(settings["max_length"], settings["sr"]),
    )
    source = Source(store, ("audio",), tuple(store.labels))
    for part, split in SPLITS.items():
        batch = source.batch(rows, source.shape(rows), np.array(store.split(split), np.int32))
        audio = batch["inputs"]["audio"] * np.float32(store.features["audio"].scale)
        missing = settings["max_length"] - audio.shape[1]  # where all clips are shorter
        yield f"out_{part}_audio", np.pad(audio, [(0, 0), (0, missing)])
        yield f"out_{part}_file_id", np.array([store.tracks[i].name for i in store.split(split)])
        for ours, label in LABELS.items():
            yield f"out_{part}_{ours}", batch["labels"][label]


def _predictions(
    given: Mapping[str, np.ndarray], tracks: np.ndarray, folder: pathlib.Path
) -> dict[str, str]:
    """Texts of predictions/<task>.csv."""
    files, count = {}, np.arange(len(tracks), dtype=np.int32)
    for theirs, name in TASKS.items():
        own, raw = folder / theirs, given[f"in_prediction_{theirs}"]
        own.mkdir()
        task = Task(name=name, **DEFINITIONS[name], loss="ce" if name == "type" else "ccc")
        (own / "tasks.json").write_text(to_json([task]))
        Predictions(tracks, count, np.ones_like(count), raw).write(own / f"{name}.npz")
        form, out = _unbounded(format_of(name)), own / f"A-VB-{name.capitalize()}_original_1.csv"
        write([own], None, read_list(folder / "test.csv", form, warn=print), form, out)
        text = out.read_text().replace("SouthAfrica_Sadness", "South Africa_Sadness", 1)
        files[f"predictions/{theirs}.csv"] = text
    return files


def _unbounded(form: Format) -> Format:
    """The format for predictions that are not clipped."""
    parts = {
        name: dataclasses.replace(part, range=part.range and (-np.inf, np.inf))
        for name, part in form.parts.items()
    }
    fields = [dataclasses.replace(field, low=-np.inf, high=np.inf) for field in form.fields]
    return dataclasses.replace(form, parts=parts, fields=tuple(fields))
