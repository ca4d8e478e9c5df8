"""Quality of a retained set, where it is known which rows are right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from data_pipelines.noise import CROP_KINDS, LABEL_KINDS

RIGHT_KINDS = (CROP_KINDS[0], LABEL_KINDS[0])


class Quality(NamedTuple):
    """Shares of a retained set.

    Attributes:
        precision: of the retained rows that are right; NaN where none is retained.
        recall: of the right rows that are retained; NaN where none is right.
    """

    precision: float
    recall: float


def right_rows(
    label: np.ndarray, clean: np.ndarray | None, kind: np.ndarray | None
) -> np.ndarray | None:
    """bool [N]: rows with the label before noise and a whole picture; None where nobody knows.

    Args:
        label: [N] as trained on.
        clean: [N] labels before noise, as `label` has them (both numbers, or both names); None
            where the data do not say.
        kind: [N] names of the kind of noise; None where the data do not say.
    """
    if clean is None and kind is None:
        return None
    right = np.ones(len(label), bool)
    if clean is not None:
        right &= label == clean
    if kind is not None:
        right &= np.isin(kind, RIGHT_KINDS)
    return right


def quality(retained: np.ndarray, right: np.ndarray) -> Quality:
    """Precision and recall of a retained set, bool [N] each."""
    both = int((retained & right).sum())
    kept, known = int(retained.sum()), int(right.sum())
    nan = float("nan")
    return Quality(both / kept if kept else nan, both / known if known else nan)
