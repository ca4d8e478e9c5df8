"""Both versions of BRANCH; their numbers are compared with the original's by golden fixtures."""

import functools

import jax
import numpy as np
import pytest

from affect_jax.models.blocks.branches import Branch, BranchTowers
from affect_jax.models.blocks.task_heads import HeadTask

TASKS = tuple(HeadTask(name, "values", 2) for name in ("a", "b", "c", "d"))
FORMS = {
    Branch: {
        "even": (-1, 3, 6, 9, 12),
        "first": (-1, 1, 2, 3, 4),
        "middle": (-1, 5, 6, 7, 8),
        "last": (-1, 9, 10, 11, 12),
    },
    BranchTowers: {
        "even": (2, 4, 6, 8, 10, 12),
        "first": (3, 6, 9, 12),
        "middle": (6, 8, 10, 12),
        "last": (9, 10, 11, 12),
    },
}
SIZES = dict(embedding=8, pooling="mean", heads=2)
B, T, D = 3, 4, 5


@pytest.mark.parametrize("form", FORMS)
def test_hidden_states_are_chosen_by_their_share_of_the_depth(form):
    for layers, at_12 in FORMS[form].items():
        assert form(TASKS, layers=layers, **SIZES).reads(12) == at_12
    even = form(TASKS, **SIZES)
    assert even.reads(24)[-1] == 24 and even.reads(24)[-2] == 2 * FORMS[form]["even"][-2]
    # 3/12 and 2/12 of 2 layers are below 1/2 and 1: the first layer is the least.
    assert set(even.reads(2)) - {-1} == {1, 2}


def test_a_series_for_any_number_of_tasks_reads_a_state_for_each():
    for n in (1, 2, 3, 6, 14):
        tasks = tuple(HeadTask(f"t{i}", "values", 1) for i in range(n))
        for layers in FORMS[Branch]:
            read = Branch(tasks, layers=layers, **SIZES).reads(12)
            assert len(read) == n + 1 and all(1 <= i <= 12 for i in read[1:])
            assert list(read[1:]) == sorted(read[1:])
    assert Branch(TASKS[:2], **SIZES).reads(12) == (-1, 6, 12)


@pytest.mark.parametrize("form", FORMS)
def test_padding_changes_nothing_and_dropout_is_of_training_alone(form):
    head = form(TASKS[:2], dropout=0.5, layers="last", **SIZES)
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(B, T, D)).astype(np.float32) for _ in head.reads(12)]
    mask = np.arange(T) < np.array([[4], [2], [3]])
    rows = np.ones(B, bool)
    variables = jax.jit(head.init)(jax.random.key(0), states, mask, rows)

    @functools.partial(jax.jit, static_argnames="train")
    def run(states, seed=0, train=False):
        given = (variables, states, mask, rows, train)
        return head.apply(*given, rngs={"dropout": jax.random.key(seed)}, mutable=["batch_stats"])[
            0
        ]

    want, arrays = run(states)
    got, _ = run([np.where(mask[..., None], x, 1e2) for x in states])
    for task in want:
        np.testing.assert_allclose(got[task], want[task], atol=1e-5)
        assert want[task].shape == (B, 2)
    assert arrays["embedding"].shape == (B, 2, 8)
    first, second = (run(states, seed, train=True)[0]["b"] for seed in (1, 2))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_fields_that_make_no_sense_are_refused(form):
    for changes, message in (
        (dict(heads=3), "heads = 3 does not divide embedding = 8."),
        (dict(layers="evn"), "layers = 'evn': no such choice. Did you mean 'even'"),
        (dict(pooling="avg"), "pooling = 'avg': no such pooling."),
        (dict(dropout=1.0), "dropout = 1.0"),
        (dict(embedding=0), "embedding = 0: expected 1 or more."),
    ):
        with pytest.raises(ValueError) as error:
            form(TASKS, **{**SIZES, **changes})
        assert str(error.value).startswith(message)
