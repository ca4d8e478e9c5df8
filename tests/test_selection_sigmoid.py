"""The sigmoid selector, against its turn written as loops in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.selection import sigmoid

RNG = np.random.default_rng(0)
N, D, BAG, RATE = 10, 2, 4, 0.5
FEATURES = RNG.normal(size=(N, D)).astype(np.float32)
LOG_P = -RNG.uniform(0.1, 3, N).astype(np.float32)
VALID = np.arange(N) != 3
WEIGHTS = np.float32([0.8, -0.5, 0.3, 0.4, -0.2])  # feature, mean, bias


def params_of(weights):
    return {
        "dense_0": {"kernel": jnp.asarray(weights[:-1, None]), "bias": jnp.asarray(weights[-1:])}
    }


def weights_of(params):
    return np.append(params["dense_0"]["kernel"][:, 0], params["dense_0"]["bias"])


def bag_by_hand(weights, rows, uniforms):
    """(retained rows, [(action, P(retain), state with 1)]); without draws P >= 1/2 is retained."""
    kept, seen = [], []
    for row in rows:
        mean = np.mean(FEATURES[kept], 0) if kept else np.zeros(D)
        state = np.concatenate([FEATURES[row], mean, [1]])
        p = 1 / (1 + np.exp(-state @ np.float64(weights)))
        action = p >= 0.5 if uniforms is None else uniforms[row] < p
        seen.append((action, p, state))
        kept += [row] if action else []
    return kept, seen


def turn_by_hand(weights, order, uniforms):
    """(weights after the turn, rows retained at P >= 1/2)."""
    bags = [bag[bag >= 0] for bag in np.split(order, range(BAG, len(order), BAG))]
    empty, after, chosen = LOG_P[order[order >= 0]].mean(), np.float64(weights), []
    for rows in bags:
        rollouts = [bag_by_hand(weights, rows, u) for u in uniforms]
        earned = [LOG_P[kept].mean() if kept else empty for kept, _ in rollouts]
        for reward, (_, seen) in zip(earned, rollouts, strict=True):
            for action, p, state in seen:
                after = after + RATE * (reward - np.mean(earned)) * (action - p) * state
        chosen += bag_by_hand(weights, rows, None)[0]
    return after, sorted(chosen)


TURN = jax.jit(functools.partial(sigmoid.turn, rate=RATE, bag=BAG))


def test_turns_are_those_of_loops_and_the_best_weights_are_kept():
    params = params_of(WEIGHTS)
    selector = sigmoid.Sigmoid(params, params, jnp.float32(-jnp.inf))
    weights, scores, history = WEIGHTS, [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        order = np.append(rng.permutation(np.flatnonzero(VALID)), -1)
        uniforms = rng.uniform(size=(3, N)).astype(np.float32)
        selector, got = TURN(selector, FEATURES, jnp.asarray(LOG_P), order, uniforms)
        weights, chosen = turn_by_hand(weights, order, uniforms)
        np.testing.assert_allclose(weights_of(selector.params), weights, atol=1e-5)
        np.testing.assert_array_equal(np.flatnonzero(got.retained), chosen)
        scores.append(LOG_P[chosen].mean() if chosen else -np.inf)
        history.append(weights)
    assert len(set(scores)) > 1
    np.testing.assert_allclose(selector.score, max(scores), atol=1e-6)
    np.testing.assert_allclose(weights_of(selector.best), history[np.argmax(scores)], atol=1e-5)


def test_a_turn_that_retains_nothing_moves_no_weight_and_scores_below_all():
    params = params_of(np.float32([0, 0, 0, 0, -200]))  # P(retain) is 0 in float32
    selector = sigmoid.Sigmoid(params, params, jnp.float32(-jnp.inf))
    uniforms = np.full((3, N), 0.5, np.float32)
    after, got = TURN(selector, FEATURES, jnp.asarray(LOG_P), np.arange(N), uniforms)
    assert not got.retained.any() and after.score == -np.inf
    np.testing.assert_array_equal(weights_of(after.params), weights_of(params))


def test_pretraining_learns_which_rows_the_classifier_believes():
    rows = 256
    believed = jax.random.bernoulli(jax.random.key(0), 0.6, (rows,))
    noise = jax.random.normal(jax.random.key(1), (rows, D))
    features = noise + 2.0 * jnp.where(believed, 1, -1)[:, None]
    log_p = jnp.where(believed, -0.1, -3.0)
    params = params_of(np.zeros_like(WEIGHTS))

    def one(selector, key):
        order, draws = jax.random.split(key)
        uniforms = jax.random.uniform(draws, (3, rows))
        order = jax.random.permutation(order, rows)
        return sigmoid.turn(selector, features, log_p, order, uniforms, rate=0.02, bag=32)

    start = sigmoid.Sigmoid(params, params, jnp.float32(-jnp.inf))
    keys = jax.random.split(jax.random.key(2), 20)
    assert jax.jit(lambda: jax.lax.scan(one, start, keys)[0])().score > -0.2
