"""Windows of a long recording, made from blocks as they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def windows(blocks: Iterable[np.ndarray], size: int, hop: int) -> Iterator[tuple[int, np.ndarray]]:
    """(first sample, int16 [size]) of windows, each `hop` samples after the one before.

    The last is shifted back, so that it ends with the sound. Sound that is shorter than a window is
    one, as long as it is. Memory holds a block and a window.

    Args:
        blocks: int16 [n] each, end to end.
        hop: at most `size`.
    """
    held, at, start = np.zeros(0, np.int16), 0, 0  # samples from `at` on; where the next begins
    for block in blocks:
        held = np.concatenate([held, block])
        while at + len(held) >= start + size:
            held, at = held[start - at :], start  # the last one may begin right behind this
            yield start, held[:size]
            start += hop
    total = at + len(held)
    if not start and total:
        yield 0, held
    elif total > at + size:
        yield total - size, held[-size:]
