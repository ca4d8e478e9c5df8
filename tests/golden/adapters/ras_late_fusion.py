"""RAS, late fusion: the search over pairs and Dirichlet draws, on the parts of an ensemble."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from affect_jax.ensemble.ccc_weights import Joint
from affect_jax.ensemble.recipe import Recipe, combine
from affect_jax.tasks import Task
from tests.golden.fixture import Answer, Fixture, Mismatch, adapter

AFFECT = ("valence", "arousal")
MISSING = -5
Weights = tuple[np.ndarray, np.ndarray]  # of valence and arousal, [candidates, members] each


@dataclasses.dataclass(frozen=True)
class Fused:
    """A subset of the models with its best weights.

    Attributes:
        weights: of valence and arousal.
        scores: mean CCC, that of arousal, that of valence.
    """

    models: tuple[str, ...]
    weights: tuple[np.ndarray, np.ndarray]
    scores: tuple[float, float, float]


@adapter("ras__late_fusion")
def late_fusion(fixture: Fixture) -> Answer:
    config, given = fixture.meta["config"], fixture.arrays
    rng, arrays, board = np.random.default_rng(config["seed"]), {}, []
    for size in range(1, (config["max_comb_size"] or len(config["models"])) + 1):
        for models in itertools.combinations(sorted(config["models"]), size):
            candidates = _candidates(size, config, rng)
            name = f"out_first_dirichlet_{size}"
            if name in fixture.outputs and name not in arrays:
                arrays[name] = candidates[0][: len(fixture.outputs[name])]
            board.append(_best(fixture, models, candidates))
    board.sort(key=lambda fused: fused.scores, reverse=True)
    _compare(board, fixture.meta["leaderboard"])
    best, split = board[0], config["test_split"]
    keys = _keys(fixture, split, best.models)
    raws = _predictions(fixture, split, best.models, keys)
    columns = [
        combine(
            Task(name, "values", 1, loss="mse", metrics=("ccc",)),
            [Recipe("convex", tuple(best.weights[k]))],
            [raw[:, k : k + 1] for raw in raws],
            [0, len(keys)],
        )
        for k, name in enumerate(AFFECT)
    ]
    fused = np.concatenate(columns, 1)
    row = {key: i for i, key in enumerate(keys)}
    order = [row[key] for key in given["in_template_keys"].tolist()]
    return Answer(
        arrays
        | {
            "out_fused_keys": np.array(keys),
            "out_fused_pred": fused,
            "out_prediction_txt": fused[order].clip(-1, 1),
        }
    )


def _candidates(size: int, config: dict, rng: np.random.Generator) -> Weights:
    """Weights that are tried, those of arousal in the same row; the same where not channelwise."""
    own = config["channelwise"]
    if size == 1:
        return (np.ones((1, 1)),) * 2
    if size == 2:
        step = config["pair_grid_step"]
        x = np.arange(0, 1 + step / 2, step)
        valence, arousal = np.meshgrid(x, x, indexing="ij") if own else (x, x)
        return tuple(np.stack([w.ravel(), 1 - w.ravel()], 1) for w in (valence, arousal))
    alpha, draws = [config["dirichlet_alpha"]] * size, config["dirichlet_samples"]
    rest = np.concatenate([np.full((1, size), 1 / size), np.eye(size)])
    valence = rng.dirichlet(alpha, draws)
    arousal = rng.dirichlet(alpha, draws) if own else valence
    return np.concatenate([valence, rest]), np.concatenate([arousal, rest])


def _best(fixture: Fixture, models: tuple[str, ...], candidates: Weights) -> Fused:
    """The candidate that is best on the fitted split, the first of several, with its scores."""
    config = fixture.meta["config"]
    fit, report = (
        np.array(
            [
                _ccc(joint, weights)
                for joint, weights in zip(_joints(fixture, split, models), candidates, strict=True)
            ]
        )
        for split in (config["fit_split"], config["eval_split"])
    )
    order = np.lexsort((fit[0], fit[1], fit.mean(0)))
    top = order[-1]
    first = int(np.flatnonzero((fit == fit[:, top : top + 1]).all(0))[0])
    valence, arousal = report[:, first].tolist()
    weights = candidates[0][first], candidates[1][first]
    return Fused(models, weights, ((valence + arousal) / 2, arousal, valence))


def _joints(fixture: Fixture, split: str, models: Sequence[str]) -> list[Joint]:
    """Moments of models and label, of valence and of arousal, over records that all models have."""
    keys = _keys(fixture, split, fixture.meta["config"]["models"])
    raws = np.stack(_predictions(fixture, split, models, keys), 1)
    labels = dict(
        zip(fixture.arrays[f"in_keys_{split}"].tolist(), fixture.arrays[f"in_labels_{split}"])
    )
    label = np.stack([labels[key] for key in keys])
    return [Joint.of(raws[..., k], label[:, k]) for k in range(2)]


def _ccc(joint: Joint, weights: np.ndarray) -> np.ndarray:
    """CCC of each row of weights, with the original's constant in the denominator."""
    m = np.array([np.concatenate(joint.moments(w)) for w in weights]).T
    n, mean_p, mean_t, m2_p, m2_t, c = m
    return 2 * c / n / ((m2_p + m2_t) / n + (mean_p - mean_t) ** 2 + 1e-8)


def _keys(fixture: Fixture, split: str, models: Sequence[str]) -> list[str]:
    """Sorted keys of the labelled records that all of these models have."""
    given = fixture.arrays
    there = ~(given[f"in_labels_{split}"] == MISSING).all(1)
    for model in models:
        there = there & given[f"in_present_{split}_{model}"]
    return sorted(given[f"in_keys_{split}"][there].tolist())


def _predictions(
    fixture: Fixture, split: str, models: Sequence[str], keys: Sequence[str]
) -> list[np.ndarray]:
    row = {key: i for i, key in enumerate(fixture.arrays[f"in_keys_{split}"].tolist())}
    rows = [row[key] for key in keys]
    return [fixture.arrays[f"in_pred_{split}_{model}"][rows] for model in models]


def _compare(board: Sequence[Fused], stored: Sequence[dict]) -> None:
    """Mismatch where the leaderboard is another than that of meta.json."""
    for place, (ours, row) in enumerate(zip(board, stored, strict=True)):
        numbers = (*ours.weights, ours.scores)
        mean, *channels = (f"{name}_ccc_metric" for name in ("va", "a", "v"))
        wanted = (row["w_v"], row["w_a"], [row[mean], *(row[name] for name in channels)])
        if list(ours.models) != row["models"] or not all(
            np.allclose(a, b, rtol=0, atol=2e-5) for a, b in zip(numbers, wanted, strict=True)
        ):
            raise Mismatch(f"place {place + 1} of the leaderboard: ours {ours}, stored {row}")
