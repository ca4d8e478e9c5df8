"""Groups of parameters and rules inside tasks in a whole run."""

import contextlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import checkpoint, systems
from affect_jax import train as loop
from affect_jax.check import check
from affect_jax.run import Run
from affect_jax.train import Stopped, train
from tests.stores import small_store
from tests.test_train import _StopAfter
from tests.tiny import tiny_config


@pytest.mark.slow
def test_a_run_of_groups_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    store = small_store(tmp_path / "store").path

    def system():
        c = tiny_config(store, weighting="uncertainty", ema_decay=0.5, freeze="encoder/layer_0/.*")
        c.optim.update(name="sgd", lr=0.01, weight_decay=0.1, patience=0)
        c.optim.groups = ("heads", "scales")
        heads = dict(match=".*/head/.*", rate=10.0, schedule="plateau", clip_norm=0.5)
        c.optim.group = ConfigDict(dict(heads=heads, scales=dict(match="weighting/.*", rate=0.1)))
        c.task.au.weighting, c.task.expression.label_smoothing = "uncertainty", 0.1
        c.task.valence.loss, c.task.arousal.train_only = "ccc+0.1*mse", True
        system = systems.build(c)
        check(system)
        return system

    unbroken, run = Run(tmp_path / "unbroken"), Run(tmp_path / "broken")
    want = train(system(), unbroken)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_signals", lambda: contextlib.nullcontext(_StopAfter(3)))
        with pytest.raises(Stopped):
            train(system(), run)
    got = train(system(), run)
    assert checkpoint.digest(got) == checkpoint.digest(want)
    assert run.metrics_file.read_text() == unbroken.metrics_file.read_text()
    fresh = system().init().params
    frozen, first = got.params["encoder"]["layer_0"], fresh["encoder"]["layer_0"]
    jax.tree.map(np.testing.assert_array_equal, frozen, first)
    assert np.asarray(got.params["weighting"]["inside"]["au"]["log_sigma"]).all()
    (record, _) = run.records()
    scores = record["scores"]["validation"]
    assert "au/f1_binary" in scores and "arousal/ccc" not in scores
    assert set(record["group_lr"]) == {"heads", "scales"} and "arousal" in record["loss"]
