"""The prediction files of the ABAW3 original (RUCAIM3): JSON a checkpoint, a text file a video.

    val_pred_<target>_nosmooth_ori.json   raw           val_pred_<target>_result.txt   its CCCs
    val_pred_<target>_nosmooth.json       clipped       tst_pred_<target>_nosmooth.json
    val_pred_<target>_smooth.json         smoothed, then clipped   tst_pred_<target>_smooth.json
    <target>/<video>.txt                  a header line, then one number a frame

JSON: {video: {"video_id": video, "pred": [...], "label": [...]}}, without label for test videos;
float32 numbers written as doubles. Values are clipped to [-1, 1], the range of the labels. A
missing label, which the original never has, is -5 as in the challenge's own files.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from affect_jax.metrics import Moments
from affect_jax.metrics.regression import ccc_of
from affect_jax.smoothing import smooth
from data_pipelines.files import read_json, readable

Series = Mapping[str, np.ndarray]  # {video: float [frames]}
MISSING = -5.0


def write_validation(
    folder: pathlib.Path,
    target: str,
    raw: Series,
    label: Series,
    window: int,
    kind: str = "mean",
) -> dict[str, float]:
    """The four validation files of one checkpoint; returns {file's middle part: CCC}.

    Args:
        label: NaN where there is none.
        window, kind: of `smoothing.smooth`; the original's are 50 for valence and 20 for arousal.
    """
    versions = {"nosmooth_ori": dict(raw)} | _versions(raw, window, kind)
    cccs = {}
    for name, pred in versions.items():
        _write_json(folder / f"val_pred_{target}_{name}.json", pred, label)
        cccs[name] = _ccc(pred, label)
    text = (
        f"nosmooth_ori_ccc:\t{cccs['nosmooth_ori']}\nnosmooth_ccc:\t{cccs['nosmooth']}\n"
        f"smoothed_ccc:\t{cccs['smooth']}\nsetting window:\t{window}"
    )
    (folder / f"val_pred_{target}_result.txt").write_text(text)
    return cccs


def write_test(
    folder: pathlib.Path, target: str, raw: Series, window: int, kind: str = "mean"
) -> None:
    """The two test files of one checkpoint. Arguments as `write_validation`."""
    for name, pred in _versions(raw, window, kind).items():
        _write_json(folder / f"tst_pred_{target}_{name}.json", pred, None)


def write_texts(folder: pathlib.Path, target: str, values: Series) -> None:
    """<folder>/<target>/<video>.txt of every video."""
    (folder / target).mkdir(parents=True, exist_ok=True)
    for video, column in values.items():
        lines = [target, *map(str, _doubles(column))]
        (folder / target / f"{video}.txt").write_text("\n".join(lines) + "\n")


def read(path: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """{video: (pred, label or None)} of a JSON file, float32, labels NaN where they are missing.

    Raises:
        UserError: it is no such file, or a label has another length than its prediction.
    """
    what = "a prediction file of the ABAW3 original"
    entries = read_json(path, what)
    with readable(path, what):
        series = {}
        for video, entry in entries.items():
            pred = np.array(entry["pred"], np.float32)
            label = np.array(entry["label"], np.float32) if "label" in entry else None
            if pred.ndim != 1 or (label is not None and label.shape != pred.shape):
                raise ValueError(f"video {video!r}: lists of one length expected")
            if label is not None:
                label[label == MISSING] = np.nan
            series[video] = pred, label
        return series


def _versions(raw: Series, window: int, kind: str) -> dict[str, Series]:
    """Clipped, and smoothed then clipped: the original found the other order slightly worse."""
    return {
        "nosmooth": {video: np.clip(x, -1, 1) for video, x in raw.items()},
        "smooth": {video: np.clip(smooth(x, window, kind), -1, 1) for video, x in raw.items()},
    }


def _write_json(path: pathlib.Path, pred: Series, label: Series | None) -> None:
    entries = {}
    for video, x in pred.items():
        entries[video] = {"video_id": video, "pred": _doubles(x)}
        if label is not None:
            entries[video]["label"] = _doubles(np.nan_to_num(label[video], nan=MISSING))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def _doubles(x: np.ndarray) -> list[float]:
    return [float(value) for value in np.asarray(x, np.float32)]


def _ccc(pred: Series, label: Series) -> float:
    """Over the labelled frames of all videos joined."""
    p, t = (np.concatenate([np.asarray(s[v]) for v in pred])[:, None] for s in (pred, label))
    return ccc_of(Moments.of(p.astype(np.float32), t, np.isfinite(t), 1))
