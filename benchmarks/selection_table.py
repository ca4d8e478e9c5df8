"""Table of the noise bench: scores, gains and what was kept, over several seeds.

Cells of scores: mean and standard deviation over the seeds, in brackets the 95 % interval of the
mean by resampling groups of the scored split. What has no row to train on in one seed has none of
these. Gains are differences of the average accuracy, seed by seed, to the classifier on all rows
and to the one on as many rows drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from affect_jax.report import markdown
from affect_jax.report.interval import DrawnScores, bootstrap_by_group
from affect_jax.selection.quality import Quality

# Metrics of the task, and how the paper calls them: accuracy of a class is its recall.
SCORES = {
    "accuracy": "accuracy",
    "recall_fixed": "average accuracy",
    "f1_fixed": "macro F1, mean of classes",
    "f1_of_averages": "macro F1 of the paper",
}
GAINS = {"all": "gain over all rows", "random": "gain over random rows"}
GAIN = "recall_fixed"  # of which gains are
SCORED = {metric: metric for metric in SCORES} | dict.fromkeys(GAINS, GAIN)  # by column


class Result(NamedTuple):
    """What came of one seed.

    Attributes:
        scores: of the classifier; None where no row was kept.
        share: of the rows that were kept.
        found: of the rows kept; None where nobody knows which are right.
        by_kind: {kind of noise: share kept}.
        p_retain: {kind of noise: mean P(retain)} of a selector.
    """

    scores: DrawnScores | None
    share: float
    found: Quality | None = None
    by_kind: Mapping[str, float] = {}
    p_retain: Mapping[str, float] = {}


class Row(NamedTuple):
    """A method's result of one seed, those on all rows, and on as many drawn at random."""

    ours: Result
    all: Result | None = None
    random: Result | None = None


def table(rows: Mapping[str, Sequence[Row]]) -> str:
    """The table in Markdown, a line a method.

    Args:
        rows: {method: one a seed}.
    """
    cells = _scores(rows)
    kinds = next((r.ours.by_kind for own in rows.values() for r in own if r.ours.by_kind), {})
    heads = ["trained on", *SCORES.values(), *GAINS.values(), "share kept", "precision", "recall"]
    heads += [f"{what} of {' / '.join(kinds)}" for what in ("kept", "P(retain)") if kinds]
    lines = []
    for name, own in rows.items():
        ours = [row.ours for row in own]
        found = [one.found for one in ours if one.found]
        line = [name, *(cells.get((name, column), "") for column in (*SCORES, *GAINS))]
        if empty := sum(one.scores is None for one in ours):
            line[1] = f"no row in {empty} of {len(ours)} seeds"
        line.append(_mean([one.share for one in ours]))
        line += [_mean([f.precision for f in found]), _mean([f.recall for f in found])]
        for tables in ([o.by_kind for o in ours], [o.p_retain for o in ours]) if kinds else ():
            known = [t for t in tables if t]
            line.append(" / ".join(_mean([t[k] for t in known]) for k in kinds) if known else "")
        lines.append(line)
    return markdown.table(heads, lines)


def _scores(rows: Mapping[str, Sequence[Row]]) -> dict[tuple[str, str], str]:
    """{(method, column): cell}; none where a seed has no such classifier."""
    minus: dict[tuple[str, str], list[tuple[Result, Result | None]]] = {}
    for name, own in rows.items():
        for metric in SCORES:
            minus[name, metric] = [(row.ours, None) for row in own]
        for column in GAINS:
            if all(getattr(row, column) for row in own):
                minus[name, column] = [(row.ours, getattr(row, column)) for row in own]
    minus = {
        key: pairs
        for key, pairs in minus.items()
        if all(one.scores for pair in pairs for one in pair if one)
    }

    def values(counts: np.ndarray) -> list[np.ndarray]:
        """[draws, seeds] of each cell."""
        drawn: dict[int, np.ndarray] = {}  # many cells are of one classifier

        def of(result: Result, metric: str) -> np.ndarray:
            scores = result.scores
            if id(scores) not in drawn:
                drawn[id(scores)] = scores(counts)
            (column,) = (i for i, n in enumerate(scores.names) if n.endswith(f"/{metric}"))
            return drawn[id(scores)][:, column]

        return [
            np.stack([of(a, SCORED[column]) - (of(b, GAIN) if b else 0) for a, b in pairs], 1)
            for (_, column), pairs in minus.items()
        ]

    if not minus:
        return {}
    first = next(iter(minus.values()))[0][0].scores
    exact = [value[0] for value in values(np.ones((1, first.groups)))]
    low, high = bootstrap_by_group(
        lambda counts: np.stack([value.mean(1) for value in values(counts)], 1), first.groups
    )
    return {
        key: _cell(value, *limits, signed=key[1] in GAINS)
        for key, value, *limits in zip(minus, exact, low, high)
    }


def _cell(values: np.ndarray, low: float, high: float, signed: bool) -> str:
    sign = "+" if signed else ""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{spread} ({low:{sign}.3f} to {high:{sign}.3f})"


def _mean(values: Sequence[float]) -> str:
    return markdown.score(np.mean(values)) if values else ""
