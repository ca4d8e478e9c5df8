"""Padding "auto" of a run: as its weights heard it, or the run that it begins with."""

import shutil

import pytest

from affect_jax import config as configs
from affect_jax import train_run
from affect_jax.main import parse, resolve
from affect_jax.padding import heard, heard_before
from affect_jax.run import Run


@pytest.fixture
def folder(tmp_path):
    """A folder with the run "heard", on weights with a group norm, and "masked", on none."""
    for name, weights in (("heard", "base.safetensors"), ("masked", "")):
        (tmp_path / name).mkdir()
        configs.save(settled(tmp_path, "", weights=weights), tmp_path / name / "config.json")
    return tmp_path


def settled(folder, begun, *, weights="", new="new", **model):
    """The config with which a command trains the run "new"."""
    flags = ["--config=configs/vocal_bursts.py:smoke", f"--workdir={folder / new}"]
    flags += [f"--config.init.run={folder / begun}"] if begun else []
    flags += [f"--config.init.weights={folder / weights}"] if weights else []
    flags += [f"--config.model.{key}={value}" for key, value in model.items()]
    flags, changes = parse(flags)
    return resolve(flags, changes, Run(folder / new))


@pytest.mark.parametrize("begun", ["heard", "masked"])
def test_a_run_does_with_padding_as_the_run_that_it_begins_with(folder, begun, caplog):
    caplog.set_level("INFO")
    first = settled(folder, begun)
    assert heard(first) is heard_before(first) is (begun == "heard")
    assert ("padding is heard, as by" in caplog.text) is (begun == "heard")
    (folder / "second").mkdir()
    configs.save(first, folder / "second" / "config.json")
    shutil.rmtree(folder / begun)  # what it was resolved to is the run's own
    assert heard(settled(folder, "second")) is (begun == "heard")


def test_padding_that_is_named_is_left_as_it_is(folder):
    assert settled(folder, "heard", padding="masked").model.padding == "masked"
    assert settled(folder, "masked", padding="heard").model.padding == "heard"


def test_a_run_that_has_started_keeps_its_padding(folder):
    for kept in ("auto", "heard"):  # "auto": of before, which masked it
        new = folder / f"new_{kept}"
        (new / "checkpoints" / "10").mkdir(parents=True)
        stored = settled(folder, "heard", new=new.name)
        assert stored.model.padding == "heard"
        stored.model.padding = kept
        configs.save(stored, new / "config.json")
    shutil.rmtree(folder / "heard")
    for kept in ("auto", "heard"):  # the same command again
        assert settled(folder, "heard", new=f"new_{kept}").model.padding == kept


def test_the_config_that_a_run_keeps_says_what_its_padding_was(folder, monkeypatch):
    config = settled(folder, "heard")
    config.model.padding, config.data.root = "auto", "twin:bursts?size=small"
    for name in ("check", "train", "finish"):
        monkeypatch.setattr(train_run, name, lambda *_: None)
    train_run.train_run(config, Run(folder / "new"))
    assert configs.read(folder / "new" / "config.json").model.padding == "heard"
