"""Windows of a recording: where they lie, however its blocks are cut."""

import itertools

import numpy as np
import pytest

from data_pipelines.audio_windows import windows

SOUND = np.arange(60, dtype=np.int16)


def blocks(total, size):
    return (SOUND[:total][a : a + size] for a in range(0, total, size))


@pytest.mark.parametrize("block", [1, 7, 60])
@pytest.mark.parametrize(
    ("total", "size", "hop", "starts"),
    [
        (20, 10, 5, [0, 5, 10]),
        (21, 10, 5, [0, 5, 10, 11]),
        (24, 10, 5, [0, 5, 10, 14]),
        (24, 10, 10, [0, 10, 14]),
        (12, 10, 1, [0, 1, 2]),
        (10, 10, 5, [0]),
        (11, 10, 10, [0, 1]),
        (4, 10, 5, [0]),
        (0, 10, 5, []),
    ],
)
def test_windows_go_by_hops_and_the_last_ends_with_the_sound(block, total, size, hop, starts):
    found = list(windows(blocks(total, block), size, hop))
    assert [start for start, _ in found] == starts
    for start, samples in found:
        np.testing.assert_array_equal(samples, SOUND[start : min(start + size, total)])


def test_a_window_comes_as_soon_as_its_sound_is_read():
    read = []
    source = (read.append(i) or np.full(4, i, np.int16) for i in itertools.count())
    assert [start for start, _ in itertools.islice(windows(source, 6, 3), 3)] == [0, 3, 6]
    assert read == [0, 1, 2]
