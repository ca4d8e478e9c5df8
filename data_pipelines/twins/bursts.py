"""Twin of HUME-VB: synthetic vocal bursts with the organisers' tables.

    FOLDER/labels/data_info.csv     File_ID in brackets, Split, Country, and 52 columns of values
    FOLDER/labels/type_info.csv     File_ID, Split, Voc_Type
    FOLDER/wav/<File_ID>.wav        16 kHz, 16 bit, half a second to three seconds

Of the test split there are the names alone, as for those who enter the challenge. In
references.json the oracle knows the noise-free labels, and misses only what raters got wrong; the
linear baseline sees means and deviations of the logarithmic spectrum over time.
"""

from __future__ import annotations

import csv
import pathlib
import wave
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.audio import RATE
from data_pipelines.bursts import CLASSES, COLUMNS, COUNTRY, FILE_ID, LABEL_COLUMNS, SPLIT, TYPE
from data_pipelines.plan import generator
from data_pipelines.store import Store
from data_pipelines.twins.bursts_latent import Burst, make_bursts
from data_pipelines.twins.bursts_sound import sound

SOURCE = "humevb"
FLAGS: dict[str, dict] = {"bursts": {}}
SIZES = {
    "default": {"Train": 1200, "Val": 400, "Test": 400},
    "small": {"Train": 120, "Val": 40, "Test": 20},
}
TEST = "Test"
FRAME, HOP, BANDS = 512, 256, 24  # samples, samples, of the baseline's spectrum
PENALTY = 30.0

Truth = dict[str, dict[str, np.ndarray]]  # {clip: {label: noise-free values}}


def write(name: str, folder: pathlib.Path, size: Mapping[str, int], seed: int) -> Truth:
    """Writes the twin into an empty or new folder.

    Args:
        name: "bursts".
        size: {split: clips}.

    Returns:
        What perfect raters would have written. It is in no file.
    """
    bursts = make_bursts(dict(size), seed)
    (folder / "labels").mkdir(parents=True)
    (folder / "wav").mkdir()
    _write_tables(folder / "labels", bursts, seed)
    for burst in bursts:
        samples = sound(burst, generator(seed, "sound", burst.clip))
        with wave.open(str(folder / "wav" / f"{burst.clip}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, len(samples), "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
    return {burst.clip: burst.truth for burst in bursts}


def _write_tables(folder: pathlib.Path, bursts: Sequence[Burst], seed: int) -> None:
    values = [name for name in COLUMNS if name not in CLASSES]
    data, kinds = [[FILE_ID, SPLIT, COUNTRY, *values]], [[FILE_ID, SPLIT, TYPE]]
    for burst in bursts:
        cells = dict.fromkeys(COLUMNS, "")
        if burst.split != TEST:
            labels = burst.rated(generator(seed, "raters", burst.clip))
            for label, columns in LABEL_COLUMNS.items():
                cells |= zip(columns, map(_cell, columns, labels[label].ravel().tolist()))
        first = [f"[{burst.clip}]", burst.split]
        data.append([*first, cells[COUNTRY], *(cells[name] for name in values)])
        kinds.append([*first, cells[TYPE]])
    for name, rows in (("data_info.csv", data), ("type_info.csv", kinds)):
        with open(folder / name, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def _cell(column: str, value: float) -> str:
    return CLASSES[column][int(value)] if column in CLASSES else f"{value:.6f}"


def references(store: Store, truth: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """{labelled split: {"oracle": {score: value}, "linear baseline": {score: value}}}."""
    splits = {split: store.split(split) for split in store.splits if split != "test"}
    oracle = {
        label: np.concatenate([truth[track.name][label] for track in store.tracks])
        for label in LABEL_COLUMNS
    }
    linear = _linear(store)
    return {
        split: {
            "oracle": scores(store, rows, oracle),
            "linear baseline": scores(store, rows, linear),
        }
        for split, rows in splits.items()
    }


def scores(
    store: Store, rows: Sequence[int], predicted: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """UAR of the type, mean CCC of the others, and the mean of these four.

    Args:
        rows: numbers of the clips.
        predicted: {label: [N] or [N, K]} of all clips of the store.
    """
    from sklearn.metrics import recall_score

    from data_pipelines.twins.references import ccc

    found = {}
    for name in ("type", "two", "high", "culture"):
        target, guess = np.asarray(store.label(name)[0])[rows], predicted[name][rows]
        if name == "type":
            uar = recall_score(target, guess, average="macro", zero_division=0)
            found["type/uar"] = float(uar)
        else:
            found[f"{name}/ccc"] = float(np.mean([ccc(p, y) for p, y in zip(guess.T, target.T)]))
    return found | {"total": float(np.mean(list(found.values())))}


def _linear(store: Store) -> dict[str, np.ndarray]:
    """{label: predictions for all clips}, of models fitted to the training split."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    train, audio = store.split("train"), store.feature("audio")
    spectra = np.stack([_spectrum(audio[store.rows("audio", i)]) for i in range(len(store.tracks))])
    with threadpool_limits(1):
        x = StandardScaler().fit(spectra[train]).transform(spectra)
        kinds = LogisticRegression(max_iter=1000, C=0.1).fit(
            x[train], store.label("type")[0][train]
        )
        found = {"type": kinds.predict(x)}
        for name in ("two", "high", "culture"):
            ridge = Ridge(PENALTY).fit(x[train], store.label(name)[0][train])
            found[name] = ridge.predict(x)
    return found


def _spectrum(samples: np.ndarray) -> np.ndarray:
    """float64 [72]: mean, deviation and mean change over time of the logarithm of 24 bands."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, FRAME)[::HOP] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, FRAME // 2, BANDS + 1).round().astype(int))
    bands = np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-3)
    bands -= bands.max()  # the level tells nothing
    change = np.abs(np.diff(bands, axis=0)).mean(0)
    return np.concatenate([bands.mean(0), bands.std(0), change])
