"""RLPS: the sigmoid selector; the slip of the original's last walk is made here."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.selection.sigmoid import POLICY, Sigmoid, turn
from affect_jax.selection.walk import walk
from tests.golden.fixture import Answer, Fixture, adapter


@adapter("rlps__sigmoid_selector")
def sigmoid_selector(fixture: Fixture) -> Answer:
    given, config = fixture.arrays, fixture.meta["config"]
    features = jnp.float32(given["in_features"])
    log_p = jnp.float32(given["in_log_true_prob"])
    sizes, order_of = given["in_bag_sizes"], given["in_bag_order"]
    bags = _bags(sizes)
    above, _, below = str(config["step"]).partition("/")
    alone = log_p[np.repeat(sizes, sizes) == 1]  # of bags of one row
    options = dict(
        rate=float(above) / float(below or 1),
        bag=bags.shape[1],
        empty=alone.mean() if len(alone) else None,
    )
    step = jax.jit(functools.partial(turn, **options))
    params = _ours(given["in_initial_weights"])
    selector = Sigmoid(params, params, jnp.float32(-jnp.inf))
    best = dict.fromkeys(("original", "corrected"), (-np.inf, params))
    scores, counts = [], []
    for t, uniforms in enumerate(_uniforms(fixture, bags)):
        order, before = bags[order_of[t]].ravel(), selector.params
        selector, chosen = step(selector, features, log_p, order, uniforms)
        slip = _with_slip(before, features, bags, uniforms[-1])
        by_name = {"original": slip, "corrected": np.asarray(chosen.retained)}
        of_turn = {
            name: _score(given["in_log_true_prob"], retained, order)
            for name, retained in by_name.items()
        }
        for name, score in of_turn.items():
            if score > best[name][0]:
                best[name] = score, selector.params
        scores.append(of_turn["corrected"])
        counts.append(int(chosen.retained.sum()))
    # Of turns that tie, ours may keep another one; its score is the same.
    (score, corrected), kept = best["corrected"], float(selector.score)
    corrected = corrected if np.isclose(kept, score, rtol=1e-6) else selector.best
    return Answer(
        {
            "out_final_weights_original": _theirs(selector.params),
            "out_final_weights_float64": _theirs(selector.params),
            "out_best_weights_original": _theirs(best["original"][1]),
            "out_best_weights_corrected": _theirs(corrected),
            "out_last_turn_chosen_original": np.flatnonzero(slip),
            "out_last_turn_chosen_corrected": np.flatnonzero(chosen.retained),
            "out_mean_reward_corrected_per_turn": np.array(scores),
            "out_count_corrected_per_turn": np.array(counts),
        }
    )


def _bags(sizes: np.ndarray) -> np.ndarray:
    """Rows of every bag, filled with -1 to the longest."""
    bags = np.full((len(sizes), sizes.max()), -1)
    bags[np.arange(sizes.max()) < sizes[:, None]] = np.arange(sizes.sum())
    return bags


def _uniforms(fixture: Fixture, bags: np.ndarray) -> Iterator[np.ndarray]:
    """[rollouts, rows] of every turn; stored by turn, bag as visited, rollout, row."""
    rollouts, place, stored = fixture.meta["config"]["rollouts"], 0, fixture.arrays["in_uniforms"]
    for visited in fixture.arrays["in_bag_order"]:
        uniforms = np.zeros((rollouts, (bags >= 0).sum()), np.float32)
        for bag in visited:
            rows = bags[bag][bags[bag] >= 0]
            size = rollouts * len(rows)
            uniforms[:, rows] = stored[place : place + size].reshape(rollouts, -1)
            place += size
        yield uniforms


def _ours(weights: np.ndarray) -> dict[str, Any]:
    """Theirs are of [mean, feature, 1], ours of [feature, mean] and a bias."""
    mean, feature, bias = np.split(jnp.float32(weights), [len(weights) // 2, len(weights) - 1])
    kernel = jnp.concatenate([feature, mean])[:, None]
    return {"dense_0": {"kernel": kernel, "bias": jnp.asarray(bias)}}


def _theirs(params: dict[str, Any]) -> np.ndarray:
    feature, mean = np.split(np.asarray(params["dense_0"]["kernel"])[:, 0], 2)
    return np.concatenate([mean, feature, params["dense_0"]["bias"]])


def _score(log_p: np.ndarray, retained: np.ndarray, order: np.ndarray) -> float:
    """Mean float64 log_p of the retained rows, added up as they are visited.

    Turns that retain the same rows differ by the rounding of this alone, which says which is best.
    """
    visited = order[order >= 0]
    chosen = log_p[visited[retained[visited]]]
    return float(chosen.mean()) if len(chosen) else -np.inf


def _with_slip(params: Any, features: jax.Array, bags: np.ndarray, uniforms: Any) -> np.ndarray:
    """bool [N], rows at P(retain) >= 1/2 in the original's walk.

    Whenever it retains a row, its mean takes one step towards the row that the last rollout
    retained last in this bag, as if that were the newest of all that the rollout retained.
    """
    logit_of = functools.partial(POLICY.apply, {"params": params})
    last = walk(logit_of, features, bags.ravel(), jnp.asarray(uniforms), reset_every=bags.shape[1])
    last, features, weights = np.asarray(last.retained), np.asarray(features), _theirs(params)
    chosen = np.zeros(len(features), bool)
    for bag in bags:
        rows = bag[bag >= 0]
        listed, mean = rows[last[rows]], np.zeros(features.shape[1])
        for row in rows:
            chosen[row] = np.concatenate([mean, features[row], [1]]) @ weights >= 0
            if chosen[row] and len(listed):
                mean += (features[listed[-1]] - mean) / len(listed)
    return chosen
