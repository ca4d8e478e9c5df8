import io
import sys

import pytest

from affect_jax.progress import Progress, table
from affect_jax.run import Run
from data_pipelines.errors import UserError

RECORD = {"step": 3, "epoch": 1, "lr": 0.1, "loss": {"total": 0.5}}


def test_events_that_a_full_disk_refuses_are_one_line_and_nobody_waits_for_them(tmp_path):
    expected = f"^{tmp_path}/events: TensorBoard's events cannot be written"
    with open("/dev/full", "wb", buffering=0) as full, Progress(Run(tmp_path)) as progress:
        progress._events._writer._py_recordio_writer._writer = full
        with pytest.raises(UserError, match=expected):
            progress.evaluated(RECORD, 2, ())


def test_events_are_what_tensorboard_reads(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    with Progress(Run(tmp_path)) as progress:
        scores = {"validation": {"valence/ccc": 0.25}}
        record = RECORD | {"scores": scores, "group_lr": {"head": 0.01}}
        progress.evaluated(record, 2, ("valence/ccc",))
    (file,) = (tmp_path / "events").glob("*.tfevents.*")
    data, found, at = file.read_bytes(), {}, 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + size])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        at += 16 + size
    assert found.keys() == {
        (name, 3) for name in ("loss/total", "learning_rate", "frames_per_second")
    } | {("validation/valence/ccc", 3), ("learning_rate/head", 3)}
    assert found["validation/valence/ccc", 3] == 0.25


def test_a_terminal_that_was_closed_stops_nothing(tmp_path, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise OSError(5, "Input/output error")

    with Progress(Run(tmp_path)) as progress:
        monkeypatch.setattr(sys, "stderr", Closed())
        progress.evaluated(RECORD, 2, ())


@pytest.mark.parametrize("scores", [{}, {"kind/confusion": [[1, 0], [0, 1]]}])
def test_a_split_without_a_score_that_is_a_number_is_one_line_and_no_table(scores):
    assert table(scores, {"oracle": {"kind/uar": 0.9}}, "ours").startswith("no score: ")


def test_a_fold_without_a_score_is_a_column_of_dashes():
    lines = table({"kind/uar": 0.5}, {"fold1": {"kind/uar": 0.25}, "fold2": {}}, "pooled")
    assert [line.split() for line in lines.splitlines()] == [
        ["pooled", "fold1", "fold2"],
        ["kind/uar", "0.500", "0.250", "-"],
    ]
