"""The folder that a run and a cross-validation have: made, locked, and gone where refused."""

import subprocess
import sys

import pytest

from affect_jax.folds import Folds
from affect_jax.run import Run
from affect_jax.tasks import Task
from data_pipelines.errors import UserError


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


def test_what_was_made_for_a_run_that_is_refused_is_gone_again(tmp_path):
    (tmp_path / "there").mkdir()
    for name in ("new/deeper/run", "there"):
        run = Run(tmp_path / name)
        run.create()
        with pytest.raises(UserError), run.lock():
            raise UserError("refused")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    run = Run(tmp_path / "kept")
    run.create()
    with pytest.raises(UserError), run.lock():
        run.config_file.write_text("{}")
        raise UserError("after it began")
    assert run.exists


def test_a_task_table_is_replaced_as_a_whole(tmp_path):
    tasks = (Task("valence", "values", 1, loss="mse", decode="identity"),)
    Folds(tmp_path).write_tasks(tasks)
    assert Run(tmp_path).read_tasks() == tasks
    assert [path.name for path in tmp_path.iterdir()] == ["tasks.json"]


def test_the_folder_of_folds_has_nothing_of_a_single_training(tmp_path):
    own = vars(Run(tmp_path)).keys() - vars(Folds(tmp_path)).keys()
    assert own == {"label", "metrics_file", "checkpoints", "finished_file"}


def test_the_folder_of_a_run_is_not_taken_for_folds(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="exists and is no run"):
        Folds(tmp_path).create()
