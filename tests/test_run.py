import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import config as configs
from affect_jax.run import Run
from affect_jax.train_run import train_run
from data_pipelines.errors import UserError
from data_pipelines.replace_file import replace_json, to_json
from data_pipelines.statistics import Statistics


def lines(*steps):
    return [to_json({"step": step, "epoch": step}) + "\n" for step in steps]


def logged(folder, text):
    run = Run(folder)
    run.metrics_file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return run


@pytest.mark.parametrize("known", [lines(1, 2), None])  # as the checkpoint says; one of before
def test_the_log_is_cut_back_to_the_checkpoint_and_loses_a_line_that_a_kill_cut(
    known, tmp_path, caplog
):
    run = logged(tmp_path, "".join(lines(1, 2, 3)) + '{"step": 4, "sc')
    assert run.set_log(known, 2) == lines(1, 2) and not caplog.text
    assert run.metrics_file.read_text() == "".join(lines(1, 2))
    run.append({"step": 3, "epoch": 3})
    assert [r["step"] for r in run.records()] == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_log_that_is_gone_or_cut_is_written_again_from_the_checkpoint(tmp_path, caplog):
    for text in ("", "".join(lines(1)), lines(1)[0] + lines(2)[0][:9]):
        run = logged(tmp_path, text)
        assert run.set_log(lines(1, 2), 2) == lines(1, 2)
        assert run.metrics_file.read_text() == "".join(lines(1, 2))
        assert "metrics.jsonl: damaged; 2 lines are as the checkpoint has them" in caplog.text
    run.metrics_file.unlink()
    assert run.set_log(lines(1, 2), 2) == lines(1, 2) and run.records()


@pytest.mark.parametrize("place", [3, 12, 18, 25])
def test_a_flipped_bit_costs_no_line_and_the_damaged_log_is_kept_aside(place, tmp_path, caplog):
    text = bytearray("".join(lines(1, 2, 3)).encode())
    text[place] ^= 128 if place == 3 else 1
    run = logged(tmp_path, bytes(text))
    assert run.set_log(lines(1, 2), 2) == lines(1, 2)
    aside = tmp_path / "metrics.jsonl.damaged-1"
    assert aside.read_bytes() == text and str(aside) in caplog.text
    run.metrics_file.write_bytes(text)
    run.set_log(lines(1, 2), 2)
    assert (tmp_path / "metrics.jsonl.damaged-2").exists()


def test_of_an_older_checkpoint_the_whole_lines_stay_and_the_damaged_file_too(tmp_path):
    run = logged(tmp_path, lines(1)[0].encode() + b"\xff{}\n" + lines(2)[0].encode())
    assert run.set_log(None, 2) == lines(1, 2)
    assert b"\xff" in (tmp_path / "metrics.jsonl.damaged-1").read_bytes()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "7",
        "{}",
        '{"step": "1", "epoch": 1}',
        '{"step": 1}',
        '{"step": 1, "epoch": 1, "loss": 3}',
        '{"step": 1, "epoch": 1, "scores": {"validation": 3}}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_line_that_is_no_record_is_named_and_left_out(line, tmp_path, caplog):
    text = f"{line}\n{lines(2)[0]}".encode("utf-8", "surrogateescape")
    assert [r["step"] for r in logged(tmp_path, text).records()] == [2]
    assert "metrics.jsonl: line 1 is no record" in caplog.text


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"step": 1}', b"[" * 100_000])
def test_a_damaged_finished_file_is_said_and_the_run_is_not_finished(text, tmp_path, caplog):
    run = Run(tmp_path)
    assert run.finished is None
    run.finished_file.write_bytes(text)
    assert run.finished is None and "finished.json: not what a finished run" in caplog.text
    run.finished_file.write_text('{"step": 3, "scores": {}}')
    assert run.finished == {"step": 3, "scores": {}}


@pytest.mark.parametrize(
    "arrays",
    [
        {"mean/a": np.array("x"), "std/a": np.ones(3)},
        {"mean/a": np.float32(3), "std/a": np.ones(3)},
        {"mean/a": np.array([np.nan]), "std/a": np.ones(1)},
        {"mean/a": np.array([{}]), "std/a": np.ones(1)},
        {"other": np.ones(3)},
    ],
)
def test_statistics_that_are_none_are_one_line(arrays, tmp_path):
    run = Run(tmp_path)
    np.savez(tmp_path / "statistics.npz", **arrays)
    config = ConfigDict(dict(data=dict(normalise="train"), model=dict(features=("a",))))
    with pytest.raises(UserError, match=r"statistics.npz: not the means and deviations.* \("):
        run.read_statistics(config)


@pytest.mark.parametrize("text", [b"", b"[" * 100_000, b"\xff", b"3", b'[{"name": 3}]'])
def test_a_damaged_task_table_or_config_is_one_line(text, tmp_path):
    for name, read in (
        ("tasks.json", Run(tmp_path).read_tasks),
        ("config.json", lambda: configs.read(tmp_path / "config.json")),
    ):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(UserError, match=f"{name}: ") as caught:
            read()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_evaluating_nothing_says_so(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        Run(tmp_path / "none").require()


def test_statistics_are_read_back(tmp_path):
    run = Run(tmp_path)
    # Of a vector, a sample and a picture; those of integers are not there.
    shapes = {"a": (3,), "sound": (), "picture": (2, 2, 1)}
    mean = {name: np.arange(float(np.prod(s))).reshape(s) for name, s in shapes.items()}
    run.write_statistics(Statistics(mean, {name: np.ones(s) for name, s in shapes.items()}))
    features = (*shapes, "integers")
    config = ConfigDict(dict(data=dict(normalise="train"), model=dict(features=features)))
    again = run.read_statistics(config)
    assert {name: x.shape for name, x in again.mean.items()} == shapes
    np.testing.assert_array_equal(again.mean["a"], np.arange(3.0))
    np.testing.assert_array_equal(again.std["a"], np.ones(3))
    config.data.normalise = "track"
    assert run.read_statistics(config) is None


def test_a_finished_run_is_left_alone_whatever_form_its_paths_have(tmp_path, monkeypatch):
    config, run = configs.load("configs/rlps.py:smoke"), Run(tmp_path / "run")
    config.data.root, config.data.keep = str(tmp_path / "store"), str(tmp_path / "keep.txt")
    run.create()
    configs.save(config, run.config_file)
    replace_json(run.finished_file, {"step": 1, "scores": {}})
    monkeypatch.chdir(tmp_path)
    config.data.root, config.data.keep = "store", "keep.txt"
    assert "this run is finished" in train_run(config, run)
