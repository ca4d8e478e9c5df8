import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from affect_jax import optim
from configs.base import base_config
from data_pipelines.errors import UserError


def config(**changes):
    c = base_config().optim
    c.update(changes)
    return c


def rates(epochs, **changes):
    rate = optim.learning_rate(config(**changes), epochs=10)
    return np.array([rate(jnp.float32(e)) for e in epochs])


@pytest.mark.parametrize(
    ("schedule", "alone"),
    [
        *[(name, True) for name in ("constant", "plateau", "step")],
        *[(name, False) for name in ("linear", "warmup", "cosine")],
    ],
)
def test_a_training_can_be_extended_where_the_rates_of_its_past_are_the_same(schedule, alone):
    for pair in ((2, 4), (4, 2)):
        assert optim.same_rates(config(schedule=schedule), *pair) == alone
        for fixed in (dict(decay_epochs=5), dict(hold_epochs=9)):
            assert optim.same_rates(config(schedule=schedule, **fixed), *pair)


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


def test_by_epoch_the_rate_is_constant_within_an_epoch():
    c = dict(schedule="linear", lr=1.0, hold_epochs=0, decay_epochs=9)
    by_epoch, by_step = rates([3, 3.9], by="epoch", **c), rates([3, 3.9], by="step", **c)
    assert by_epoch[0] == by_epoch[1] and by_step[0] > by_step[1]


def test_the_plateau_rule_cuts_after_more_than_patience_evaluations():
    scale, stale, cuts = 1.0, 0, []
    for improved in [True, False, False, False, False, False, False]:
        scale, stale = optim.plateau(scale, stale, improved, factor=0.5, patience=2)
        cuts.append(scale)
    assert cuts == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_each_subnetwork_is_clipped_by_its_own_norm():
    grads = {"encoder": {"w": jnp.array([3.0, 4.0])}, "valence": {"w": jnp.array([0.3])}}
    clip = optim.clip_by_subnetwork(1.0)
    got, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(got["encoder"]["w"], [0.6, 0.8], rtol=1e-5)
    np.testing.assert_array_equal(got["valence"]["w"], grads["valence"]["w"])


def test_the_optimiser_equals_optax_adamw():
    params = {"encoder": {"w": jnp.arange(4.0)}}
    ours = optim.optimiser(config(name="adamw", weight_decay=0.1, clip_norm=0.0), params)
    theirs = optax.adamw(1e-2, 0.9, 0.999, 1e-8, weight_decay=0.1)
    a, b, sa, sb = params, params, ours.init(params), theirs.init(params)
    for i in range(4):
        grads = jax.tree.map(lambda p: jnp.sin(p + i), a)  # noqa: B023 - used at once
        direction, sa = ours.update(grads, sa, a)
        updates, sb = theirs.update(jax.tree.map(lambda p: jnp.sin(p + i), b), sb, b)  # noqa: B023
        a = jax.tree.map(lambda p, d: p - 1e-2 * d, a, direction)
        b = optax.apply_updates(b, updates)
    np.testing.assert_allclose(a["encoder"]["w"], b["encoder"]["w"], rtol=1e-5)


def test_frozen_parameters_get_no_update_and_no_moments():
    params = {"encoder": {"w": jnp.ones(3)}, "valence": {"w": jnp.ones(2)}}
    rule = optim.optimiser(config(), params, freeze=("encoder/.*",))
    state = rule.init(params)
    direction, _ = rule.update(jax.tree.map(jnp.ones_like, params), state, params)
    assert not direction["encoder"]["w"].any() and direction["valence"]["w"].all()
    assert sum(x.size for x in jax.tree.leaves(state)) == 2 * 2 + 1


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
        optim.learning_rate(config(**changes), epochs=10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(name="sgd"), "config.optim.name"),
        (dict(clip="each"), "config.optim.clip"),
        (dict(weight_decay=0.1), "use --config.optim.name=adamw"),
    ],
)
def test_an_unknown_optimiser_names_the_key(changes, message):
    with pytest.raises(UserError, match=message):
        optim.optimiser(config(**changes), {})


def test_a_freeze_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UserError, match=r"pattern 'encodr/\.\*' matches no parameter"):
        optim.optimiser(config(), {"encoder": {"w": jnp.ones(2)}}, freeze=("encodr/.*",))
