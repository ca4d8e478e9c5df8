"""Configs of team RAS's face and behaviour branches: published sizes, and that each trains."""

import math

import jax
import numpy as np
import pytest

from affect_jax import models, systems
from affect_jax.check import check
from affect_jax.config import load
from affect_jax.interop.families import multitask
from affect_jax.run import Run
from affect_jax.tasks import tasks_from_config
from affect_jax.train import train
from tests.test_configs import shapes


@pytest.mark.parametrize(
    ("name", "width", "parameters"),
    [("ras_face.py:paper", 256, 2_112_002), ("ras_behaviour.py:paper", 2560, 3_348_738)],
)
def test_published_sizes_have_the_parameters_of_the_sheet(name, width, parameters):
    config = load(f"configs/{name}")
    tasks, params, _ = shapes(config, width)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == parameters
    # They load the original's weights: every parameter has a name there.
    zeros = jax.tree.map(lambda p: np.zeros(p.shape, np.float32), params)
    names = [task.name for task in tasks]
    assert len(multitask.to_original(config.model, names, {"params": zeros}))


def test_the_mouth_slice_is_read_as_by_the_linear_model():
    ours, linear = load("configs/ras_face.py:mouth"), load("configs/va.py:mouth")
    assert ours.model.features == linear.model.features
    assert ours.data.label_delay == linear.data.label_delay
    assert (ours.data.root, ours.checkpoint) == ("", "last")


def test_the_head_of_segments_is_all_that_is_trained_and_reads_an_embedding_by_itself():
    config = load("configs/ras_behaviour.py:segment,smoke")
    model = models.build(config.model, tasks_from_config(config))
    x = np.random.default_rng(0).normal(size=(1, 3, 4)).astype(np.float32)
    batch = {"inputs": {"behaviour": x}, "mask": np.ones((1, 3), bool)}
    variables = model.init(jax.random.key(0), batch)
    assert set(variables["params"]) == {"joint"}
    together = model.apply(variables, batch).predictions["valence"]
    alone = {"inputs": {"behaviour": x[:, :1]}, "mask": np.ones((1, 1), bool)}
    alone = model.apply(variables, alone).predictions["valence"]
    np.testing.assert_allclose(together[:, :1], alone, atol=1e-6)
    assert abs(together - alone).max() > 1e-3  # other embeddings, other values


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ras_face.py:smoke",
        *(f"ras_behaviour.py:{kind}smoke" for kind in ("", "transformer,", "segment,")),
    ],
)
def test_a_branch_trains_on_its_twin(name, tmp_path):
    config = load(f"configs/{name}")
    system, run = systems.build(config), Run(tmp_path)
    check(system)
    state = train(system, run)
    records = run.records()
    assert int(state.position) == config.epochs == len(records) == 2
    assert all(np.isfinite(list(record["loss"].values())).all() for record in records)
    assert set(config.monitor) <= set(records[-1]["scores"]["validation"])
