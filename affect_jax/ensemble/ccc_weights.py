"""Weights of members for the best CCC, from joint moments alone.

The CCC of a weighted sum of predictions follows from the members' means, their covariances and
those with the label, so frames are read once, however many weights, folds and methods are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from affect_jax.metrics import Moments
from affect_jax.metrics.regression import ccc_of, pearson_of

ROUNDS = 25  # of greedy selection


class Joint(NamedTuple):
    """Moments of M predictions and their label over n labelled frames, in float64.

    Attributes:
        n: number of frames.
        mean: [M], of each prediction.
        scatter: [M, M], sums of products of deviations from these means.
        cross: [M], sums of products with the label's deviation.
        mean_t, m2_t: mean of the label, and its sum of squared deviations.
    """

    n: int
    mean: np.ndarray
    scatter: np.ndarray
    cross: np.ndarray
    mean_t: float
    m2_t: float

    @classmethod
    def of(cls, pred_nm: np.ndarray, target_n: np.ndarray) -> Joint:
        """Moments of labelled frames."""
        n, members = pred_nm.shape
        if not n:
            return cls(0, np.zeros(members), np.zeros((members, members)), np.zeros(members), 0, 0)
        p, t = np.asarray(pred_nm, np.float64), np.asarray(target_n, np.float64)
        mean, mean_t = p.mean(0), t.mean()
        p, t = p - mean, t - mean_t
        return cls(n, mean, p.T @ p, p.T @ t, float(mean_t), float(t @ t))

    def merge(self, other: Joint) -> Joint:
        """Moments of both together (Chan's formula)."""
        n = self.n + other.n
        share = other.n / max(n, 1)
        pairs = self.n * share
        gap, gap_t = other.mean - self.mean, other.mean_t - self.mean_t
        return Joint(
            n,
            self.mean + gap * share,
            self.scatter + other.scatter + np.outer(gap, gap) * pairs,
            self.cross + other.cross + gap * gap_t * pairs,
            self.mean_t + gap_t * share,
            self.m2_t + other.m2_t + gap_t**2 * pairs,
        )

    def moments(self, weights: np.ndarray, scale: float = 1, shift: float = 0) -> Moments:
        """Moments of scale * (weights . predictions) + shift and the label, for one dimension."""
        one = (
            self.n,
            scale * (weights @ self.mean) + shift,
            self.mean_t,
            scale**2 * (weights @ self.scatter @ weights),
            self.m2_t,
            scale * (weights @ self.cross),
        )
        return Moments(*(np.array([x]) for x in one))


def matching(joint: Joint, weights: np.ndarray) -> tuple[float, float]:
    """(scale, shift) that give the weighted sum the label's mean and deviation.

    With them its CCC is its Pearson correlation. A constant sum becomes the label's mean.
    """
    m = joint.moments(weights)
    spread = float(m.m2_p[0])
    scale = float(np.sqrt(joint.m2_t / spread)) if spread > 0 else 0.0
    return scale, joint.mean_t - scale * float(m.mean_p[0])


def quality(joint: Joint, weights: np.ndarray, match: bool) -> float:
    """CCC of the weighted sum; with `match` the one it has after `matching`."""
    return (pearson_of if match else ccc_of)(joint.moments(weights))


def mean(members: int) -> np.ndarray:
    """Equal weights."""
    return np.full(members, 1 / members)


def balanced(joint: Joint) -> np.ndarray:
    """Weights in proportion to one over a member's deviation, [M]: the mean of standardised ones.

    A member that never moves gets none, unless all are so.
    """
    spread = np.sqrt(np.diag(joint.scatter))
    weights = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    return weights / weights.sum() if weights.any() else mean(len(spread))


def convex(joint: Joint, match: bool) -> np.ndarray:
    """Weights >= 0 with sum 1 of the highest `quality`, [M].

    Members are not standardised before: all predict the same label in its own unit, and the linear
    change of `matching` comes after the sum. Where the sum correlates positively with the label,
    both measures are quasi-concave in the weights, so a local optimum from there is global.
    """
    members = len(joint.mean)
    start = mean(members)
    if start @ joint.cross <= 0:
        best = max(range(members), key=lambda m: quality(joint, np.eye(members)[m], match))
        start = np.eye(members)[best]
        if joint.cross[best] <= 0:
            return start  # nobody knows anything about the label
    # In units of the label's variance, for a solver whose tolerances are absolute.
    unit = joint.m2_t or float(joint.n)
    scatter, cross, spread = joint.scatter / unit, joint.cross / unit, joint.m2_t / unit
    gap = (joint.mean - joint.mean_t) * np.sqrt(joint.n / unit)

    def negative(w: np.ndarray) -> tuple[float, np.ndarray]:
        along, covariance = scatter @ w, cross @ w
        variance = w @ along
        if match:
            norm = np.sqrt(max(variance * spread, 1e-30))
            gradient = cross / norm - covariance * along / (norm * max(variance, 1e-30))
            return -covariance / norm, -gradient
        whole = variance + spread + (w @ gap) ** 2
        slope = 2 * (along + (w @ gap) * gap)
        return -2 * covariance / whole, -2 * (cross - covariance * slope / whole) / whole

    solved = optimize.minimize(
        negative,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.clip(solved.x, 0, 1)
    weights /= weights.sum()
    return weights if negative(weights)[0] <= negative(start)[0] else start


def greedy(members: int, score: Callable[[np.ndarray], float], rounds: int = ROUNDS) -> np.ndarray:
    """Forward selection with replacement: add the member that helps most, keep the best round.

    Args:
        score: weights [M] with sum 1 -> what is to be high.

    Returns:
        How often each member was taken up to that round, as shares, [M].

    Source: Caruana et al., Ensemble selection from libraries of models, ICML 2004.
    """
    counts, best, kept = np.zeros(members), -np.inf, np.zeros(members)
    for _ in range(rounds):
        tried = [counts + one for one in np.eye(members)]
        scores = [score(c / c.sum()) for c in tried]
        counts = tried[int(np.argmax(scores))]
        if max(scores) > best:
            best, kept = max(scores), counts
    return kept / kept.sum()
