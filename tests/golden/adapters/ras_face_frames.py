"""RAS, face branch: predictions of windows put together frame by frame, scored and written."""

from __future__ import annotations

import re
from collections.abc import Mapping

import jax
import numpy as np

from affect_jax.losses import LOSSES
from affect_jax.metrics import Moments
from data_pipelines.overlap import reconstruct
from data_pipelines.rows import windows
from tests.golden.fixture import Answer, Fixture, adapter

AFFECT = ("valence", "arousal")
MISSING = -5.0


@adapter("ras__face_reconstruct")
def face_frames(fixture: Fixture) -> Answer:
    """Ours has a number for every frame; the original none, or -5, where there is no label."""
    config, given, arrays = fixture.meta["config"], fixture.arrays, {}
    texts = fixture.meta["annotation_files"]["Validation_Set"]
    videos = {
        name.removesuffix(".txt"): _delayed(_labels(text), config["time_delay"])
        for name, text in sorted(texts.items())
    }
    rows = windows([len(x) for x in videos.values()], config["window_length"], config["hop_length"])
    labels = np.full(given["in_pred"].shape, np.nan)
    collected = []
    for i, (video, label) in enumerate(videos.items()):
        ids = np.flatnonzero(rows.track == i)
        for row in ids:
            labels[row, : rows.sizes[row]] = label[rows.frames(row)]
        made = reconstruct(rows, ids, given["in_pred"][ids], len(label))
        arrays |= {f"out_{name}_{video}": made[:, k] for k, name in enumerate(AFFECT)}
        known = np.where(np.isnan(label), MISSING, made)
        lines = [",".join(f"{x:.6f}" for x in row) for row in known]
        arrays[f"out_txt_{video}"] = "\n".join([",".join(AFFECT), *lines]) + "\n"
        collected.append((made, label))
    cuts = range(config["batch_size"], len(rows), config["batch_size"])
    batches = zip(*(np.split(x, cuts) for x in (given["in_pred"], labels)), strict=True)
    pred, label = (np.concatenate(parts) for parts in zip(*collected, strict=True))
    scores = ccc_of(pred, label)
    loss = np.mean([_loss(*batch) for batch in batches])
    arrays["out_metrics"] = np.array([loss, *scores, scores.mean()])
    arrays["out_test_flat"] = _flat(str(given["in_test_sample"]), given)
    return Answer(arrays)


def _labels(text: str) -> np.ndarray:
    """[frames, 2] of an annotation: a field that is no number is NaN, a blank line no frame."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return np.array([_fields(line) for line in lines[lines[0].lower().startswith("valence") :]])


def _delayed(label: np.ndarray, delay: int) -> np.ndarray:
    """Labels of the frames `delay` later, the last one repeated; NaN unless both exist."""
    label = label[np.minimum(np.arange(len(label)) + delay, len(label) - 1)]
    exists = (np.isfinite(label) & (label != MISSING)).all(1, keepdims=True)
    return np.where(exists, label, np.nan)


def _fields(line: str) -> list[float]:
    fields = line.split(",")
    return [_number(field) for field in fields[:2]] if len(fields) > 1 else [np.nan] * 2


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return np.nan


def _loss(pred: np.ndarray, label: np.ndarray) -> float:
    """Mean of 1 - CCC over windows and outputs; the original counts 1 for one without a label."""
    mask = ~np.isnan(label)
    one = jax.vmap(LOSSES["ccc"])(pred, label.astype(np.float32), mask)
    return float(np.where(mask.any((1, 2)), one, 1).mean())


def ccc_of(pred: np.ndarray, label: np.ndarray) -> np.ndarray:
    """[K]: the covariance is over n, the variances over n - 1; 0 without a label."""
    m = Moments.of(pred, label, ~np.isnan(label), label.shape[1])
    n = np.maximum(m.n, 1)
    spread = (m.m2_p + m.m2_t) / np.maximum(m.n - 1, 1) + (m.mean_p - m.mean_t) ** 2
    return 2 * m.c / n / (spread + 1e-12)


def _flat(sample: str, given: Mapping[str, np.ndarray]) -> str:
    """The sample's rows with the predictions of the frames of each video, which are sorted."""
    header, *rows = sample.splitlines()
    images = [row.split(",")[0] for row in rows]
    places = [re.fullmatch(r"(.+)/0*(\d+)\.\w+", image) for image in images]
    frames: dict[str, set[int]] = {}
    for place in filter(None, places):
        frames.setdefault(place[1], set()).add(int(place[2]))
    lines = [header]
    for image, place in zip(images, places, strict=True):
        values = [np.float32(MISSING)] * 2
        if place and f"in_test_valence_{place[1]}" in given:
            at = sorted(frames[place[1]]).index(int(place[2]))
            values = [given[f"in_test_{name}_{place[1]}"][at] for name in AFFECT]
        lines.append(",".join([image, *(str(MISSING if np.isnan(x) else x) for x in values)]))
    return "\n".join(lines) + "\n"
