import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import schedules
from configs.base import base_config
from data_pipelines.errors import UserError


def config(**changes):
    c = base_config().optim
    c.update(changes)
    return c


def rates(epochs, **changes):
    rate = schedules.learning_rate(config(**changes), epochs=10)
    return np.array([rate(jnp.float32(e)) for e in epochs])


def test_linear_holds_and_then_falls_towards_zero():
    got = rates(range(5), schedule="linear", by="epoch", lr=1.0, hold_epochs=2, decay_epochs=3)
    np.testing.assert_allclose(got, [1, 1, 0.75, 0.5, 0.25], rtol=1e-6)
    assert not rates([5, 6, 99], schedule="linear", hold_epochs=2, decay_epochs=3).any()


def test_warmup_rises_and_falls():
    c = dict(schedule="warmup", by="epoch", lr=1.0, hold_epochs=2, decay_epochs=4)
    np.testing.assert_allclose(
        rates(range(6), warmup_offset=0, **c), [0, 0.5, 1, 0.75, 0.5, 0.25], rtol=1e-6
    )
    assert rates([0], warmup_offset=1, **c)[0] == pytest.approx(1 / 3)
    assert not rates([6, 7, 99], **c).any()


def test_cosine_ends_at_zero_and_does_not_rise_again():
    c = dict(schedule="cosine", by="step", lr=2.0, hold_epochs=0, decay_epochs=10)
    np.testing.assert_allclose(rates([0, 5, 10, 15], **c), [2, 1, 0, 0], atol=1e-6)


def test_steps_begin_after_the_epochs_that_hold():
    c = dict(schedule="held_step", by="epoch", lr=0.01, factor=0.9, every_epochs=5)
    epochs = np.array([0, 80, 81, 84.5, 85, 90, 249])
    want = 0.01 * 0.9 ** np.maximum(0, (epochs - 80) // 5)
    np.testing.assert_allclose(rates(epochs, hold_epochs=80, **c), want, rtol=1e-5)
    np.testing.assert_allclose(rates([4, 5, 10], **c), [0.01, 0.009, 0.0081], rtol=1e-5)


def test_by_epoch_the_rate_is_constant_within_an_epoch():
    c = dict(schedule="linear", lr=1.0, hold_epochs=0, decay_epochs=9)
    by_epoch, by_step = rates([3, 3.9], by="epoch", **c), rates([3, 3.9], by="step", **c)
    assert by_epoch[0] == by_epoch[1] and by_step[0] > by_step[1]


def test_decay_fills_what_is_left_of_the_epochs():
    left = rates(range(10), schedule="cosine", hold_epochs=2, decay_epochs=0)
    said = rates(range(10), schedule="cosine", hold_epochs=2, decay_epochs=8)
    np.testing.assert_array_equal(left, said)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(schedule="cosin"), "Did you mean 'cosine'"),
        (dict(by="hour"), "expected 'epoch' or 'step'"),
    ],
)
def test_an_unknown_schedule_names_the_key(changes, message):
    with pytest.raises(UserError, match=message):
        schedules.learning_rate(config(**changes), epochs=10)


def test_the_plateau_rule_cuts_after_more_than_patience_evaluations():
    scale, waited, cuts = 1.0, 0, []
    for improved in [True, False, False, False, False, False, False]:
        scale, waited = schedules.plateau(scale, waited, improved, factor=0.5, patience=2)
        cuts.append(scale)
    assert cuts == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_no_cut_goes_below_the_least_and_none_raises_a_rate_that_was_below_it():
    rule = dict(factor=0.5, patience=0, least=0.4)
    assert schedules.plateau(1.0, 0, False, **rule) == (0.5, 0)
    assert schedules.plateau(0.5, 0, False, **rule) == (0.4, 0)
    assert schedules.plateau(0.3, 0, False, **rule) == (0.3, 0)


@pytest.mark.parametrize(
    ("value", "best", "sign", "better"),
    [
        # As torch has it: value > best * 1.1, or value < best * 0.9.
        *[(0.56, 0.5, 1, True), (0.54, 0.5, 1, False), (-0.54, -0.5, 1, True)],
        *[(0.44, 0.5, -1, True), (0.46, 0.5, -1, False)],
        *[(0.0, -np.inf, 1, True), (9.0, np.inf, -1, True), (np.nan, 0.0, 1, False)],
    ],
)
def test_a_score_is_better_by_a_share_of_the_best(value, best, sign, better):
    assert schedules.is_better(sign * value, sign * best, sign, 0.1) is better
