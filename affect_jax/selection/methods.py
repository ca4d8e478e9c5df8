"""Methods that say which training rows are kept without a policy of their own.

Each ranks the rows by how bad they look, and where the method itself says which rows are bad, also
how many: a rate or another keep file may ask for another number.

small_loss  the loss of a run is lowest on them; high losses are mostly those of wrong labels, as
            networks learn these last. Han et al., "Co-teaching: robust training of deep neural
            networks with extremely noisy labels", 2018, section 2.
confident   confident learning on predictions of runs that have not seen them. Northcutt et al.,
            "Confident learning: estimating uncertainty in dataset labels", 2021; by cleanlab.
oracle      they are right, as a store of data_pipelines.noise knows.
random      drawn at random: what any method has to beat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from affect_jax.selection.candidates import PREFIX, Candidates
from affect_jax.selection.quality import RIGHT_KINDS
from data_pipelines.errors import UserError
from data_pipelines.plan import generator


class Ranking(NamedTuple):
    """How bad N rows look.

    Attributes:
        badness: float [N], the lowest is kept first.
        kept: bool [N], those that the method keeps by itself; None where it only ranks.
    """

    badness: np.ndarray
    kept: np.ndarray | None = None


def small_loss(rows: Candidates) -> Ranking:
    """Cross entropy of each row's label by the run, in evaluation mode."""
    return Ranking(-_log_probabilities(rows))


def confident(rows: Candidates) -> Ranking:
    """Rows that confident learning takes for mislabelled, the least probable label last.

    Raises:
        UserError: cleanlab is not installed, or predictions are not held out.
    """
    if not rows.held_out:
        raise UserError(
            f"confident: needs predictions of runs that have not seen the row: --run={PREFIX}RUNS, "
            "a folder of --mode=folds."
        )
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise UserError(
            'confident: cleanlab is missing: pip install "affect_jax[noise]".'
        ) from None
    log_probabilities = log_softmax(rows.logits.astype(np.float64), -1)
    # Classes without a label have no threshold: they are left out.
    classes, labels = np.unique(rows.labels, return_inverse=True)
    if len(classes) == 1:
        return Ranking(-_log_probabilities(rows), np.ones(len(labels), bool))
    probabilities = np.exp(log_softmax(log_probabilities[:, classes], -1))
    issues = find_label_issues(labels, probabilities, n_jobs=1)
    # A probability is below 1: what is no issue comes before what is one.
    return Ranking(issues - np.exp(_log_probabilities(rows)), ~issues)


def oracle(rows: Candidates) -> Ranking:
    """Right rows; of the others those come first of which something is right.

    Raises:
        UserError: the store does not say which rows are right.
    """
    if rows.right is None:
        raise UserError(
            f"{rows.store.path}: has no label 'clean' or 'kind', so nobody knows which rows are "
            "right. Stores of python -m data_pipelines.noise have."
        )
    badness = np.where(rows.right, 0.0, 2.0)
    if rows.kind is not None:
        badness[~np.isin(rows.kind, (*RIGHT_KINDS, "none", "wrong"))] = 1.0
    return Ranking(badness, rows.right)


def random(rows: Candidates) -> Ranking:
    """No order: what decides between equals decides all."""
    return Ranking(np.zeros(len(rows.labels)))


METHODS: dict[str, Callable[[Candidates], Ranking]] = {
    "small_loss": small_loss,
    "confident": confident,
    "oracle": oracle,
    "random": random,
}


def chosen(ranking: Ranking, count: int | None, seed: int) -> np.ndarray:
    """bool [N]: the `count` rows that look least bad, equals in an order drawn by the seed.

    Args:
        count: from 1 to N; None: those that the method keeps by itself.
    """
    if count is None:
        return ranking.kept
    ties = generator(seed, "selection").random(len(ranking.badness))
    kept = np.zeros(len(ranking.badness), bool)
    kept[np.lexsort((ties, ranking.badness))[:count]] = True
    return kept


def _log_probabilities(rows: Candidates) -> np.ndarray:
    """float64 [N]: log probability of each row's label."""
    log_probabilities = log_softmax(rows.logits.astype(np.float64), -1)
    return np.take_along_axis(log_probabilities, rows.labels[:, None], 1)[:, 0]
