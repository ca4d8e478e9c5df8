"""AVEC 2019 cross-cultural emotion: predictions of nine systems, for fusion.

    FOLDER/<LANG>_<NN>.npz   LANG is DE or HU, NN the number of a recording: labels float [T, 3]
                             (arousal, valence, liking in [-1, 1], one row per 0.1 s) and
                             predictions float [T, 9, 3] of nine single-feature systems

A track is a recording, a feature one system with a column a task, so that an ensemble can take
`feature:NAME` as a member. Splits: recordings 01, 03, 05, 07 of both languages are `fit`, 02, 04,
06, 08 `report`, 09 to 14 `test`. All systems were chosen by their makers on the whole development
set, recordings 01 to 14, which the store records.

Source: Ringeval et al., AVEC 2019 workshop and challenge, 2019.
"""

from __future__ import annotations

import pathlib
import re

import numpy as np

from data_pipelines import folder as folders
from data_pipelines.errors import UserError, listed
from data_pipelines.files import Npz, float32, require_array
from data_pipelines.report import Report
from data_pipelines.store_writer import StoreWriter

SYSTEMS = (
    "deepspectrum",
    "egemaps-func_STD",
    "egemaps-xbow",
    "mfcc-func_STD",
    "mfcc-xbow",
    "visual-func",
    "visual-resnet",
    "visual-vgg",
    "visual-xbow",
)
TASKS = ("arousal", "valence", "liking")
LANGUAGES, RECORDINGS = ("DE", "HU"), range(1, 15)
RATE_HZ = 10.0
KNOWN = tuple(f"{language}_{number:02}" for language in LANGUAGES for number in RECORDINGS)


def split_of(number: int) -> str:
    """The split of a recording by its number: fit, report or test."""
    if number > 8:
        return "test"
    return "fit" if number % 2 else "report"


def fill(
    folder: str | pathlib.Path, store: str | pathlib.Path, report: Report | None = None
) -> None:
    """Writes the store of every recording that is there; see the module's docstring."""
    folder, report = pathlib.Path(folder), report or Report()
    files = folders.by_name(folders.files(folder, ".npz"))
    for name, path in files.items():
        if name not in KNOWN:
            raise UserError(f"{path}: not a recording; expected a name from DE_01 to HU_14.")
    if not files:
        without = folders.nothing(folder, "<LANG>_<NN>.npz")
        raise UserError(f"{without}. Expected such as DE_01.npz.")
    report.use(*files.values(), folders.named(folder, "manifest.json"))
    folders.note_rest(folder, report)
    absent = [name for name in KNOWN if name not in files]
    if absent:
        report.note("recordings that are not there", absent)
    with StoreWriter(
        store,
        name="avec2019",
        features={
            name: dict(
                size=len(TASKS),
                columns=TASKS,
                extractor="AVEC 2019 baseline predictions",
                trained_on=("fit", "report", "test"),
            )
            for name in SYSTEMS
        },
        labels={task: dict(kind="values", size=1) for task in TASKS},
        source="avec2019",
        notes=report.notes,
    ) as writer:
        for name, path in report.progress(list(files.items()), "avec2019", "recording"):
            labels, predictions = _read(path)
            writer.add(
                track=name,
                split=split_of(int(re.sub(r"\D", "", name))),
                features={system: predictions[:, i] for i, system in enumerate(SYSTEMS)},
                labels={task: labels[:, k] for k, task in enumerate(TASKS)},
                fps=RATE_HZ,
            )


def _read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """(labels [T, 3], predictions [T, 9, 3]) of a recording, checked."""
    with Npz(path) as arrays:
        missing = [key for key in ("labels", "predictions") if key not in arrays]
        if missing:
            raise UserError(f"{path}: has no {missing[0]!r}, only {listed(arrays)}.")
        rows = arrays.header("labels")[0][:1] or ("rows",)
        for key, width in (("labels", ()), ("predictions", (len(SYSTEMS),))):
            shape = (*rows, *width, len(TASKS))
            require_array(f"{path}: {key}", *arrays.header(key), "iuf", shape)
        labels, predictions = float32(arrays["labels"]), float32(arrays["predictions"])
    finite = np.isfinite(predictions).all((1, 2))
    if not finite.all():
        raise UserError(f"{path}: predictions of row {int(np.argmin(finite))} are not finite.")
    return labels, predictions
