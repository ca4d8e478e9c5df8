"""Rows put together frame by frame, and what a frame takes of several."""

import numpy as np
import pytest

from data_pipelines.overlap import OVERLAPS, reconstruct
from data_pipelines.rows import segments, windows


@pytest.mark.parametrize("stride", [1, 3])
def test_segments_are_put_together_again(stride):
    track = np.random.default_rng(0).normal(size=(23, 2)).astype(np.float32)
    rows = segments([5, 23], 4, stride=stride).of_tracks(np.array([1]))
    outputs = np.full((len(rows), 4, 2), np.nan, np.float32)
    for r in range(len(rows)):
        outputs[r, : rows.sizes[r]] = track[rows.frames(r)]
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(reconstruct(rows, order, outputs[order], 23), track)


def test_a_frame_in_several_windows_gets_their_mean():
    rows = windows([6], 4, 2)
    outputs = np.array([[0.0, 0, 0, 0], [1, 1, 2, 2]])
    assert reconstruct(rows, np.arange(2), outputs, 6).tolist() == [0, 0, 0.5, 0.5, 2, 2]


END, MIDDLE = np.exp(-0.5 * (np.array([1.5, 0.5]) / (0.22 * 4)) ** 2)


@pytest.mark.parametrize(
    ("overlap", "between"),
    [
        ("center_weighted", [1 / 4, 3 / 4]),
        ("gaussian_weighted", [END / (END + MIDDLE), MIDDLE / (END + MIDDLE)]),
        ("last", [1, 1]),
    ],
)
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_frame_trusts_the_row_in_whose_middle_it_is_or_the_last_one(overlap, between, order):
    rows, outputs = windows([6], 4, 2), np.array([[0.0, 0, 0, 0], [1, 1, 2, 2]])
    made = reconstruct(rows, np.array(order), outputs[order], 6, overlap)
    np.testing.assert_allclose(made, [0, 0, *between, 2, 2], rtol=1e-6)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_rows_of_a_few_frames_and_the_padding_behind_them_count_as_they_should(overlap):
    rows = windows([1, 2], 4, 2)
    alone = reconstruct(rows, np.array([0]), np.array([[3.0, 9, 9, 9]]), 1, overlap)
    pair = reconstruct(rows, np.array([1]), np.array([[3.0, 4, 9, 9]]), 2, overlap)
    assert alone.tolist() == [3] and pair.tolist() == [3, 4]
