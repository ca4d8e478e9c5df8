"""Utterances of CMU-MOSI are a store whose tracks are videos, or one line."""

import numpy as np
import pytest

from data_pipelines import prepare, verify
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import mosi
from data_pipelines.store import Store
from tests.inputs import utterances


def test_a_video_is_a_track_and_its_utterances_are_the_frames(tmp_path, store):
    arrays = utterances(tmp_path / "in" / "test.npz")
    report = Report()
    mosi.fill(tmp_path / "in", store, report)
    made = Store(store)
    assert [(t.name, t.split, t.group, t.frames) for t in made.tracks] == [
        ("x", "test", "x", 3),
        ("y", "test", "y", 2),
    ]
    assert made.frames.tolist() == [1, 2, 3, 1, 2]
    assert made.label("sentiment")[0][:, 0].tolist() == [1, 0, 1, 1, 0]
    for name in ("text", "audio", "video"):
        np.testing.assert_array_equal(made.feature(name), arrays[name])
        assert made.features[name].trained_on == ("train",)
    assert report.notes == ["splits that are not there: train"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(utterance=np.array([2, 1, 3, 1, 2])), "rows must be sorted by video_index, then utt"),
        (dict(video_index=np.array([0, 1, 0, 1, 1])), "rows must be sorted"),
        (dict(video_index=np.array([0, 0, 0, 1, 2])), "video_index leaves 0 to 1"),
        (dict(label=np.array([0, 1, 2, 0, 0])), r"label\[2\] is 2, expected 0 or 1"),
        (dict(text=np.zeros((4, 3))), r"text has shape \(4, 3\), expected \[5, width\]"),
        (dict(text=np.zeros(5)), r"text has shape \(5,\)"),
    ],
)
def test_malformed_utterance_files_are_refused(tmp_path, store, changes, message):
    utterances(tmp_path / "in" / "train.npz", **changes)
    with pytest.raises(UserError, match=message):
        mosi.fill(tmp_path / "in", store)


def test_an_utterance_file_that_lacks_an_array_names_it(tmp_path, store):
    np.savez(tmp_path / "train.npz", videos=np.array(["x"]))
    with pytest.raises(UserError, match="has no 'video_index', only videos"):
        mosi.fill(tmp_path, store)
    with pytest.raises(UserError, match=r"no <split>\.npz in it"):
        mosi.fill(store.parent / "elsewhere", store)


def test_the_real_utterances_have_the_sizes_of_their_description(shared, store):
    folder = shared / "data" / "mosi"
    assert prepare.main(["--source=mosi", f"--input={folder}", f"--store={store}"]) == 0
    made = Store(store)
    assert (len(made.tracks), made.frames_total) == (62, 1447)
    assert [f.size for f in made.features.values()] == [100, 73, 100]
    assert made.label("sentiment")[0].sum() == 709 and made.label("sentiment")[1].all()
    assert verify.check(made).problems == []
