"""Every config in every variant: its model is built and shaped without any data or compute."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

import configs
from affect_jax import models, optim
from affect_jax.config import check, load
from affect_jax.objective import Objective
from affect_jax.tasks import tasks_from_config

SYSTEMS = [
    file.stem
    for file in sorted(pathlib.Path(configs.__file__).parent.glob("*.py"))
    if "def get_config" in file.read_text()
]


def variants(system):
    """No variant, each one, and each in every size that it has."""
    module = importlib.import_module(f"configs.{system}")
    known, apart = module.VARIANTS, getattr(module, "EXCLUSIVE", ())
    sizes = [name for name in ("paper", "script", "smoke") if name in known]
    others = [name for name in known if name not in sizes]
    pairs = [(name, size) for name in others for size in sizes]
    pairs = [pair for pair in pairs if not any(set(pair) <= set(group) for group in apart)]
    return ["", *known, *map(",".join, pairs)]


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
    check(config)
    tasks, params, output = shapes(config)
    for task in tasks:
        assert output.predictions[task.name].shape == (2, config.data.length, *task.raw_shape)
    joint = config.model.structure.name == "joint"
    assert set(params) == {"encoder", *(["joint"] if joint else (task.name for task in tasks))}
    Objective(tasks, config.weighting, dict(config.aux))
    optim.Optimiser(config.optim, params, tuple(config.freeze), epochs=config.epochs)
