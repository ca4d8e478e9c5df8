import json
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax.run import Run, to_json
from data_pipelines.batch import Statistics
from data_pipelines.errors import UserError


def test_the_log_is_cut_back_to_the_checkpoint_and_loses_a_broken_line(tmp_path):
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.append({"step": step})
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 4, "sc')
    run.cut_back(2)
    assert run.metrics_file.read_text() == '{"step": 1}\n{"step": 2}\n'
    run.append({"step": 3})
    assert [r["step"] for r in run.records()] == [1, 2, 3]


def test_a_second_writer_is_refused_with_the_number_of_the_first(tmp_path):
    run = Run(tmp_path)
    code = (
        "import sys; from affect_jax.run import Run\n"
        f"with Run({str(tmp_path)!r}).lock():\n    print('locked', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(UserError, match=f"process {other.pid} is writing this run"), run.lock():
        pass
    other.communicate("")
    with run.lock():  # the lock ends with its process
        pass


def test_a_folder_with_other_things_is_not_made_a_run(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="exists and is no run"):
        Run(tmp_path).create()


def test_evaluating_nothing_says_so(tmp_path):
    with pytest.raises(UserError, match="no run here"):
        Run(tmp_path / "none").require()


def test_statistics_are_read_back(tmp_path):
    run = Run(tmp_path)
    run.write_statistics(Statistics({"a": np.arange(3.0)}, {"a": np.ones(3)}))
    config = ConfigDict(dict(data=dict(normalise="train"), model=dict(features=("a",))))
    again = run.read_statistics(config)
    np.testing.assert_array_equal(again.mean["a"], np.arange(3.0))
    np.testing.assert_array_equal(again.std["a"], np.ones(3))
    assert list(again.mean) == ["a"]
    config.data.normalise = "track"
    assert run.read_statistics(config) is None


def test_a_score_that_is_no_number_is_null():
    scores = {"b": [1.0, float("nan")], "a": float("inf"), "n": 2}
    assert json.loads(to_json(scores)) == {"a": None, "b": [1.0, None], "n": 2}
