import json
import shutil
import types

import pytest

from affect_jax import config as configs
from affect_jax import trained_data
from affect_jax.run import Run
from affect_jax.trained_data import require_same_data, say_other_data
from data_pipelines.errors import UserError
from data_pipelines.rows import segments
from data_pipelines.store import Store
from tests.stores import small_store
from tests.tiny import tiny_config


@pytest.fixture
def place(tmp_path):
    """(run folder, its store) of a training that has begun."""
    path = small_store(tmp_path / "s").path
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    configs.save(tiny_config(path), run.config_file)
    require_same_data(system(path), run, started=False)
    return run, path


def system(path):
    """As much of a system as is asked for its data."""
    tasks = [types.SimpleNamespace(name="valence")]
    data = types.SimpleNamespace(store=Store(path), features=("a", "b"))
    return types.SimpleNamespace(data=data, tasks=tasks, config=tiny_config(path))


def test_the_same_store_goes_on_without_a_word(place, capsys):
    run, path = place
    require_same_data(system(path), run, started=True)
    say_other_data(system(path), run)
    assert capsys.readouterr() == ("", "")


def test_a_store_that_has_changed_is_refused_in_training_and_said_elsewhere(place, capsys):
    run, path = place
    shutil.rmtree(path)
    small_store(path, seed=1)
    said = r"SHA-256 of features/a.npy was \w{12}, is \w{12} \(and \d more\)"
    with pytest.raises(UserError, match=rf"is not what .*run was trained on so far: {said}. Give"):
        require_same_data(system(path), run, started=True)
    say_other_data(system(path), run)
    err = capsys.readouterr().err
    assert "has changed since the training: SHA-256 of features/a.npy" in err
    assert err.count("\n") == 1
    # Before the first checkpoint nothing was learnt from the old one.
    require_same_data(system(path), run, started=False)
    require_same_data(system(path), run, started=True)


@pytest.mark.parametrize("keep", ["other.txt", ""])
def test_other_rows_of_the_same_store_are_the_lists_matter(place, tmp_path, keep):
    run, path = place
    kept = system(path)
    kept.config.data.keep = "list.txt"
    kept.data.training_rows = segments([5, 7], 4)
    require_same_data(kept, run, started=False)
    kept.data.training_rows = segments([5, 7], 3)
    kept.config.data.keep = keep
    with pytest.raises(UserError, match=rf"data.keep = '{keep}' is not .* put the old list back"):
        require_same_data(kept, run, started=True)


def test_another_store_than_the_runs_own_may_be_evaluated(place, tmp_path, capsys):
    run, _ = place
    say_other_data(system(small_store(tmp_path / "other", seed=1).path), run)
    assert not capsys.readouterr().err


def test_a_run_of_before_goes_on_with_a_line_and_is_safe_from_then_on(place, capsys):
    run, path = place
    run.data_file.unlink()
    say_other_data(system(path), run)
    assert not capsys.readouterr().err
    require_same_data(system(path), run, started=True)
    assert "does not say what it was trained on" in capsys.readouterr().err
    assert "features/a.npy" in json.loads(run.data_file.read_text())


@pytest.mark.parametrize("text", [b"", b"3", b"\xff", b"[" * 100_000])
def test_damaged_hashes_stop_a_training_and_no_evaluation(text, place, capsys):
    run, path = place
    run.data_file.write_bytes(text)
    with pytest.raises(UserError, match="data.json: not the hashes of what a run was trained on"):
        require_same_data(system(path), run, started=True)
    say_other_data(system(path), run)
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_too_large_to_be_read_first_is_said(place, capsys, monkeypatch):
    run, path = place
    monkeypatch.setattr(trained_data, "READ_BYTES", 10)
    require_same_data(system(path), run, started=True)
    assert f"data_pipelines.verify --store={path} does it" in capsys.readouterr().err
