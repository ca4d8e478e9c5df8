"""A store and a run, stopped at step 7 of 12, of before features had shapes, dtypes and rates.

tests/data/store_and_run.tar.gz: configs/mtl.py:smoke of hidden size 4, with a moving average and
learned weights of the tasks. Its data.root is "store", the folder beside the run.
"""

import json
import pathlib
import tarfile
from fractions import Fraction

import numpy as np
import pytest

from affect_jax.version import __version__
from data_pipelines import verify
from data_pipelines.identity import hashes
from data_pipelines.store import Store

PACKED = pathlib.Path(__file__).parent / "data" / "store_and_run.tar.gz"
# Epoch and mean loss of the rest of the run, as the code went on that had begun it.
REST = ((2, 3.66819), (3, 3.619483))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of `store` and `run`."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    file = folder / "run" / "config.json"
    config = json.loads(file.read_text())
    config["data"]["root"] = str(folder / config["data"]["root"])
    file.write_text(json.dumps(config))
    return folder


def test_the_package_is_small():
    assert PACKED.stat().st_size < 100_000


def test_a_store_of_before_opens_as_it_was(folder):
    store = Store(folder / "store")
    face, voice = store.features["face"], store.features["voice"]
    assert (face.shape, face.dtype, face.scale, face.axis) == ((3,), "float32", 1.0, "frame")
    assert (voice.size, voice.axis, voice.rate) == (2, "rate", Fraction(25, 2))
    assert [store.rows("voice", i) for i in range(4)] == [
        slice(0, 4),
        slice(4, 4),
        slice(4, 7),
        slice(7, 11),
    ]
    assert [track.fps for track in store.tracks] == [25, Fraction(30000, 1001), None, 30]
    mask = store.feature_mask("face")[store.tracks[1].span]
    assert mask.tolist() == [False, True, True, True, False, True]
    assert store.references("validation") == {"oracle": {"valence/ccc": 0.9}}
    found = verify.check(store)
    assert found.problems == [] and "feature 'face' has gaps in t1 (2 of 6)" in found.notes


def test_a_store_of_before_is_the_data_that_the_run_was_trained_on(folder):
    labels = ("valence", "arousal", "expression", "au")
    now = hashes(Store(folder / "store"), ("face",), labels, trust=False, limit=1e9)
    assert now == json.loads((folder / "run" / "data.json").read_text())


@pytest.mark.slow
def test_a_run_of_before_goes_on_from_its_step_to_its_end(folder, capsys):
    from affect_jax.main import main

    run = folder / "run"
    before = (run / "metrics.jsonl").read_text()
    assert not main([f"--workdir={run}"])
    said = capsys.readouterr().err
    assert "resuming from the checkpoint of step 7" in said
    assert f"affect_jax was older, is {__version__}: results may differ" in said
    log = (run / "metrics.jsonl").read_text()
    assert log.startswith(before)
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["step"] for line in lines] == [4, 8, 12]
    for (epoch, loss), line in zip(REST, lines[1:], strict=True):
        assert line["epoch"] == epoch
        np.testing.assert_allclose(line["loss"]["total"], loss, rtol=1e-5)
    assert (run / "finished.json").is_file()
    assert not main([f"--workdir={run}", "--mode=evaluate"])
    assert "P_MTL" in capsys.readouterr().out
