"""Prediction files: what is written is read back, in the order of the store, by any reader."""

import dataclasses
import io
import resource
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affect_jax.prediction_files import Predictions, find_tasks, read_split, splits, write_split
from affect_jax.tasks import Task, to_json
from data_pipelines.errors import UserError
from tests.stores import small_store

TASKS = (Task("valence", "values", 1, loss="mse"), Task("au", "labels", 12, loss="bce"))


@pytest.fixture
def store(tmp_path):
    return small_store(tmp_path / "store", frames=(11, 3), validation=(9, 14))


def raw_of(store, index):
    frames = np.arange(store.tracks[index].frames, dtype=np.float32)[:, None]
    return {"valence": frames + 100 * index, "au": np.tile(frames - index, 12)}


def test_tracks_that_come_in_any_order_are_written_in_the_stores(store, tmp_path):
    folder = tmp_path / "out"
    tracks = ((i, raw_of(store, i)) for i in (3, 1, 2))
    passed_on = [i for i, _ in write_split(folder, TASKS, store, [1, 2, 3], tracks)]
    assert passed_on == [3, 1, 2]
    read = read_split(folder, TASKS)
    valence, au = read[TASKS[0]], read[TASKS[1]]
    assert valence.tracks.tolist() == ["train1", "validation0", "validation1"]
    assert valence.groups.tolist() == valence.tracks.tolist()
    assert valence.bounds.tolist() == [0, 3, 12, 26]
    for place, index in enumerate((1, 2, 3)):
        rows = slice(*valence.bounds[place : place + 2])
        track = store.tracks[index]
        of_store = track.span
        np.testing.assert_array_equal(valence.raw[rows], raw_of(store, index)["valence"])
        np.testing.assert_array_equal(au.raw[rows], raw_of(store, index)["au"])
        np.testing.assert_array_equal(valence.frame[rows], store.frames[of_store])
        labels, mask = store.label("au")
        np.testing.assert_array_equal(au.label[rows], labels[of_store])
        np.testing.assert_array_equal(au.label_mask[rows], mask[of_store])
    assert sorted(p.name for p in folder.iterdir()) == ["au.npz", "valence.npz"]


def test_a_writer_that_is_stopped_leaves_no_file(store, tmp_path):
    folder = tmp_path / "out"
    writing = write_split(folder, TASKS, store, [0, 1], iter([(0, raw_of(store, 0))]))
    next(writing)
    writing.close()
    assert list(folder.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_no_file(store, tmp_path):
    folder, limit = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, limit[1]))  # a stand-in: no file is longer
    try:
        with pytest.raises(OSError, match="too large"):
            list(write_split(folder, TASKS, store, [0], [(0, raw_of(store, 0))]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert list(folder.iterdir()) == []


def test_a_file_holds_the_bytes_that_numpy_writes(store, tmp_path):
    list(
        write_split(tmp_path / "out", TASKS, store, [0, 1], ((i, raw_of(store, i)) for i in (0, 1)))
    )
    for task in TASKS:
        file = tmp_path / "out" / f"{task.name}.npz"
        with np.load(file) as arrays:
            np.savez(tmp_path / "numpy.npz", **arrays)
        assert file.read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_memory_does_not_grow_with_the_split(tmp_path):
    store = small_store(tmp_path / "store", frames=(2000,) * 40, validation=())

    def peak(rows):
        tracemalloc.reset_peak()
        for _ in write_split(tmp_path, TASKS, store, rows, ((i, raw_of(store, i)) for i in rows)):
            pass
        read_split(tmp_path, TASKS)
        return tracemalloc.get_traced_memory()[1]

    tracemalloc.start()
    try:
        small, small, large = peak(range(10)), peak(range(10)), peak(range(40))  # imports at first
    finally:
        tracemalloc.stop()
    assert large < small + 1e5 and (tmp_path / "au.npz").stat().st_size > 6e6


def test_predictions_that_are_replaced_while_they_are_open_stay_what_they_were(store, tmp_path):
    list(write_split(tmp_path, TASKS[:1], store, [0], [(0, raw_of(store, 0))]))
    file = tmp_path / "valence.npz"
    old = Predictions.read(file)
    dataclasses.replace(old, raw=old.raw + 1).write(file)
    np.testing.assert_array_equal(old.raw, raw_of(store, 0)["valence"])
    np.testing.assert_array_equal(Predictions.read(file).raw, old.raw + 1)


def test_a_folder_that_is_being_written_is_no_split(tmp_path):
    for name in ("test", "validation", "test.writing-0a1b2c3d"):
        (tmp_path / name).mkdir()
    assert splits(tmp_path) == ["test", "validation"]


def test_the_task_table_lies_in_the_folder_or_up_to_two_above(tmp_path):
    folder = tmp_path / "run" / "predictions" / "test"
    folder.mkdir(parents=True)
    with pytest.raises(UserError, match=r"no tasks\.json here or up to two folders above"):
        find_tasks(folder)
    (tmp_path / "run" / "tasks.json").write_text(to_json(TASKS[:1]))
    assert [task.name for task in find_tasks(folder)] == ["valence"]
    (folder / "tasks.json").write_text(to_json(TASKS[1:]))
    assert [task.name for task in find_tasks(folder)] == ["au"]
    (folder / "tasks.json").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not a task table"):
        find_tasks(folder)


def test_what_is_no_prediction_file_is_named(tmp_path):
    path = tmp_path / "valence.npz"
    np.savez(path, raw=np.zeros(3))
    with pytest.raises(UserError, match=r"valence\.npz: not a file of predictions"):
        Predictions.read(path)
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"valence\.npz: not a file of predictions"):
            Predictions.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(tracks=np.array(["../../a", "b"])), r"odd\.npz: track '\.\./\.\./a': the name holds"),
        (dict(raw=np.zeros((4, 1))), "raw has 4 rows, track 5"),
        (dict(raw=np.array([["a"]] * 5)), "raw holds <U1, expected numbers"),
        (dict(frame=np.array([1, 1.5, 2, 1, 2])), "frame holds float64, expected whole numbers"),
        (dict(frame=np.array(list("12312"))), "frame holds <U1"),
        (dict(track=np.array([0.0, 0, 0, 1, 1])), "track holds float64"),
        (dict(track=np.zeros((5, 1), int)), "track has 2 axes, expected 1"),
        (dict(groups=np.array([["a"], ["b"]])), "groups has 2 axes"),
        (dict(tracks=np.array(["a", "a"])), "track 'a' comes twice"),
        (dict(label=np.zeros((5, 1)), label_mask=np.ones((5, 1))), "label_mask holds float64"),
        (dict(label=np.zeros((5, 1)), label_mask=np.ones(5, bool)), r"label_mask is \(5,\), label"),
        (dict(label=np.zeros((5, 1)), label_mask=np.ones((4, 1), bool)), "label_mask has 4 rows"),
        (dict(label=np.zeros((5, 1))), "label and label_mask come together"),
        (dict(label=np.full(5, np.nan), label_mask=np.arange(5) > 2), "is no number"),
        (dict(groups=np.array(["a"])), "1 groups for 2 tracks"),
        (dict(track=np.array([0, 1, 0, 1, 1])), "track must ascend"),
        (dict(track=np.array([0, 0, 1, 1, 2])), "track must ascend, within the number of tracks"),
    ],
)
def test_arrays_that_do_not_belong_together_are_named(tmp_path, change, message):
    fields = dict(
        tracks=np.array(["a", "b"]),
        track=np.array([0, 0, 0, 1, 1]),
        frame=np.array([1, 2, 3, 1, 2]),
        raw=np.zeros((5, 1)),
    )
    Predictions(**fields).write(tmp_path / "whole.npz")
    Predictions.read(tmp_path / "whole.npz")
    Predictions(**fields | change).write(tmp_path / "odd.npz")
    with pytest.raises(UserError, match=message):
        Predictions.read(tmp_path / "odd.npz")


def whole_file():
    fields = dict(
        tracks=np.array(["a", "b"]),
        track=np.array([0, 0, 0, 1, 1], np.int32),
        frame=np.array([1, 2, 3, 1, 2], np.int32),
        raw=np.arange(5, dtype=np.float32)[:, None],
        label=np.zeros((5, 1), np.float32),
        label_mask=np.ones((5, 1), bool),
    )
    buffer = io.BytesIO()
    np.savez(buffer, **fields)
    return buffer.getvalue()


WHOLE = whole_file()


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path_factory, at, byte, cut):
    path = tmp_path_factory.getbasetemp() / "damaged_predictions.npz"
    path.write_bytes(WHOLE[:at] if cut else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :])
    try:
        found = Predictions.read(path)
        np.testing.assert_array_equal(found.raw[:, 0], np.arange(5))
    except UserError as error:
        assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
