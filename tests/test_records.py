"""Records of others are read as arrays, never run, and wrong ones end in one line."""

import dataclasses
import os
import pickle

import numpy as np
import pytest

from data_pipelines import array_pickles, records
from data_pipelines.errors import UserError

F = np.float32


def record(seed: int, label=(0.5, -0.5), size: int = 3) -> dict:
    x = np.random.default_rng(seed).standard_normal(size + 2).astype(F)
    return {"embedding": x[:size], "prediction": x[size:], "label": np.array(label, F)}


def save(path, value, protocol: int = pickle.HIGHEST_PROTOCOL):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_kind_come_back_as_they_were_written(protocol, tmp_path):
    shared = np.arange(6, dtype=F).reshape(2, 3)
    value = {
        "a": [shared, shared, shared.T, np.asfortranarray(shared)],
        "b": (np.zeros((0, 4), ">f8"), np.array(7), np.array(["x", "yz"]), np.array([True])),
        "c": [np.float32(1.5), np.int64(-3), None, True, 2**70, -1.25, "text", b"\xff\0"],
    }
    read = array_pickles.load(save(tmp_path / "a.pkl", value, protocol))
    for name in value:
        assert len(read[name]) == len(value[name])
        for got, expected in zip(read[name], value[name]):
            np.testing.assert_array_equal(got, expected)
            assert type(got) is type(expected)
            if isinstance(expected, np.ndarray):
                assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    assert read["a"][0] is read["a"][1]


class Call:
    def __init__(self, function, *given):
        self.call = function, given

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call(os.system, "touch /tmp/never"), "names 'posix.system', and only numpy arrays"),
        (Call(np.ndarray, (10**12,)), "not a pickle of arrays"),
        (Call(eval, "1"), "eval', and only numpy"),
        ({"a": np.array([{}, None])}, "an array of type 'O8'"),
        (np.memmap, "names 'numpy.memmap'"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_that_calls_something_is_refused_in_one_line(value, message, protocol, tmp_path):
    path = save(tmp_path / "a.pkl", value, protocol)
    with pytest.raises(UserError) as error:
        array_pickles.load(path)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_pickle_that_is_cut_off_is_refused_wherever_it_ends(tmp_path):
    whole = save(tmp_path / "a.pkl", {"v/1.jpg": record(0)}).read_bytes()
    for size in range(0, len(whole) - 1, 7):
        (tmp_path / "a.pkl").write_bytes(whole[:size])
        with pytest.raises(UserError, match="not a pickle of arrays that is whole"):
            array_pickles.load(tmp_path / "a.pkl")


def test_an_array_that_claims_more_than_its_bytes_is_refused(tmp_path):
    text = pickle.dumps(np.zeros(3, F), 4)
    assert text.count(b"K\x03\x85") == 1
    (tmp_path / "a.pkl").write_bytes(text.replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"))
    with pytest.raises(UserError, match=r"an array \(2147483647,\) of float32 in 12 bytes"):
        array_pickles.load(tmp_path / "a.pkl")


def test_frames_are_read_by_track_and_number_whatever_their_order(tmp_path):
    table = {
        "b/00002.jpg": record(1),
        "a_left\\00010.jpg": record(2, (-5, -5)),
        "b/00001.jpg": record(3, (np.nan, 0.25)),
        "b/00003.jpg": {**record(6), "label": None},
        "alone.jpg": record(4),
        "b/cover.jpg": record(5),
    }
    read = records.read_frames(save(tmp_path / "train.pkl", table))
    assert list(read) == ["a_left", "b"]
    np.testing.assert_array_equal(read["b"].frames, [1, 2, 3])
    np.testing.assert_array_equal(read["b"].embedding[0], table["b/00001.jpg"]["embedding"])
    np.testing.assert_array_equal(read["b"].prediction[1], table["b/00002.jpg"]["prediction"])
    expected = np.array([[np.nan, 0.25], [0.5, -0.5], [np.nan, np.nan]], F)
    np.testing.assert_array_equal(read["b"].label, expected)
    assert np.isnan(read["a_left"].label).all() and read["a_left"].frames.tolist() == [10]


def test_an_npz_of_the_same_is_read_the_same(tmp_path):
    table = {f"v/{i:05d}.jpg": record(i) for i in range(1, 4)}
    arrays = {name: np.stack([r[name] for r in table.values()]) for name in records.ARRAYS}
    np.savez(tmp_path / "a.npz", keys=np.array(list(table)), **arrays)
    one = records.read(tmp_path / "a.npz")["v"]
    other = records.read(save(tmp_path / "a.pkl", table))["v"]
    for name in ("frames", *records.ARRAYS):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_written_records_are_what_pickle_itself_reads_and_what_is_read_back(tmp_path):
    label = np.array([[0.5, -0.5], [np.nan, np.nan]], F)
    written = records.FrameRecords(np.array([7, 9], np.int32), None, label + 1, label)
    assert records.write_frames(tmp_path / "a.pkl", {"v": written}) == 2
    table = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert list(table) == ["v/00007.jpg", "v/00009.jpg"]
    assert table["v/00007.jpg"]["embedding"] is None
    assert table["v/00007.jpg"]["prediction"].dtype == F
    written = dataclasses.replace(written, prediction=np.zeros((2, 2), F))
    records.write_frames(tmp_path / "a.pkl", {"v": written})
    read = records.read_frames(tmp_path / "a.pkl")["v"]
    assert read.embedding is None
    np.testing.assert_array_equal(read.label, label)
    np.testing.assert_array_equal(read.frames, [7, 9])


def window(track: str, start: int, end: int, steps: int = 4) -> dict:
    x = np.arange(steps * 3, dtype=F).reshape(steps, 3) + start
    span = {"vid": track, "start_frame": start, "end_frame": end, "meta": {"fps": 30.0}}
    return {**span, "embedding": x, "prediction": x[:, :2]}


def test_windows_become_a_row_a_step_whose_spans_ascend(tmp_path):
    table = {"k1": window("v", 60, 180), "k0": window("v", 0, 120), "k2": window("w", 0, 10)}
    read = records.read(save(tmp_path / "val.pkl", table))
    assert list(read) == ["v", "w"]
    starts = [0, 30, 60, 60, 90, 90, 120, 150]
    np.testing.assert_array_equal(read["v"].spans[:, 0], starts)
    np.testing.assert_array_equal(read["v"].spans[:, 1] - starts, 30)
    np.testing.assert_array_equal(read["w"].spans[:2], [[0, 2.5], [2.5, 5]])
    np.testing.assert_array_equal(read["v"].embedding[1], table["k0"]["embedding"][1])
    np.testing.assert_array_equal(read["v"].prediction[-1], table["k1"]["prediction"][-1])
    with pytest.raises(UserError, match="records of windows, expected one a frame"):
        records.read_frames(tmp_path / "val.pkl")


def test_steps_of_a_window_cut_short_stay_in_time_order(tmp_path):
    table = {"k0": window("v", 60, 180), "k1": window("v", 120, 195)}
    spans = records.read(save(tmp_path / "val.pkl", table))["v"].spans
    assert (np.diff(spans, axis=0) >= 0).all()
    assert spans[-3:].tolist() == [[150, 180], [157.5, 180], [176.25, 195]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "a list, expected a dict of records"),
        ({}, "empty, expected a dict"),
        ({"v/1.jpg": np.zeros(2)}, "'v/1.jpg' is a ndarray, expected a dict of arrays"),
        ({"v/1.jpg": record(0), "v/2.jpg": {}}, "1 of 2 records have no embedding"),
        ({"v/1.jpg": record(0), "v/2.jpg": record(0, size=4)}, "embedding is float32"),
        ({"v/1.jpg": {**record(0), "label": "high"}}, "label is 'high', expected an array"),
        ({"v/1.jpg": {**record(0), "prediction": np.full(2, np.nan)}}, "prediction is not finite"),
        ({"v/1.jpg": record(0), "v/01.jpg": record(1)}, "are the same image"),
        ({"v/0.jpg": record(0)}, "no image number from 1"),
        ({"cover.jpg": record(0)}, "no key of the form <track>/00001.jpg; its keys: cover.jpg"),
        ({"k": {**window("v", 5, 5)}}, "expected a name and two frames, 0 <= start < end"),
        ({"k": {**window("v", 0, 5), "embedding": np.zeros((3, 2))}}, "predictions of others"),
    ],
)
def test_a_wrong_record_is_named(table, message, tmp_path):
    with pytest.raises(UserError) as error:
        records.read(save(tmp_path / "a.pkl", table))
    assert message in str(error.value) and "\n" not in str(error.value)
