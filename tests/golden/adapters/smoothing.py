"""ABAW3 and ABAW4: smoothing, clipping and the search for a window."""

from __future__ import annotations

import numpy as np

from affect_jax import metrics
from affect_jax.ensemble.choose import METHODS, Options, fit
from affect_jax.prediction_files import Predictions
from affect_jax.smoothing import smooth
from affect_jax.tasks import Task
from tests.golden.fixture import Answer, Fixture, adapter

BINOMIAL = "binomial weights, which no published result uses and which lose mass at the ends"
ABAW3_WINDOWS = range(0, 100, 5)


@adapter("abaw3__smoothing")
def abaw3(fixture: Fixture) -> Answer:
    arrays, differs = {}, {}
    for case in fixture.meta["cases"]:
        i, x = case["case"], fixture.arrays[f"in_x_{case['case']}"]
        if case["binomial"]:
            differs |= {f"out_y_{i}": BINOMIAL, f"out_clipped_{i}": BINOMIAL}
            continue
        arrays[f"out_y_{i}"] = y = smooth(x, case["window"])
        arrays[f"out_clipped_{i}"] = np.clip(y, -1, 1)
    pieces = _pieces(fixture, "in_search_pred_")
    pred, label = (
        np.concatenate(_pieces(fixture, f"in_search_{what}_")) for what in ("pred", "label")
    )
    best, _ = _search(ABAW3_WINDOWS, pieces, label)
    arrays["out_search_best_window"] = best
    for i, x in enumerate(pieces):
        arrays[f"out_search_pred_{i}"] = smooth(x, best)
    of_all = (metrics.mse, metrics.rmse, metrics.pearson, metrics.ccc)
    arrays["out_metrics_mse_rmse_pcc_ccc"] = np.array([metric(pred, label) for metric in of_all])
    return Answer(arrays, differs)


@adapter("abaw4__smoothing")
def abaw4(fixture: Fixture) -> Answer:
    """The original's search takes missing labels for labels of -5: an all-true mask here."""
    config, arrays = fixture.meta["config"], {}
    pieces = _pieces(fixture, "in_pred_")
    for window in config["mean_windows"]:
        for i, x in enumerate(pieces):
            arrays[f"out_mean_w{window}_{i}"] = smooth(x, window)
    for kind in ("label", "label_missing"):
        label = np.concatenate(_pieces(fixture, f"in_{kind}_"))
        windows = config["searched_windows"]
        best, scores = _search(windows, pieces, label)
        arrays[f"out_best_window_{kind}"] = best
        arrays[f"out_ccc_by_window_{kind}"] = np.array(list(scores.values()))
        _, scores = _search(windows, pieces, label, label != -5)
        arrays[f"out_ccc_by_window_{kind}_valid_only"] = np.array(list(scores.values()))
    return Answer(arrays, {"out_binom_*": BINOMIAL})


def _pieces(fixture: Fixture, prefix: str) -> list[np.ndarray]:
    """Arrays `<prefix>0`, `<prefix>1`, ... of the fixture."""
    found = []
    while f"{prefix}{len(found)}" in fixture.arrays:
        found.append(fixture.arrays[f"{prefix}{len(found)}"])
    return found


def _search(windows, pieces, label, mask=None):
    """(best window, {window: CCC over the videos joined}), as an ensemble of one member has them.

    With nothing else to fit, a score out of fold is that of the whole. A frame without a label
    makes one video two, as folds need. No window (0) where none scores above 0: the original's.
    """
    mask = np.ones(len(label), bool) if mask is None else mask
    if not mask.any():  # where an ensemble refuses to fit
        return 0, dict.fromkeys(windows, 0.0)
    lengths = [*map(len, pieces), 1]
    reference = Predictions(
        tracks=np.arange(len(lengths)).astype(str),
        track=np.repeat(np.arange(len(lengths)), lengths),
        frame=np.concatenate([np.arange(1, n + 1) for n in lengths]),
        raw=np.append(np.concatenate(pieces), 0)[:, None],
        label=np.append(label, 0)[:, None],
        label_mask=np.append(mask, False)[:, None],
    )
    options = Options(METHODS | {"values": ("mean",)}, windows=tuple(windows))
    task = Task("valence", "values", 1, metrics=("ccc",))
    found = fit(task, [reference.raw], reference, options)
    scores = {one.window: one.score for one in found.tried}
    best = found.recipes[0].window
    return best if scores[best] > 0 else 0, scores
