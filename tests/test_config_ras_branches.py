"""Configs of team RAS's face and behaviour branches: published sizes, and that each trains."""

import math

import jax
import numpy as np
import pytest

from affect_jax import systems
from affect_jax.check import check
from affect_jax.config import load
from affect_jax.interop.families import multitask
from affect_jax.run import Run
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ras_face.py:smoke", "ras_behaviour.py:smoke", "ras_behaviour.py:transformer,smoke"]
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
