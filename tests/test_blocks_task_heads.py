"""VANILLA and CHAIN; their numbers are compared with the original's by the golden fixtures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.pooling import Pool
from affect_jax.models.blocks.task_heads import Chain, HeadTask, TaskHead, Vanilla

TASKS = (
    HeadTask("burst", "classes", 3),
    HeadTask("mood", "values", 2),
    HeadTask("cues", "labels", 4),
    HeadTask("level", "values", 1, sigmoid=True),
)
B, T, D = 4, 3, 5
RNG = np.random.default_rng(0)
X = RNG.normal(size=(B, T, D)).astype(np.float32)
MASK, ROWS = np.ones((B, T), bool), np.array([True, True, True, False])
LABELS = {
    "burst": (np.array([0, 2, 1, 0], np.int32), np.array([True, True, False, False])),
    "mood": (
        np.array([[0.5, np.nan], [0.1, 0.2], [0.3, 0.4], [np.nan] * 2], np.float32),
        np.array([[1, 0], [1, 1], [1, 1], [0, 0]], bool),
    ),
    "cues": (RNG.integers(0, 2, (B, 4)).astype(np.float32), np.ones((B, 4), bool)),
    "level": (np.full((B, 1), 0.7, np.float32), np.ones((B, 1), bool)),
}
CHAIN = Chain(TASKS, embedding=6, pooling="attention")


@pytest.fixture(scope="module")
def variables():
    drawn = jax.jit(CHAIN.init)(jax.random.key(0), [X], MASK, ROWS)
    noise = np.random.default_rng(1)
    return jax.tree.map(lambda p: p + 0.3 * noise.random(p.shape, np.float32), drawn)


@functools.partial(jax.jit, static_argnames=("chain", "train"))
def chained(variables, labels=LABELS, chain=CHAIN, progress=0.0, seed=0, train=True):
    rngs, mutable = {"dropout": jax.random.key(seed)}, ["batch_stats"]
    return chain.apply(
        *(variables, [X], MASK, ROWS, train, labels, progress), rngs=rngs, mutable=mutable
    )[0]


def test_parameters_are_named_after_parts_and_tasks():
    vanilla = Vanilla(TASKS[:2], embedding=6, pooling="attention")
    shapes = jax.eval_shape(vanilla.init, jax.random.key(0), [X], MASK, ROWS)["params"]
    linear = {"kernel": (5, 6), "bias": (6,)}
    assert jax.tree.map(jnp.shape, shapes)["task_mood"] == {
        "hidden": linear,
        "hidden_norm": {"scale": (6,), "bias": (6,)},
        "out": {"kernel": (6, 2), "bias": (2,)},
        "out_norm": {"scale": (2,), "bias": (2,)},
    }
    assert set(shapes) == {"pool_burst", "pool_mood", "task_burst", "task_mood"}


def test_each_link_reads_all_before_it(variables):
    widths = [variables["params"][f"task_{t.name}"]["hidden"]["kernel"].shape[0] for t in TASKS]
    assert widths == [D, D + 3, D + 3 + 2, D + 3 + 2 + 4]


def test_predictions_are_float32_of_each_size_and_the_squashed_ones_lie_in_0_1(variables):
    predictions, arrays = chained(variables, None, train=False)
    assert {n: (p.shape, p.dtype.name) for n, p in predictions.items()} == {
        t.name: ((B, t.size), "float32") for t in TASKS
    }
    assert {n: x.shape for n, x in arrays.items()} == {"embedding": (B, len(TASKS), 6)}
    level = np.asarray(predictions["level"])
    assert ((level > 0) & (level < 1)).all() and np.abs(predictions["mood"]).max() > 1


def test_labels_decide_the_links_in_training_where_they_exist(variables):
    taught, free = chained(variables)[0], chained(variables, None)[0]
    np.testing.assert_array_equal(taught["burst"], free["burst"])
    assert np.abs(taught["level"] - free["level"])[:3].min() > 1e-6
    assert all(np.isfinite(p).all() for p in taught.values())
    # A label that is missing is not read, whatever stands there.
    values, mask = LABELS["mood"]
    other = LABELS | {"mood": (np.where(mask, values, 9), mask)}
    jax.tree.map(np.testing.assert_array_equal, chained(variables, other)[0], taught)
    moved = LABELS | {"mood": (np.where(mask, values + 1, 9), mask)}
    assert np.abs(chained(variables, moved)[0]["cues"] - taught["cues"]).max() > 1e-6


def test_a_class_may_be_taught_as_shares_of_classes(variables):
    label, mask = LABELS["burst"]
    shares = LABELS | {"burst": (np.eye(3, dtype=np.float32)[label], mask)}
    for name, x in chained(variables)[0].items():
        np.testing.assert_array_equal(chained(variables, shares)[0][name], x)


def test_labels_change_no_prediction_in_evaluation(variables):
    (want, of_none), (got, of_labels) = (
        chained(variables, labels, train=False) for labels in (None, LABELS)
    )
    jax.tree.map(np.testing.assert_array_equal, got, want)
    np.testing.assert_array_equal(of_none["embedding"], of_labels["embedding"])


def test_each_link_is_also_evaluated_on_the_labels_before_it_where_they_exist(variables):
    def of_link(name, x):
        task = next(task for task in TASKS if task.name == name)
        own = {kind: tree[f"task_{name}"] for kind, tree in variables.items()}
        head = TaskHead(task.size, 6, True, task.sigmoid, jnp.float32)
        return head.apply(own, x, ROWS, False)[0]

    scores = {"params": variables["params"]["pool"]}
    clip = Pool("attention").apply(scores, X, MASK)
    burst, burst_mask = LABELS["burst"]
    x = clip
    told = np.where(burst_mask[:, None], np.eye(3)[burst], jax.nn.softmax(of_link("burst", x)))
    x, want = np.concatenate([x, told], 1), {}
    for name in ("mood", "cues", "level"):
        want[name] = of_link(name, x)
        label, mask = LABELS[name]
        own = jax.nn.sigmoid(want[name]) if name == "cues" else want[name]
        x = np.concatenate([x, np.where(mask, label, own)], 1)
    predictions, arrays = chained(variables, train=False)
    assert CHAIN.taught == tuple(want)
    for name, taught in want.items():
        np.testing.assert_allclose(arrays[f"taught/{name}"], taught, atol=1e-5)
        assert np.abs(predictions[name] - taught)[:2].max() > 1e-5
    assert set(arrays) == {"embedding", *(f"taught/{name}" for name in want)}
    assert set(chained(variables)[1]) == {"embedding"}


def test_own_predictions_are_probabilities_of_classes_and_labels(variables):
    own = chained(variables, None)[0]
    told = {
        "burst": jax.nn.softmax(own["burst"]),
        "mood": own["mood"],
        "cues": jax.nn.sigmoid(own["cues"]),
    }
    # Given as labels of values, they are read as they are.
    chain = CHAIN.clone(tasks=tuple(t._replace(kind="values") for t in TASKS))
    labels = {n: (x, np.ones(x.shape, bool)) for n, x in told.items()}
    again = chained(variables, labels, chain)[0]
    np.testing.assert_allclose(again["level"], own["level"], atol=1e-6)


def test_gradients_go_back_through_own_predictions():
    chain = Chain((TASKS[0], TASKS[3]), embedding=2, pooling="mean")
    drawn = chain.init(jax.random.key(0), [X], MASK, ROWS)

    def level(params):
        out = chain.apply(drawn | {"params": params}, [X], MASK, ROWS, mutable=["batch_stats"])
        return out[0][0]["level"][0, 0]

    grad = jax.jit(jax.grad(level))(drawn["params"])
    assert np.abs(grad["task_burst"]["out"]["kernel"]).max() > 1e-6


def test_teacher_forcing_fades_from_its_first_share_to_its_last(variables):
    fading = CHAIN.clone(teacher_forcing=(1.0, 0.0))
    values, mask = LABELS["mood"]
    others = LABELS | {"mood": (values + 1, mask)}

    def level(labels, progress):
        return chained(variables, labels, fading, progress)[0]["level"]

    assert np.abs(level(LABELS, 0.0) - level(others, 0.0)).max() > 1e-4
    np.testing.assert_array_equal(level(LABELS, 1.0), level(others, 1.0))
    # Programs of their own, which may round another way.
    full, none = chained(variables)[0]["level"], chained(variables, None)[0]["level"]
    np.testing.assert_allclose(level(LABELS, 0.0), full, rtol=1e-6)
    np.testing.assert_allclose(level(LABELS, 1.0), none, rtol=1e-6)
    half = [chained(variables, chain=fading, progress=0.5, seed=s)[0]["level"] for s in range(3)]
    assert np.abs(half[0] - half[1]).max() > 1e-6 or np.abs(half[0] - half[2]).max() > 1e-6


def test_filling_rows_are_no_part_of_the_statistics(variables):
    @jax.jit
    def stats(x):
        run = CHAIN.apply(variables, [x], MASK, ROWS, True, mutable=["batch_stats"])
        return run[1]["batch_stats"]

    other = np.where(ROWS[:, None, None], X, 99)
    jax.tree.map(np.testing.assert_array_equal, stats(other), stats(X))


@pytest.mark.parametrize("shares", [(1.0,), (1.0, 1.5), (-0.1, 0.0)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="teacher_forcing = .*: expected the shares of rows"):
        Chain(TASKS, embedding=6, pooling="mean", teacher_forcing=shares)
