"""RAS, face and behaviour branch: losses, scores, plateau rule, rows of segments to frames.

The original's own ways are reproduced here, from outside: rows without labels that count as 1,
variances with n - 1 in the place of n, dropped segments that take their frames out of the score.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax import losses, schedules
from affect_jax.metrics.moments import Moments, moments
from data_pipelines.overlap import reconstruct
from data_pipelines.rows import Rows, windows
from tests.golden.adapters.torch_plateau import rates_after
from tests.golden.compare import NUMBER
from tests.golden.fixture import Answer, Fixture, adapter


def loss_by_row(
    pred: jax.Array, gold: jax.Array, mask: jax.Array, weights: Any = (1.0, 1.0)
) -> jax.Array:
    """Loss of [B, T, 2]: a row without labels counts, as 1, and NaN is the number 0."""
    pred, gold = (jnp.nan_to_num(x, nan=0.0) for x in (pred, gold))
    labelled = mask.any(1).sum()
    of_dimension = losses.by_dimension(
        losses.ccc_by_row, pred, gold, jnp.broadcast_to(mask[..., None], pred.shape)
    )
    total = of_dimension * labelled + (len(pred) - labelled)
    return (jnp.asarray(weights) * total).mean() / len(pred)


@adapter("ras__ccc_loss")
def ccc_loss(fixture: Fixture) -> Answer:
    given, arrays = fixture.arrays, {}
    for name in given:
        if match := re.fullmatch(r"in_pred_(\d+)", name):
            case, pred = match[1], given[name]
            mask = given.get(f"in_mask_{case}", np.ones(pred.shape[:2], bool))
            rest = given[f"in_gold_{case}"], mask, given.get(f"in_weights_{case}", (1.0, 1.0))
            value, grad = jax.jit(jax.value_and_grad(loss_by_row))(pred, *rest)
            arrays |= {f"out_loss_{case}": value, f"out_grad_{case}": grad}
    return Answer(arrays)


@adapter("ras__ccc_metric")
def ccc_metric(fixture: Fixture) -> Answer:
    """Covariance over N, variances over N - 1, with N also where a number is missing."""
    arrays = {}
    for name, x in fixture.arrays.items():
        if match := re.fullmatch(r"in_x_(\d+)", name):
            y = fixture.arrays[f"in_y_{match[1]}"]
            parts = [(x, x), (y, y), (x, y)]
            of_x, of_y, both = (
                Moments.of(a[:, None], b[:, None], ~np.isnan(a + b)[:, None], 1) for a, b in parts
            )
            spread = (of_x.m2_p + of_y.m2_p) / max(len(x) - 1, 1)
            gap = of_x.mean_p - of_y.mean_p
            off = (both.mean_p - of_x.mean_p) * (both.mean_t - of_y.mean_p)
            covariance = both.c / np.maximum(both.n, 1) + off
            ours = 2 * covariance / (spread + gap**2 + 1e-12)
            arrays[f"out_ccc_{match[1]}"] = ours[0]
    return Answer(arrays)


def sample_loss(pred: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """1 - CCC of all entries, with sample deviations and a correlation of its own; 0 of none."""
    m, eps = moments(pred, target, mask), 1e-8
    product = m.m2_p * m.m2_t
    # No gradient of a root at 0: the original has NaN there.
    safe_p, safe_t = (jnp.where(product > 0, x, 1) for x in (m.m2_p, m.m2_t))
    root = jnp.where(product > 0, jnp.sqrt(safe_p) * jnp.sqrt(safe_t), 0)
    free = jnp.maximum(m.n - 1, 1)
    spread = (m.m2_p + m.m2_t) / free + (m.mean_p - m.mean_t) ** 2
    loss = 1 - 2 * m.c / (root + eps) * (root / free) / (spread + eps)
    return jnp.where(m.n > 0, loss, 0)


def both_losses(pred: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean of the losses of valence and arousal over all positions of a batch."""
    return sum(sample_loss(pred[..., k], target[..., k], mask) for k in (0, 1)) / 2


@adapter("ras__beh_ccc")
def behaviour_ccc(fixture: Fixture) -> Answer:
    given, arrays = fixture.arrays, {}
    for name, x in given.items():
        if match := re.fullmatch(r"in_x_(\d+)", name):
            case, y = match[1], given[f"in_y_{match[1]}"]
            value, grad = jax.value_and_grad(sample_loss)(x, y, np.ones(x.shape, bool))
            arrays |= {f"out_loss_{case}": value, f"out_grad_{case}": grad}
            arrays[f"out_score_{case}"] = 1 - value
    pred, labels, mask = (given[f"in_{name}"] for name in ("preds", "labels", "valid"))
    arrays["out_masked_loss"] = both_losses(pred, labels, mask)
    arrays["out_masked_loss_empty"] = both_losses(pred, labels, np.zeros_like(mask))
    first = pred[:, 0], labels[:, 0], np.ones(len(pred), bool)
    arrays["out_step_loss"] = both_losses(*first)
    return Answer(arrays)


@adapter("ras__plateau_and_best")
def plateau_and_best(fixture: Fixture) -> Answer:
    arrays = {}
    for options in fixture.meta["cases"]:
        case = options["case"]
        scores = fixture.arrays[f"in_scores_{case}"]
        rates = rates_after(scores, options["lr"], _scheduler(options))["default"]
        best, waited, saved = -np.inf, 0, []
        for epoch, score in enumerate(scores):
            better = schedules.is_better(score - options["early_stop_min_delta"], best, 1, 0.0)
            waited = 0 if better else waited + 1
            if better:
                best = float(score)
                saved.append((epoch, best))
            if waited >= options["early_stop_patience"]:
                break
        arrays[f"out_lr_{case}"] = np.array([round(x, 8) for x in rates[: epoch + 1].tolist()])
        arrays[f"out_epochs_run_{case}"] = np.int64(epoch + 1)
        arrays[f"out_saved_epochs_{case}"] = np.array([epoch for epoch, _ in saved])
        arrays[f"out_saved_scores_{case}"] = np.array([score for _, score in saved])
        tails = [f"{score:.4f}.pt" for _, score in saved]
        arrays[f"out_saved_name_tail_{case}"] = np.array(tails)
    return Answer(arrays)


def _scheduler(options: Mapping[str, Any]) -> dict[str, Any]:
    """torch's options of a case: those of the trainer, and the others as a sentence has them."""
    own = {key: options[f"scheduler_{key}"] for key in ("patience", "factor", "min_lr")}
    said, number = options["scheduler"], f"({NUMBER.pattern})"
    for key in ("threshold", "eps", "cooldown"):
        if found := re.search(rf"\b{key} {number}", said):
            own[key] = float(found[1])
    own["mode"] = re.search(r"\bmode (\w+)", said)[1]
    return own | {"threshold_mode": "abs" if "absolute" in said else "rel"}


@adapter("ras__beh_eval")
def behaviour_eval(fixture: Fixture) -> Answer:
    """Windows of rows to rows, rows to frames, and the scores of both."""
    meta, arrays = fixture.meta, {}
    table = list(csv.DictReader(io.StringIO(meta["csv"])))
    labels = np.array([[row["valence"], row["arousal"]] for row in table], np.float32)
    spans = np.array([[row["start_frame"], row["end_frame"]] for row in table], int)
    streams: dict[str, list[int]] = {}
    for i, row in enumerate(table):
        name = re.sub(r"\.(mp4|avi)$", "", row["video_name"].strip(), flags=re.I)
        streams.setdefault(re.sub(r"___\d+_\d+_\d+$", "", name), []).append(i)
    for own in streams.values():
        own.sort(key=lambda i: tuple(spans[i]))
    for options in meta["cases"]:
        case, dropped = options["case"], options["drop_overlapping_segments"]
        sequences = [_apart(own, spans) if dropped else own for own in streams.values()]
        row_preds, loss = _rows(fixture, options, sequences, labels)
        arrays[f"out_row_preds_{case}"] = row_preds
        arrays[f"out_metrics_{case}"] = [loss, *_scores(row_preds, labels)]
        names, numbers, frames = _frames(streams, spans, row_preds)
        arrays[f"out_frames_video_{case}"] = np.array(names)
        arrays[f"out_frames_idx_{case}"] = np.array(numbers)
        arrays[f"out_frames_valence_{case}"] = frames[:, 0]
        arrays[f"out_frames_arousal_{case}"] = frames[:, 1]
        true = _frame_labels(meta["frame_gt_csv"])
        keys = list(zip(map(_bare, names), numbers, strict=True))
        found = [i for i, key in enumerate(keys) if key in true and np.isfinite(frames[i]).all()]
        wanted = np.array([true[keys[i]] for i in found])
        arrays[f"out_frame_metrics_{case}"] = [len(found), *_scores(frames[found], wanted)]
    # Where the original has no number, any finite one of ours will do.
    arrays = {name: np.nan_to_num(x) if _floats(x) else x for name, x in arrays.items()}
    return Answer(arrays)


def _floats(x: Any) -> bool:
    return np.asarray(x).dtype.kind == "f"


def _apart(own: Sequence[int], spans: np.ndarray) -> list[int]:
    """Rows in order that do not overlap the one kept before."""
    kept: list[int] = []
    for i in own:
        if not kept or spans[i][0] >= spans[kept[-1]][1]:
            kept.append(i)
    return kept


def _rows(
    fixture: Fixture, options: dict[str, Any], sequences: Sequence[list[int]], labels: np.ndarray
) -> tuple[np.ndarray, float]:
    """(means of the windows' predictions for each row of the table, mean loss of the batches)."""
    size, case = options["window_size"], options["case"]
    lengths = [len(own) for own in sequences]
    size = size or max(lengths)
    hop = options["window_stride"] if options["window_stride"] > 0 else size
    rows = windows(lengths, size, hop, tail="pad")
    outputs, values, first = np.zeros((len(rows), size, 2), np.float32), [], 0
    for batch in range(options["batches"]):
        pred = fixture.arrays[f"in_pred_c{case}_b{batch}"]
        those = range(first, first + len(pred))
        outputs[first : first + len(pred), : pred.shape[1]] = pred
        target, mask = np.zeros(pred.shape, np.float32), np.zeros(pred.shape[:2], bool)
        for i, row in enumerate(those):
            own = [sequences[rows.track[row]][frame] for frame in rows.frames(row)]
            target[i, : len(own)], mask[i, : len(own)] = labels[own], True
        values.append(float(both_losses(pred, target, mask)))
        first += len(pred)
    result = np.full(labels.shape, np.nan, np.float32)
    for track, own in enumerate(sequences):
        ids = np.flatnonzero(rows.track == track)
        result[own] = reconstruct(rows, ids, outputs[ids], len(own))
    return result, float(np.mean(values))


def _scores(pred: np.ndarray, target: np.ndarray) -> list[float]:
    """Scores of valence and arousal, and their mean, over the rows that have a prediction."""
    known = np.isfinite(pred).all(1)
    own = [
        1 - float(sample_loss(pred[known, k], target[known, k].astype(np.float32), known[known]))
        for k in (0, 1)
    ]
    return [*own, sum(own) / 2]


def _frames(
    streams: dict[str, list[int]], spans: np.ndarray, preds: np.ndarray
) -> tuple[list[str], list[int], np.ndarray]:
    """(streams, 1-based frames, means of the segments that cover them): of those covered by any."""
    names, numbers, values = [], [], []
    for name, own in streams.items():
        start, stop = spans[own].T
        length, total = int((stop - start).max()), int(stop.max())
        rows = Rows(np.zeros_like(start), start, stop, length)
        held = np.repeat(preds[own][:, None], length, 1)
        frames = reconstruct(rows, np.arange(len(own)), held, total)
        covered = np.zeros(total, bool)
        for a, b in spans[own]:
            covered[a:b] = True
        names += [name] * int(covered.sum())
        numbers += [int(i) + 1 for i in np.flatnonzero(covered)]
        values.append(frames[covered])
    return names, numbers, np.concatenate(values)


def _frame_labels(text: str) -> dict[tuple[str, int], tuple[float, float]]:
    """{(name without folder and ending, frame): labels} of the rows that have both labels."""
    found = {}
    for row in csv.DictReader(io.StringIO(text)):
        pair = float(row["valence"]), float(row["arousal"])
        if min(pair) > -4.9:
            found[_bare(row["video_name"]), int(row["frame_idx"])] = pair
    return found


def _bare(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]
