"""Three scores to stand beside every other: what is possible, and what linear models give.

The oracle predicts the noise-free state; it misses only what annotators got wrong. The linear
baseline sees one frame at a time: ridge regression for valence and arousal (penalty chosen by
folds over the videos of the training split), logistic regression for the expression and for each
action unit. The smoothed one is the same on features averaged over HALF rows to each side.

CCC and F1 are taken over all labelled frames of a split joined, population moments; the F1 of
expressions is the mean over classes that occur in labels or predictions, that of action units the
mean over all twelve of the positive class's, 0 where it neither occurs nor is predicted.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from data_pipelines.store import Store

PENALTIES = (1e1, 1e2, 1e3, 1e4)
FOLDS = 5
HALF = 8  # rows

Predictions = dict[str, np.ndarray]  # {label: [N] or [N, K] for all rows of a store}


def references(store: Store, truth: Mapping[str, Mapping[str, np.ndarray]]) -> dict:
    """{labelled split: {"oracle": {score: value}, "linear baseline": .., "smoothed linear": ..}}.

    Args:
        truth: {track: {label: noise-free values [T] or [T, K]}}.
    """
    oracle = {
        label: np.concatenate([truth[track.name][label] for track in store.tracks])
        for label in store.labels
    }
    features = np.concatenate([store.feature(name) for name in store.features], axis=1)
    who = {
        "oracle": oracle,
        "linear baseline": linear_baseline(store, features),
        "smoothed linear": linear_baseline(store, averaged(store, features, HALF)),
    }
    return {
        split: {name: scores(store, split, predicted) for name, predicted in who.items()}
        for split in store.splits
        if _has_labels(store, split)
    }


def _has_labels(store: Store, split: str) -> bool:
    """False for a test split."""
    rows = _rows(store, split)
    return any(mask[rows].any() for _, mask in map(store.label, store.labels))


def linear_baseline(store: Store, features: np.ndarray) -> Predictions:
    """Predictions for every row, from models fitted to the training split.

    Args:
        features: float [N, D], in the order of the store's rows.
    """
    train = _rows(store, "train")
    groups = np.repeat([t.group for t in store.tracks], [t.frames for t in store.tracks])
    predictions = {}
    # More threads do not pay at this size, and where cores are shared they wait for each other.
    with threadpool_limits(1):
        x = StandardScaler().fit(features[train]).transform(features)
        for name, definition in store.labels.items():
            targets, masks = map(_columns, store.label(name))
            columns = []
            for target, mask in zip(targets, masks):
                seen = train & mask
                if definition.kind == "values":
                    model = _ridge(x[seen], target[seen], groups[seen])
                else:
                    model = _logistic(x[seen], target[seen])
                columns.append(model(x))
            predictions[name] = np.stack(columns, axis=1)
    return predictions


def averaged(store: Store, features: np.ndarray, half: int) -> np.ndarray:
    """float64 [N, D]: means over `half` rows to each side, of a track's own rows alone."""
    means = np.empty(features.shape)
    for track in store.tracks:
        rows = track.span
        sums = np.cumsum(features[rows], axis=0, dtype=np.float64)
        sums = np.concatenate([np.zeros_like(sums[:1]), sums])
        at = np.arange(track.frames)
        first, end = np.maximum(at - half, 0), np.minimum(at + half + 1, track.frames)
        means[rows] = (sums[end] - sums[first]) / (end - first)[:, None]
    return means


def scores(store: Store, split: str, predictions: Predictions) -> dict[str, float]:
    """Scores of one split by their usual names, with P_MTL or, of two labels, the mean CCC."""
    rows, result = _rows(store, split), {}
    for name, definition in store.labels.items():
        metric, score = _SCORES[definition.kind]
        each = [
            score(prediction[rows & mask], target[rows & mask])
            for prediction, target, mask in zip(
                _columns(predictions[name]), *map(_columns, store.label(name))
            )
        ]
        result[f"{name}/{metric}"] = float(np.mean(each))
    mean_ccc = (result["valence/ccc"] + result["arousal/ccc"]) / 2
    if "expression" in store.labels:
        result["P_MTL"] = mean_ccc + result["expression/f1"] + result["au/f1_binary"]
    else:
        result["CCC"] = mean_ccc
    return result


def ccc(prediction: np.ndarray, target: np.ndarray) -> float:
    """Concordance correlation coefficient with population moments (Lin, 1989)."""
    covariance = np.mean((prediction - prediction.mean()) * (target - target.mean()))
    shift = (prediction.mean() - target.mean()) ** 2
    return float(2 * covariance / (prediction.var() + target.var() + shift))


def _macro_f1(prediction: np.ndarray, target: np.ndarray) -> float:
    return f1_score(target, prediction, average="macro", zero_division=0)


def _positive_f1(prediction: np.ndarray, target: np.ndarray) -> float:
    return f1_score(target, prediction, zero_division=0)


_SCORES = {
    "values": ("ccc", ccc),
    "classes": ("f1", _macro_f1),
    "labels": ("f1_binary", _positive_f1),
}


def _rows(store: Store, split: str) -> np.ndarray:
    """bool [N]: rows of a split."""
    return np.repeat([t.split == split for t in store.tracks], [t.frames for t in store.tracks])


def _columns(array: np.ndarray) -> np.ndarray:
    """[N] or [N, K] -> [K, N]."""
    return np.asarray(array).reshape(len(array), -1).T


def _ridge(x: np.ndarray, y: np.ndarray, groups: np.ndarray):
    """The predictor with the penalty of the best out-of-fold CCC."""
    folds = list(GroupKFold(FOLDS).split(x, groups=groups))

    def out_of_fold(penalty: float) -> float:
        prediction = np.zeros(len(y))
        for fit, held in folds:
            prediction[held] = Ridge(penalty).fit(x[fit], y[fit]).predict(x[held])
        return ccc(prediction, y)

    return Ridge(max(PENALTIES, key=out_of_fold)).fit(x, y).predict


def _logistic(x: np.ndarray, y: np.ndarray):
    """The predictor of a class, or of the only class there is."""
    classes = np.unique(y)
    if len(classes) < 2:
        return lambda rows: np.full(len(rows), classes[0])
    return LogisticRegression(max_iter=1000).fit(x, y).predict
