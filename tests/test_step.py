"""One step of a model with batch statistics, a loss of its own and a frozen part."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from affect_jax.models import Output
from affect_jax.models.blocks.batch_norm import BatchNorm
from affect_jax.objective import Objective
from affect_jax.optim import Optimiser
from affect_jax.state import State, merged
from affect_jax.step import supervised
from affect_jax.tasks import Task
from configs.base import base_config

X = np.random.default_rng(0).normal(2.0, 1.0, (3, 4, 2)).astype(np.float32)
BATCH = {
    "inputs": {"x": X},
    "mask": np.ones((3, 4), bool),
    "labels": {"valence": X[..., :1] ** 2},
    "label_mask": {"valence": np.ones((3, 4, 1), bool)},
}


class Toy(nn.Module):
    @nn.compact
    def __call__(self, batch, carry=None, train=False, progress=0.0):
        x = nn.Dense(2, name="frozen")(batch["inputs"]["x"])
        x = BatchNorm(name="norm")(x, batch["mask"], train)
        raw = nn.Dense(1, name="valence")(x)
        return Output({"valence": raw}, aux={"losses": {"size": (raw**2).mean()}})


@pytest.fixture(scope="module")
def stepped():
    """(state before, state after, logs, total as a function of all parameters)."""
    variables = Toy().init(jax.random.key(0), BATCH)
    params, stats = variables["params"], variables["batch_stats"]
    config = base_config().optim
    config.name, config.lr, config.schedule, config.clip_norm = "sgd", 0.1, "constant", 0.0
    optimiser = Optimiser(config, params, ("frozen/.*",), epochs=1)
    objective = Objective((Task("valence", "values", 1, loss="mse"),), aux={"size": 0.25})
    zero = jnp.zeros(())
    names = ("valence", "size", "total")
    state = State(
        **dict.fromkeys(("step", "position", "batch", "stale"), jnp.zeros((), jnp.int32)),
        params=params,
        batch_stats=stats,
        opt_state=optimiser.init(params),
        ema=optimiser.split(params)[0],
        ema_batch_stats=stats,
        weighting={},
        carry=None,
        log={name: {"sum": zero, "count": zero} for name in names},
        best={},
        best_step={},
        plateau=optimiser.fresh_plateau(),
        rng=jax.random.key(0),
        extra={},
    )

    def total(params):
        everything = {"params": params, "batch_stats": stats}
        output, updated = Toy().apply(everything, BATCH, train=True, mutable=["batch_stats"])
        raw = output.predictions["valence"]
        value = ((raw - BATCH["labels"]["valence"]) ** 2).mean() + 0.25 * (raw**2).mean()
        return value, updated["batch_stats"]

    step = jax.jit(supervised(Toy(), objective, optimiser, ema_decay=0.75))
    return state, *step(state, BATCH, jnp.float32(0), jnp.float32(0)), total


def test_only_the_trained_part_has_a_gradient_and_moves(stepped):
    before, after, logs, total = stepped
    (value, _), grads = jax.value_and_grad(total, has_aux=True)(before.params)
    np.testing.assert_allclose(logs["total"], value, rtol=1e-6)
    assert optax.tree.norm(grads.pop("frozen")) > 0  # it would have one
    np.testing.assert_allclose(logs["gradient_norm"], optax.tree.norm(grads), rtol=1e-5)
    trained = {name: before.params[name] for name in grads}
    want = merged(before.params, jax.tree.map(lambda p, g: p - 0.1 * g, trained, grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, want)
    jax.tree.map(np.testing.assert_array_equal, after.params["frozen"], before.params["frozen"])


def test_what_is_trained_and_the_batch_statistics_have_their_moving_average(stepped):
    before, after, _, total = stepped
    stats = total(before.params)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), after.batch_stats, stats)
    assert set(after.ema) == {"norm", "valence"}
    first, last = ({k: state.params[k] for k in after.ema} for state in (before, after))
    for average, old, new in (
        (after.ema, first, last),
        (after.ema_batch_stats, before.batch_stats, after.batch_stats),
    ):
        want = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, old, new)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), average, want)
    variables = after.variables()
    assert variables["batch_stats"] is after.ema_batch_stats
    want = {"frozen": after.params["frozen"], **after.ema}
    jax.tree.map(np.testing.assert_array_equal, variables["params"], want)


def test_the_loss_of_the_model_is_logged_without_its_weight(stepped):
    _, after, logs, _ = stepped
    np.testing.assert_allclose(logs["total"], logs["valence"] + 0.25 * logs["size"], rtol=1e-6)
    assert after.log["size"]["sum"] == logs["size"] and after.log["size"]["count"] == 1
