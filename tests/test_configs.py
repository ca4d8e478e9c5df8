"""Every config in every variant: its model is built and shaped without any data or compute."""

import functools
import importlib
import json
import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

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


def batch_of(config, width):
    """Two rows of zeros: of `width` features a frame, windows of sound with their frames, or clips:
    pictures, or sound as it is fed."""
    data, features = config.data, config.model.features
    if config.model.name == "speech_steps":
        sound, mask = np.zeros((2, 4000), np.float32), np.ones((2, data.length), bool)
        times = np.zeros(mask.shape, np.float32)
        return {"inputs": dict.fromkeys(features, sound), "mask": mask, "times": times} | {
            "inputs_mask": dict.fromkeys(features, np.ones(sound.shape, bool))
        }
    shape = (round(data.seconds * 16_000),) if data.clips else (data.length, width)
    if config.model.name == "image":
        pictures = {name: np.zeros((2, 48, 48), np.float32) for name in features}
        return {"inputs": pictures, "mask": np.ones(2, bool)}
    rows = (2,) if data.clips else (2, data.length)
    sound = {name: np.ones((2, *shape), bool) for name in features if data.clips}
    return {
        "inputs": {name: np.zeros((2, *shape), np.float32) for name in features},
        "inputs_mask": sound,
        "mask": np.ones(rows, bool),
    }


@functools.cache
def traced(model, tasks, rows, width):
    """(shapes of parameters, of predictions) of a model, its config and the batch as JSON."""
    config = ConfigDict(json.loads(model))
    batch = batch_of(ConfigDict(json.loads(rows)), width)
    module = models.build(config, tasks)
    key = jax.random.key(0)
    output, variables = jax.eval_shape(lambda: module.init_with_output(key, batch))
    return variables["params"], output.predictions


def shapes(config, width=250):
    """(tasks, shapes of parameters and predictions) with features of that width."""
    config = config.copy_and_resolve_references()
    if config.model.get("padding") == "auto":
        config.model.padding = "masked"
    model = {key: config.model[key] for key in ("name", "features")}
    rows = {"data": config.data.to_dict(), "model": model}
    tasks = tasks_from_config(config)
    texts = (json.dumps(x, sort_keys=True) for x in (config.model.to_dict(), rows))
    model, rows = texts
    return tasks, *traced(model, tasks, rows, width)


@pytest.mark.parametrize(("system", "variant"), CASES)
def test_every_config_is_a_model_with_a_prediction_for_each_task(system, variant):
    config = load(f"configs/{system}.py:{variant}")
    check(config)
    tasks, params, predictions = shapes(config)
    rows = (2,) if config.data.clips else (2, config.data.length)
    for task in tasks:
        assert predictions[task.name].shape == (*rows, *task.raw_shape)
    if config.model.name == "multitask":
        joint = config.model.structure.name == "joint"
        encoder = [] if config.model.encoder.name == "passed_on" else ["encoder"]
        heads = ["joint"] if joint else [task.name for task in tasks]
        assert set(params) == {*encoder, *heads}
    weights = Objective(tasks, config.weighting, dict(config.aux)).init()[0]
    params = dict(params) | ({"weighting": weights} if weights else {})
    optim.Optimiser(config.optim, params, tuple(config.freeze), epochs=config.epochs)
