"""Bins: where values go, what comes back, and the losses of tasks of this kind."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from affect_jax import systems
from affect_jax.bins import assign, expectation, frequency_bins, uniform_bins
from affect_jax.metrics import METRICS
from affect_jax.prediction_files import Predictions
from affect_jax.report.predictions import traces_of
from affect_jax.tasks import Task, decode, from_json, loss, tasks_from_config, to_json
from configs.abaw_tasks import abaw_task
from data_pipelines.errors import UserError
from tests.stores import small_store
from tests.tiny import tiny_config

FOUR = uniform_bins(4)  # centres -1, -.5, .5, 1; edges -.75, 0, .75


def task(losses="ce", size=2, **changes):
    both = {name: FOUR[name] * size for name in FOUR}
    return Task("va", "bins", size, loss=losses, metrics=("ccc",), **{**both, **changes})


@pytest.fixture(scope="module")
def example():
    """logits [3, 5, K = 2, C = 4], labels and mask [3, 5, 2]; both NaN where masked."""
    rng = np.random.default_rng(0)
    mask = rng.random((3, 5, 2)) < 0.7
    logits = rng.normal(size=(3, 5, 2, 4))
    target = rng.uniform(-1, 1, (3, 5, 2))
    logits, target = np.where(mask[..., None], logits, np.nan), np.where(mask, target, np.nan)
    return logits.astype(np.float32), target.astype(np.float32), mask


def test_uniform_bins_have_one_width_and_both_ends():
    assert FOUR == {"centres": ((-1.0, -0.5, 0.5, 1.0),), "edges": ((-0.75, 0.0, 0.75),)}
    wide = uniform_bins(22)
    assert wide["centres"][0][:3] == (-1.0, -0.95, -0.85)
    assert wide["edges"][0][:3] == (-0.975, -0.9, -0.8) and len(wide["edges"][0]) == 21


def test_bins_by_frequency_hold_equally_many_labels():
    counts = np.array([10, 400, 90, 100])
    cells = np.linspace(-1, 1, 5)
    labels = [a + 0.5 * (np.arange(n) + 0.5) / n for a, n in zip(cells, counts, strict=False)]
    bins = frequency_bins(counts)
    numbers = assign(np.concatenate(labels)[:, None], bins["edges"])[:, 0]
    held = np.bincount(numbers)
    assert held[2] == held[3] == 150
    # The end bins take half of the range of their neighbours.
    assert held[0] + held[1] == held[4] + held[5] == 150
    # Equal counts are equal widths.
    assert frequency_bins([7, 7])["centres"] == FOUR["centres"]
    assert frequency_bins([7, 7])["edges"] == FOUR["edges"]


@pytest.mark.parametrize(
    ("value", "number"),
    [(-5, 0), (-1, 0), (-0.75, 1), (-0.01, 1), (0, 2), (0.7499, 2), (0.75, 3), (1, 3), (9, 3)],
)
def test_every_value_belongs_to_one_bin_and_one_on_an_edge_to_the_upper(value, number):
    assert assign(np.float32([value]), FOUR["edges"])[0] == number


def test_every_value_has_its_own_edges():
    edges, values = ((-0.5, 0.5), (0.0, 0.1)), np.float32([[0.2, 0.2], [-0.2, -0.2]])
    np.testing.assert_array_equal(assign(values, edges), [[1, 2], [1, 0]])
    np.testing.assert_array_equal(assign(jnp.asarray(values), edges), [[1, 2], [1, 0]])


def test_the_expectation_takes_each_value_with_its_own_centres():
    centres = ((-1.0, 0.0, 2.0), (5.0, 6.0, 7.0))
    certain = np.full((2, 3), -200.0, np.float32)
    certain[0, 2] = certain[1, 1] = 200
    np.testing.assert_allclose(expectation(certain, centres), [2, 6], rtol=1e-6)
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, 2, 3)).astype(np.float32)
    want = (scipy.special.softmax(logits.astype(float), -1) * centres).sum(-1)
    np.testing.assert_allclose(expectation(logits, centres), want, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(lambda x: expectation(x, centres))(logits), want, rtol=1e-5)
    decoded = decode(task(centres=centres, edges=((0.0, 1.0),) * 2), logits)
    np.testing.assert_allclose(decoded, want, rtol=1e-5)


# One compilation a loss.
LOSS = {
    name: jax.jit(jax.value_and_grad(functools.partial(loss, task(name))))
    for name in ("mse", "ccc+ce")
}


def reference(name, logits, target, mask):
    """In float64, written apart; labels of FOUR."""
    p = scipy.special.softmax(logits.astype(float), -1)
    terms = []
    for k in range(2):
        t, q = target[..., k][mask[..., k]].astype(float), p[..., k, :][mask[..., k]]
        values = q @ [-1, -0.5, 0.5, 1]
        if name == "ce":
            numbers = np.digitize(t, [-0.75, 0, 0.75])
            terms.append(-np.log(q[np.arange(len(t)), numbers]))
        elif name == "mse":
            terms.append((values - t) ** 2)
        else:
            spread = values.var() + t.var() + (values.mean() - t.mean()) ** 2
            cov = np.mean((values - values.mean()) * (t - t.mean()))
            terms.append([1 - 2 * cov / spread])
    return np.concatenate(terms).mean()


@pytest.mark.parametrize("name", ["mse", "ccc+ce"])
def test_losses_of_bins_equal_their_formula_and_masked_numbers_may_be_nan(example, name):
    value, gradient = LOSS[name](*example)
    want = sum(reference(part, *example) for part in name.split("+"))
    np.testing.assert_allclose(value, want, rtol=1e-5)
    gradient, mask = np.asarray(gradient), example[-1]
    assert (gradient[~mask] == 0).all() and (gradient[mask] != 0).any()
    assert np.isfinite(gradient).all()


def test_bins_without_any_label_cost_nothing(example):
    logits, target, mask = example
    value, gradient = LOSS["ccc+ce"](logits, target, np.zeros_like(mask))
    assert value == 0 and not np.asarray(gradient).any()


def test_losses_of_other_kinds_can_be_added_too():
    both = jax.jit(functools.partial(loss, Task("x", "values", 1, loss="mse+ccc")))
    assert both(np.zeros((4, 1)), np.ones((4, 1)), np.ones((4, 1), bool)) == 2


def test_a_task_of_bins_is_scored_as_values(example):
    logits, target, mask = example
    decoded = decode(task(), np.nan_to_num(logits)).reshape(-1, 2)
    states = [
        METRICS["ccc"].update(
            METRICS["ccc"].init(one), decoded, target.reshape(-1, 2), mask.reshape(-1, 2)
        )
        for one in (task(), Task("va", "values", 2))
    ]
    assert METRICS["ccc"].compute(states[0]) == METRICS["ccc"].compute(states[1])
    assert task().label_kind == "values" and task().raw_shape == (2, 4)


def test_the_task_table_keeps_bins_and_is_short():
    one = task(**{name: rows * 2 for name, rows in uniform_bins(22).items()})
    one = Task(**{**one.__dict__, "decode": "expectation"})
    text = to_json((one, Task("x", "values", 1, loss="mse", decode="identity")))
    assert from_json(text)[0] == one and hash(one)
    assert len(text.splitlines()) == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(centres=()), "centres: a row for each of 1 values, got 0"),
        (dict(edges=FOUR["edges"] * 2), "edges: a row for each of 1 values, got 2"),
        (dict(edges=((0.0,),)), "edges: 4 centres need 3 edges, got 1"),
        (dict(edges=((0.0, -0.5, 1.0),)), "edges: the numbers of a row must rise"),
        (dict(kind="values"), "centres: only a task of kind 'bins' has them, not values"),
        (dict(loss="ccc+bce"), "loss = 'bce': not for bins. "),
        (dict(loss="ccc+"), r"loss = 'ccc\+': the name of a loss is missing. "),
        (dict(size=2, centres=((-1.0, 1.0), (0.0, 1.0, 2.0))), "centres: the rows differ"),
    ],
)
def test_a_wrong_table_of_bins_is_one_line(change, message):
    entry = abaw_task("valence", kind="bins", loss="ccc", decode="", **FOUR) | change
    with pytest.raises(UserError, match=f"^config.task.valence.{message}") as error:
        tasks_from_config(dict(tasks=("valence",), task=dict(valence=entry)))
    assert "\n" not in str(error.value)


def test_a_store_of_values_fits_bins_and_one_of_classes_does_not(tmp_path):
    config = tiny_config(small_store(tmp_path / "store").path, tasks="valence,expression")
    binned = dict(kind="bins", loss="ccc", metrics=("ccc",), decode="", names=(), **FOUR)
    config.task.valence.update(binned)
    systems.build(config)
    config.task.expression.update(binned | dict(size=1))
    with pytest.raises(UserError, match="'expression' is classes of size 8, .* says values of"):
        systems.build(config)


def test_labels_that_are_no_class_are_refused_before_the_training(tmp_path):
    path = small_store(tmp_path / "store").path
    values, mask = (np.load(path / f"labels/expression{end}.npy") for end in ("", ".mask"))
    values[np.argmax(mask)] = 8
    np.save(path / "labels" / "expression.npy", values)
    with pytest.raises(UserError, match=r"expression\.npy: 8 at track 'train0', .* 0 to 7"):
        systems.build(tiny_config(path))


def test_pictures_show_the_expectation():
    raw = np.random.default_rng(0).normal(size=(5, 1, 4)).astype(np.float32)
    one, n = task(size=1), np.arange(5, dtype=np.int32)
    (track,) = traces_of({one: Predictions(np.array(["a"]), 0 * n, n + 1, raw)})
    np.testing.assert_array_equal(track["pred"]["va"], decode(one, raw)[:, 0])
