"""The objective: tasks, weightings across and inside them, and what a model adds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import losses
from affect_jax.models import Output
from affect_jax.objective import AuxMeans, Objective, aux_sums
from affect_jax.tasks import Task
from data_pipelines.errors import UserError

TASKS = (
    Task("valence", "values", 1, loss="mse", weight=2.0),
    Task("emotions", "values", 3, loss="ccc"),
    Task("au", "labels", 2, loss="bce"),
)
RNG = np.random.default_rng(0)
LABELS = {task.name: RNG.random((2, 5, task.size)).astype(np.float32) for task in TASKS}
RAW = {name: RNG.normal(size=x.shape).astype(np.float32) for name, x in LABELS.items()}
MASKS = {name: RNG.random(x.shape) < 0.8 for name, x in LABELS.items()}
BATCH = {"labels": LABELS, "label_mask": MASKS}


@functools.cache
def alone(name):
    """The loss of one task by itself."""
    loss = {task.name: getattr(losses, task.loss) for task in TASKS}[name]
    return loss(RAW[name], LABELS[name], MASKS[name])


def of(objective, params=None, state=None, aux=None, batch=BATCH):
    """(total, next state, losses, counts) of the batch."""
    first = objective.init()
    params, state = first[0] if params is None else params, first[1] if state is None else state
    output = Output(RAW, aux={"losses": aux} if aux else {})
    total, state, (values, counts) = objective(params, state, output, batch, jnp.float32(0))
    return total, state, values, counts


def test_the_total_is_the_weighted_sum_and_the_logs_are_the_losses_before_it():
    total, state, values, counts = of(Objective(TASKS))
    want = 2 * alone("valence") + alone("emotions") + alone("au")
    np.testing.assert_allclose(total, want, rtol=1e-6)
    assert state == {} and set(values) == {*RAW, "total"}
    for name in RAW:
        np.testing.assert_allclose(values[name], alone(name), rtol=1e-6)
        assert counts[name] == MASKS[name].sum()


def test_the_parameters_of_a_weighting_are_named_by_task():
    params, _ = Objective(TASKS, "uncertainty").init()
    assert {k: sorted(v) for k, v in params.items()} == {"log_sigma": ["au", "emotions", "valence"]}
    params = {"log_sigma": {"valence": 0.1, "emotions": 0.2, "au": -0.3}}
    total = of(Objective(TASKS, "uncertainty"), params)[0]
    weights = {"valence": 2.0, "emotions": 1.0, "au": 1.0}
    want = sum(np.exp(-2 * s) * weights[n] * alone(n) + s for n, s in params["log_sigma"].items())
    np.testing.assert_allclose(total, want, rtol=1e-6)


def test_a_task_without_labels_or_weight_has_no_say_in_the_weighting():
    none = MASKS | {"au": np.zeros((2, 5, 2), bool)}
    tasks = (Task("valence", "values", 1, loss="mse", weight=0.0), *TASKS[1:])
    objective = Objective(tasks, "uncertainty")
    grads = jax.grad(lambda p: of(objective, p, batch=BATCH | {"label_mask": none})[0])(
        objective.init()[0]
    )["log_sigma"]
    assert grads["au"] == grads["valence"] == 0 != grads["emotions"]


def test_a_rule_inside_a_task_weighs_its_dimensions():
    inside = Task("emotions", "values", 3, loss="ccc", weighting="uncertainty", weight=0.5)
    objective = Objective((TASKS[0], inside))
    params, state = objective.init()
    assert jax.tree.map(jnp.shape, params) == {"inside": {"emotions": {"log_sigma": (3,)}}}
    s = np.array([0.1, -0.2, 0.3], np.float32)
    params = {"inside": {"emotions": {"log_sigma": s}}}
    mask = MASKS["emotions"].copy()
    mask[..., 1] = False
    batch = {"labels": LABELS, "label_mask": MASKS | {"emotions": mask}}
    total, state, values, _ = of(objective, params, batch=batch)
    grads = jax.grad(lambda p: of(objective, p, batch=batch)[0])(params)
    own = 0.0
    for k in (0, 2):
        column = (x[..., k : k + 1] for x in (RAW["emotions"], LABELS["emotions"], mask))
        own += np.exp(-2 * s[k]) * losses.ccc(*column) + s[k]
    np.testing.assert_allclose(total, 2 * alone("valence") + 0.5 * own, rtol=1e-5)
    assert grads["inside"]["emotions"]["log_sigma"][1] == 0 and state == {}
    want = losses.ccc(RAW["emotions"], LABELS["emotions"], mask)
    np.testing.assert_allclose(values["emotions"], want, rtol=1e-6)


def test_the_state_of_a_rule_follows_and_sees_the_epoch(monkeypatch):
    from affect_jax.weighting import WEIGHTINGS, Weighting

    def combine(params, state, losses, labelled, epoch):
        return losses.sum(), {"seen": state["seen"] + losses, "epoch": epoch}

    rule = Weighting(lambda n: ({}, {"seen": jnp.zeros(n), "epoch": jnp.float32(0)}), combine)
    monkeypatch.setitem(WEIGHTINGS, "counting", rule)
    inside = Task("emotions", "values", 3, loss="ccc", weighting="counting")
    objective = Objective((TASKS[0], inside), "counting")
    params, state = objective.init()
    structure = jax.tree.structure(state)
    for _ in range(2):
        _, state, _ = objective(params, state, Output(RAW), BATCH, jnp.float32(1.5))
    assert jax.tree.structure(state) == structure and params == {}
    assert state["epoch"] == state["inside"]["emotions"]["epoch"] == 1.5
    np.testing.assert_allclose(state["seen"][0], 2 * 2 * alone("valence"), rtol=1e-6)
    np.testing.assert_allclose(
        state["inside"]["emotions"]["seen"].mean(), 2 * alone("emotions"), rtol=1e-5
    )


def test_losses_of_the_model_are_added_with_their_weights_and_logged_with_none():
    aux = {"router": jnp.float32(3.0), "decoder": jnp.float32(jnp.nan), "other": jnp.float32(0.5)}
    objective = Objective(TASKS, aux={"router": 0.1, "decoder": 0.0})
    objective.require_aux(aux)
    total, _, values, counts = of(objective, aux=aux)
    np.testing.assert_allclose(total, of(Objective(TASKS))[0] + 0.3 + 0.5, rtol=1e-6)
    assert values["router"] == 3.0 and np.isnan(values["decoder"]) and counts["other"] == 1


def test_without_tasks_the_total_is_what_the_model_gives():
    total = of(Objective(()), aux={"decoder": jnp.float32(2.0)})[0]
    assert total == 2.0


@pytest.mark.parametrize(
    ("aux", "message"),
    [
        (dict(routr=1.0), "config.aux.routr: the model gives no loss of that name. .*'router'"),
        (dict(router="x"), "config.aux.router = 'x': expected a finite number"),
        (dict(router=-1.0), r"config.aux.router = -1.0: expected a number from 0 on"),
    ],
)
def test_a_wrong_weight_of_a_loss_names_the_key(aux, message):
    with pytest.raises(UserError, match=message):
        Objective(TASKS, aux=aux).require_aux(("router", "decoder"))


def test_a_loss_of_the_model_may_not_be_called_as_a_task():
    with pytest.raises(ValueError, match=r"\['au'\], names of other losses"):
        Objective(TASKS).require_aux(("au",))


def test_the_mean_of_a_split_counts_frames_and_no_filling():
    means, masks = AuxMeans(), np.zeros((3, 2, 4), bool)
    masks[0], masks[1, 0, :2] = True, True
    for value, mask in zip((1.0, 6.0, np.nan), masks, strict=True):
        output = Output({}, aux={"losses": {"router": jnp.float32(value)}})
        means.add(aux_sums(output, {"mask": mask}))
    assert means.scores() == {"aux/router": pytest.approx((8 * 1 + 2 * 6) / 10)}
    assert AuxMeans().scores() == {}


def test_the_mean_of_a_model_has_a_count_of_its_own():
    means = AuxMeans()
    for total, count in ((3.0, 4), (1.0, 1), (0.0, 0)):
        gate = {"gate/face": {"sum": jnp.float32(total), "count": jnp.float32(count)}}
        means.add(aux_sums(Output({}, aux={"means": gate}), {"mask": np.ones((2, 4), bool)}))
    assert means.scores() == {"gate/face": pytest.approx(4 / 5)}
