import itertools

import pytest

from affect_jax.trials import Trial, config_of, ranked, settings
from configs.base import base_config
from configs.mtl import get_config
from data_pipelines.errors import UserError

SPACE = (("optim.lr", (1e-4, 3e-4, 1e-3)), ("ema_decay", (0.0, 0.9)), ("seed", (0, 1)))


def config(space=SPACE, **sweep):
    c = get_config("smoke")
    c.sweep.space = space
    for key, value in sweep.items():
        c.sweep[key] = value
    return c


def test_a_grid_has_every_combination_and_its_last_key_changes_fastest():
    plan = settings(config())
    assert list(plan) == [f"trial{i}" for i in range(1, 13)]
    keys = [key for key, _ in SPACE]
    expected = itertools.product(*(values for _, values in SPACE))
    assert list(plan.values()) == [dict(zip(keys, values)) for values in expected]


def test_the_same_seed_draws_the_same_trials_and_more_of_them_begin_with_these():
    draw = lambda trials, seed=0: settings(config(method="random", trials=trials, seed=seed))  # noqa: E731
    few, many = draw(5), draw(9)
    assert few == draw(5) == {name: many[name] for name in few} != draw(5, seed=1)
    every = [tuple(values.items()) for values in draw(1000).values()]
    assert len(every) == len(set(every)) == 12


def test_some_settings_of_a_space_too_large_to_count_are_drawn():
    space = tuple((f"key{k}", tuple(range(20))) for k in range(40))
    drawn = settings(config(space, method="random", trials=50))
    values = [tuple(one.values()) for one in drawn.values()]
    assert len(set(values)) == 50 and {v for one in values for v in one} == set(range(20))
    with pytest.raises(UserError, match=r"trials, expected at most 10,000.*method=random"):
        settings(config(space))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ((), "is empty: expected"),
        (("optim.lr", (1e-4, 3e-4)), r"got 'optim.lr'. Of one key too, the outer brackets end"),
        ((("optim.lr", 1e-4),), "expected .* got"),
        ((("optim.lr", ()),), "optim.lr has no values"),
        ((("optim.lr", (1e-4, 1e-4)),), "0.0001 comes twice"),
        ((("optim.lr", (1,)), ("optim.lr", (2,))), "optim.lr comes twice"),
        ((("optim.lr", (None,)),), "None is no number, text, or tuple"),
        ((("data.split", ("a", "b")),), "data.split is the same in all trials"),
        ((("folds.count", (2, 3)),), "folds.count is the same in all trials"),
        ((("tasks", (("valence",), ("arousal",))),), r"\('valence',\) is no order of config.tasks"),
        ((("tasks", ("valence", "arousal")),), "'valence' is no order of config.tasks"),
    ],
)
def test_a_space_that_is_none_is_refused(space, message):
    with pytest.raises(UserError, match=message) as error:
        settings(config(space))
    assert "\n" not in str(error.value)


def test_the_order_of_the_tasks_in_which_a_chain_goes_is_searched():
    orders = tuple(itertools.permutations(config().tasks))[:3]
    trials = settings(config((("tasks", orders),)))
    assert [config_of(config(), values).tasks for values in trials.values()] == list(orders)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optim.rl": 1}, "config.sweep.space: --config.optim.rl: no such key. Did you mean"),
        ({"optim": 1}, "a group of keys"),
        ({"optim.lr": "fast"}, "expected a number"),
        ({"epochs": 1.5}, "expected a whole number"),
        ({"optim.beta1": 1.0}, "below 1"),
    ],
)
def test_a_value_that_the_key_does_not_take_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        config_of(config(), values)


def test_a_trial_has_the_values_of_its_setting_as_the_command_line_reads_them():
    values = {"optim.lr": 1, "data.lanes": True, "model.features": ("a", "b"), "optim.name": "sgd"}
    own = config_of(config(), values)
    assert own.optim.lr == 1.0 and type(own.optim.lr) is float
    assert own.data.lanes is True and own.model.features == ("a", "b")
    assert own.optim.name == "sgd" and own.sweep.space == ()
    assert config().optim.lr != 1.0


def test_a_number_that_is_none_never_wins_and_of_equal_ones_the_first_does():
    scores = [float("nan"), 0.5, None, 0.7, 0.7, float("inf")]
    trials = [Trial(str(i), {}, {"x": s} if s is not None else {}) for i, s in enumerate(scores)]
    assert [t.name for t in ranked(trials, "x", 1)] == ["3", "4", "1"]
    assert [t.name for t in ranked(trials, "x", -1)] == ["1", "3", "4"]


def test_the_shipped_defaults_search_nothing():
    assert base_config().sweep.space == ()
