"""Frames that are nearest to others."""

import numpy as np

from data_pipelines.nearest_frames import nearest_frames


def test_the_nearest_of_two_equally_near_frames_is_the_earlier():
    wanted, known = np.arange(1, 11), np.array([3, 7, 8])
    assert known[nearest_frames(wanted, known)].tolist() == [3, 3, 3, 3, 3, 7, 7, 8, 8, 8]
    assert nearest_frames(wanted, np.array([5])).tolist() == [0] * 10
