"""Every config in every variant: its model is built and shaped without any data or compute."""

import importlib
import itertools
import math
import pathlib

import jax
import numpy as np
import pytest

import configs
from affect_jax import models, optim
from affect_jax.config import load
from affect_jax.run import Run
from affect_jax.system import Supervised
from affect_jax.tasks import tasks_from_config
from affect_jax.train import check, train
from affect_jax.weighting import weighting

SYSTEMS = [
    file.stem
    for file in sorted(pathlib.Path(configs.__file__).parent.glob("*.py"))
    if "def get_config" in file.read_text()
]


def variants(system):
    """No variant, each one, and each pair."""
    known = importlib.import_module(f"configs.{system}").VARIANTS
    pairs = itertools.combinations(known, 2)
    return ["", *known, *(",".join(pair) for pair in pairs)]


CASES = [(system, variant) for system in SYSTEMS for variant in variants(system)]


def shapes(config, width=250):
    """(tasks, shapes of parameters and output) with features of that width."""
    tasks = tasks_from_config(config)
    model = models.build(config.model, tasks)
    length = config.data.length
    batch = {
        "inputs": {
            name: np.zeros((2, length, width), np.float32) for name in config.model.features
        },
        "inputs_mask": {},
        "mask": np.ones((2, length), bool),
    }
    key = jax.random.key(0)
    output, variables = jax.eval_shape(lambda: model.init_with_output(key, batch))
    return tasks, variables["params"], output


@pytest.mark.parametrize(("system", "variant"), CASES)
def test_every_config_is_a_model_with_a_prediction_for_each_task(system, variant):
    config = load(f"configs/{system}.py:{variant}")
    tasks, params, output = shapes(config)
    for task in tasks:
        assert output.predictions[task.name].shape == (2, config.data.length, task.size)
    assert set(params) == {"encoder", *(task.name for task in tasks)}
    weighting(config.weighting)
    optim.learning_rate(config.optim, config.epochs)
    optim.optimiser(config.optim, params, tuple(config.freeze))


@pytest.mark.parametrize("variant", ["paper", "script"])
def test_published_sizes_have_the_parameters_of_the_sheet(variant):
    """Sheet abaw4, 3.7: 29,911,574 and 38,304,278 with the pooled branch (H^2 + H) unbuilt here."""
    _, params, _ = shapes(load(f"configs/mtl.py:{variant}"))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    sheet = {"paper": 29_911_574, "script": 38_304_278}[variant]
    assert count == sheet - (1024 * 1024 + 1024)


@pytest.mark.slow
@pytest.mark.parametrize("system", ["mtl", "va"])
def test_the_smoke_variant_trains_on_its_twin(system, tmp_path):
    config = load(f"configs/{system}.py:smoke")
    supervised = Supervised(config)
    check(supervised)
    run = Run(tmp_path)
    state = train(supervised, run)
    assert int(state.position) == config.epochs == len(run.records())
    assert all(np.isfinite(list(r["loss"].values())).all() for r in run.records())
