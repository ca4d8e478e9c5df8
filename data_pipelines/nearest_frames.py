"""The frame that is nearest to another, among those that are known."""

from __future__ import annotations

import numpy as np


def nearest_frames(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """int [n]: index of the known frame that is nearest to each wanted one, the earlier of two.

    Args:
        wanted: int [n], image numbers.
        known: int [m], at least one, ascending.
    """
    right = np.searchsorted(known, wanted).clip(max=len(known) - 1)
    left = (right - 1).clip(min=0)
    return np.where(wanted - known[left] <= abs(known[right] - wanted), left, right)
