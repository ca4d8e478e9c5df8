"""Convolutional nets on log-mel spectrograms: padding, training mode, what the config may say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from affect_jax import models
from affect_jax.tasks import Task
from configs.emogator import get_config
from data_pipelines.errors import UserError

TASKS = (Task("kind", "classes", 3), Task("loudness", "values", 2))
SAMPLES = np.array([3000, 2000, 700, 100])


def config(**changes) -> ConfigDict:
    c = get_config().model
    c.mel.update(bands=8)
    c.spec_augment.update(shift=1, time=4, band=2)
    c.channels, c.width = (4, 6), 8
    with c.unlocked(), c.ignore_type():
        c.update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})
    return c


def batch_of(size):
    """Four clips of noise, padded to `size` samples; the noise is the same for every size."""
    mask = np.arange(size) < SAMPLES[:, None]
    x = np.random.default_rng(0).normal(size=(4, 4000)).astype(np.float32)[:, :size]
    return {
        "inputs": {"audio": np.where(mask, x, 0)},
        "inputs_mask": {"audio": mask},
        "mask": np.ones(4, bool),
    }


@pytest.fixture(scope="module")
def model():
    """(module, variables whose statistics are not those of the start)."""
    module = models.build(config(), TASKS)
    variables = jax.jit(module.init)(jax.random.key(0), batch_of(3000))
    return module, jax.tree.map(lambda x: x + 0.1, variables)


def test_a_clip_has_the_same_answer_in_any_padding(model):
    module, variables = model
    run = jax.jit(module.apply)
    outs = [run(variables, batch_of(size)) for size in (3000, 4000)]
    for task in TASKS:
        a, b = (out.predictions[task.name] for out in outs)
        assert a.shape == (4, task.size) and a.dtype == jnp.float32 and np.isfinite(a).all()
        np.testing.assert_allclose(a, b, atol=2e-5)
        assert len(np.unique(np.round(a[:, 0], 5))) == 4
    assert outs[0].aux["arrays"]["embedding"].shape == (4, 16)


def test_every_parameter_has_a_gradient_and_every_statistic_moves(model):
    module, variables = model
    batch, key = batch_of(3000), jax.random.key(1)

    @jax.jit
    def step(params):
        def loss(params):
            out, updated = module.apply(
                variables | {"params": params},
                batch,
                train=True,
                rngs={"dropout": key},
                mutable=["batch_stats"],
            )
            return sum((p**2).sum() for p in out.predictions.values()), updated

        return jax.grad(loss, has_aux=True)(params)

    gradients, updated = step(variables["params"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.asarray(leaf).any(), path
    before = jax.tree.leaves(variables["batch_stats"])
    moved = [(a != b).any() for a, b in zip(before, jax.tree.leaves(updated), strict=True)]
    assert all(moved)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(heads=3), "config.model.heads: no such key"),
        (dict(width="a"), "config.model.width = 'a': expected a whole number"),
        (dict(features=("audio", "face")), r"features = .*: expected one, of sound"),
        (dict(mel__high=9000.0), "config.model.mel: .*high = 9000.0: expected 0 <= low"),
        (dict(spec_augment__pitch=1), "config.model.spec_augment.pitch: no such key"),
        (dict(dropout=1.0), "config.model: dropout = 1.0"),
        (dict(pooling="mode"), "config.model: .*'mode'"),
        (dict(dtype="float99"), "config.model.dtype = 'float99'"),
    ],
)
def test_a_wrong_key_is_one_line(changes, message):
    with pytest.raises(UserError, match=message):
        models.build(config(**changes), TASKS)


def test_a_config_that_lacks_a_key_is_one_line():
    c = config()
    del c["width"]
    with pytest.raises(UserError, match="config.model.width is missing"):
        models.build(c, TASKS)
