"""SBE, feedback and the joint head: what they read, what they refuse, where gradients end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import models
from data_pipelines.errors import UserError
from tests.test_models_multitask import SIZES, TASKS, B, T
from tests.test_models_multitask import config as multitask_config

SBE = dict(name="sbe", layers=1, head_dim=4, ffn=6, dropout=0.0, positions="abaw4")


def built(structure, tasks=TASKS, known=()):
    c = multitask_config()
    with c.unlocked():
        c.structure = structure
    return models.build(c, tasks, known)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    inputs = {n: rng.normal(size=(B, T, d)).astype(np.float32) for n, d in SIZES.items()}
    return {"inputs": inputs, "mask": np.arange(T) < np.array([[4], [2], [1]])}


def shapes(structure, batch):
    return jax.eval_shape(built(structure).init, jax.random.key(0), batch)["params"]


def loss_gradient(structure, batch, task):
    model = built(structure)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]

    def total(params):
        return jnp.sum(model.apply({"params": params}, batch).predictions[task] ** 2)

    return params, jax.jit(jax.grad(total))(params)


def moved(tree):
    return any(np.abs(np.asarray(g)).max() > 0 for g in jax.tree.leaves(tree))


def test_sbe_gives_every_task_an_encoder_of_its_own(batch):
    params, grads = loss_gradient(SBE, batch, "valence")
    assert set(params["valence"]) == {"top", "head"}
    assert moved(grads["valence"]["top"]) and moved(grads["encoder"])
    assert not moved(grads["au"]) and not moved(grads["expression"])


@pytest.mark.parametrize(
    "tap, width", [("head", 6), pytest.param("encoder", 8, marks=pytest.mark.slow)]
)
def test_feedback_widens_the_target_and_sends_no_gradient_to_the_source(batch, tap, width):
    structure = SBE | dict(sources=("valence", "au"), targets=("expression",), tap=tap, head_dim=2)
    params, grads = loss_gradient(structure, batch, "expression")
    reads = params["expression"]["top"]["layer_0"]["attention"]["in_projection"]["kernel"]
    assert reads.shape[0] == 8 + 2 * width
    assert not moved(grads["valence"]) and not moved(grads["au"]) and moved(grads["encoder"])


def test_the_target_reads_the_sources(batch):
    structure = dict(name="se", sources=("valence",), targets=("au",))
    model = built(structure)
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    run = jax.jit(lambda p: model.apply({"params": p}, batch).predictions)
    before = run(params)
    params["valence"] = jax.tree.map(lambda x: x + 1.0, params["valence"])
    after = run(params)
    assert not np.array_equal(after["au"], before["au"])
    np.testing.assert_array_equal(after["expression"], before["expression"])


def test_predictions_keep_the_order_of_the_tasks(batch):
    structure = dict(name="se", sources=("au",), targets=("valence",))
    out = built(structure).init_with_output(jax.random.key(0), batch)[0]
    assert list(out.predictions) == [task.name for task in TASKS]


def test_joint_head_gives_each_task_its_columns(batch):
    model = built(dict(name="joint"))
    variables = jax.jit(model.init)(jax.random.key(0), batch)
    assert set(variables["params"]) == {"encoder", "feature_norm", "joint"}
    out = jax.jit(model.apply)(variables, batch).predictions
    assert {k: v.shape[-1] for k, v in out.items()} == {t.name: t.size for t in TASKS}


@pytest.mark.parametrize(
    "structure, says",
    [
        (dict(name="sb"), "Did you mean 'sbe'"),
        (dict(name="se", layers=2), "config.model.structure.layers: no such key"),
        (dict(name="se", tap="hidden"), "no such tap"),
        (dict(name="se", sources=("au",)), "sources and targets"),
        (dict(name="se", sources=("au",), targets=("au",)), "'au' is a source and a target"),
        (dict(name="se", sources=("au",), targets=("valence",), tap="encoder"), "structure sbe"),
        (dict(name="se", sources=("aus",), targets=("valence",)), "Did you mean 'au'"),
        (SBE | dict(head_dim=0), "config.model.structure: head_dim = 0: expected 1 or more"),
        (SBE | dict(positions="abaw"), "config.model.structure: positions = 'abaw': no such table"),
        (SBE | dict(dropout=1.0), "config.model.structure: dropout = 1.0"),
    ],
)
def test_refused_with_a_line(structure, says):
    with pytest.raises(UserError, match=says):
        built(structure)


def test_heads_that_do_not_divide_are_refused(batch):
    # 8 // 3 = 2 heads of 4, as in the original, where the width decides; 2 heads do not divide 20.
    shapes(SBE | dict(head_dim=3), batch)
    fed = dict(sources=("valence", "au"), targets=("expression",))
    with pytest.raises(UserError, match="head_dim = 6: 3 heads for the 20 values"):
        shapes(SBE | fed | dict(head_dim=6), batch)
    with pytest.raises(UserError, match="head_dim = 9: 0 heads for the 8 values"):
        shapes(SBE | dict(head_dim=9), batch)


def test_feedback_to_a_task_left_out_is_refused_and_of_one_it_is_that_of_the_others():
    structure = dict(name="se", sources=("expression", "au"), targets=("valence",))
    known, fewer = [task.name for task in TASKS], [t for t in TASKS if t.name != "expression"]
    assert built(structure, fewer, known).structure.sources == ("au",)
    with pytest.raises(UserError, match="sources and targets: feedback needs both"):
        built(dict(structure, sources=("expression",)), fewer, known)
    with pytest.raises(UserError, match="targets: 'valence' is no task of this run"):
        built(structure, [t for t in TASKS if t.name != "valence"], known)
