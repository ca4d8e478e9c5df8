"""configs/rlps.py: what its variants choose, and selections of faces, sounds and real faces."""

import csv

import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax import systems
from affect_jax.config import load
from affect_jax.main import cli
from affect_jax.run import Run
from affect_jax.train import train
from configs.rlps import SELECTORS
from configs.rlps_keys import rlps_keys
from data_pipelines.errors import UserError
from data_pipelines.report import Report
from data_pipelines.sources import fer2013
from tests.test_config_emogator import clips
from tests.test_config_fer2013 import faces


def test_runs_have_the_lengths_of_the_method_and_see_whole_pictures():
    for variants in ("", "fer2013", "quarter", "sigmoid", "quarter,f1"):
        c = load(f"configs/rlps.py:{variants}")
        passes = {"sigmoid": 50, "quarter,f1": 0}.get(variants, 5)
        before = c.epochs - c.rlps.alternations
        lengths = (30 if variants == "fer2013" else 10, passes, 20)
        assert (before, c.rlps.policy_passes, c.rlps.alternations) == lengths
        assert (c.image.crop, c.image.flip, c.image.rotation, c.image.erase) == (0, False, 0, 0)
        assert (c.model.feature, c.checkpoint) == (128, "last")
        assert "public_test" not in (c.data.split, c.data.train_split)


def test_each_selector_changes_its_own_keys_alone():
    default = load("configs/rlps.py")
    changed = {
        name: {key for key, *_ in configs.differences(default, load(f"configs/rlps.py:{name}"))}
        for name in SELECTORS
    }
    assert changed == {
        "linear": {"name", "rlps.policy.name"},
        "f1": {"name", "rlps.reward", "rlps.policy_passes"},
        "class": {"name", "rlps.reward"},
        "retain": {"name", "rlps.returns"},
        "literal": {"name", "rlps.returns"},
        "sigmoid": {"name", "rlps.method", "rlps.lr", "rlps.policy_passes"},
    }
    with pytest.raises(UserError, match="'linear' and 'sigmoid' exclude each other"):
        load("configs/rlps.py:sigmoid,linear")


def selection(run):
    with (run / "selection" / "selection.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def listed(run):
    """Lines of the list of a run."""
    return (run / "selection" / "keep.txt").read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "fer2013", *(f"quarter,{name}" for name in SELECTORS)])
def test_every_variant_selects(variant, tmp_path):
    store, run = faces(tmp_path / "store", train=60, validation=9), tmp_path / "run"
    small = [f"--config.data.root={store}", "--config.data.batch_size=8", f"--workdir={run}"]
    assert cli([f"--config=configs/rlps.py:{variant},smoke", *small]) == 0
    rows = selection(run)
    assert 40 < len(rows) <= 60 and all(0 < float(row["p_retain"]) < 1 for row in rows)
    assert listed(run) == [row["track"] for row in rows if row["retained"] == "1"]


@pytest.mark.slow
def test_sounds_are_selected_as_pictures_are(tmp_path):
    config = load("configs/emogator.py:smoke")
    config.data.root = str(clips(tmp_path / "store", train=40, validation=6))
    config.system, config.rlps = "rlps", rlps_keys("audio")
    config.rlps.alternations, config.rlps.policy_passes = 1, 2
    system, run = systems.build(config), Run(tmp_path / "run")
    train(system, run)
    system.write_run(run)
    rows = selection(run.folder)
    assert len(rows) == 40 and all(0 < float(row["p_retain"]) < 1 for row in rows)


@pytest.fixture(scope="module")
def real_faces(shared, tmp_path_factory):
    """A store of the part of FER2013 at hand, and a list of 2,000 of its training pictures."""
    if not (shared / "data" / "fer2013").is_dir():
        pytest.skip("../shared/data/fer2013 is not on this machine")
    folder = tmp_path_factory.mktemp("fer2013")
    fer2013.fill(shared / "data" / "fer2013", folder / "store", Report())
    system = systems.build(at(folder / "store", load("configs/rlps.py:quarter")))
    store, rows = system.data.store, system.data.training_rows
    some = np.random.default_rng(0).choice(len(rows), 2000, replace=False)
    names = [store.tracks[i].name for i in rows.track[np.sort(some)]]
    (folder / "some.txt").write_text("\n".join(names))
    return folder


def at(store, config):
    config.data.root = str(store)
    return config


@pytest.mark.slow
def test_two_thousand_real_faces_are_selected_from(real_faces, tmp_path):
    given = [f"--config.data.root={real_faces / 'store'}"]
    given += [f"--config.data.keep={real_faces / 'some.txt'}", f"--workdir={tmp_path / 'run'}"]
    given += ["--config.epochs=12", "--config.rlps.alternations=4"]
    assert cli(["--config=configs/rlps.py:quarter", *given]) == 0
    rows = selection(tmp_path / "run")
    assert len(rows) == 2000
    with np.load(tmp_path / "run" / "selection" / "history.npz") as history:
        assert len(history["keep_rate"]) == 9 and 0.2 < history["keep_rate"][-1] < 0.9
        assert history["reward"][-1] > 0  # what is retained earns more than what is removed
    assert listed(tmp_path / "run") == [row["track"] for row in rows if row["retained"] == "1"]
