import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from affect_jax import optim
from affect_jax.state import merged
from configs.base import base_config
from data_pipelines.errors import UserError


def config(**changes):
    c = base_config().optim
    with c.ignore_type():
        c.update(changes)
    return c


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


def test_each_subnetwork_is_clipped_by_its_own_norm():
    grads = {"encoder": {"w": jnp.array([3.0, 4.0])}, "valence": {"w": jnp.array([0.3])}}
    clip = optim.clip_by_subnetwork(1.0)
    got, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(got["encoder"]["w"], [0.6, 0.8], rtol=1e-5)
    np.testing.assert_array_equal(got["valence"]["w"], grads["valence"]["w"])


def updated(rule, params, gradients):
    """(params after the updates, state), the learning rate as the rule has it in epoch 0."""
    state, scale = rule.init(params), rule.fresh_plateau()["scale"]
    for gradient in gradients:
        trained, frozen = rule.split(params)
        grads, _ = rule.split(gradient)
        trained, state = rule.update(grads, state, trained, jnp.float32(0), scale)
        params = merged(frozen, trained)
    return params, state


def grouped(groups, **changes):
    """The optim config with those groups, {name: fields}, in their order."""
    return config(groups=tuple(groups), group=ConfigDict(groups), schedule="constant", **changes)


PARAMS = {"encoder": {"w": jnp.arange(4.0), "b": jnp.ones(2)}, "valence": {"w": jnp.ones(3)}}
GRADIENTS = [jax.tree.map(lambda p: jnp.sin(p + i), PARAMS) for i in range(4)]  # noqa: B023


def recurrence(p, gradients, *, lr, decay, momentum, nesterov, clip):
    """torch.optim.SGD after clamping, in float64: one array, by its documented algorithm."""
    p, v = np.asarray(p, np.float64), 0.0
    for g in gradients:
        g = np.clip(np.asarray(g, np.float64), -clip, clip) + decay * p
        v = momentum * v + g
        p = p - lr * (g + momentum * v if nesterov else v)
    return p


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_equals_a_recurrence_by_hand(momentum, nesterov):
    c = grouped({}, name="sgd", lr=0.1, weight_decay=0.05, momentum=momentum, nesterov=nesterov)
    c.clip, c.clip_norm = "value", 0.3
    got, _ = updated(optim.Optimiser(c, PARAMS, epochs=1), PARAMS, GRADIENTS)
    options = dict(lr=0.1, decay=0.05, momentum=momentum, nesterov=nesterov, clip=0.3)
    for name, leaf in optim.paths(got).items():
        gradients = [optim.paths(g)[name] for g in GRADIENTS]
        want = recurrence(optim.paths(PARAMS)[name], gradients, **options)
        np.testing.assert_allclose(leaf, want, rtol=1e-5)


def test_sgd_with_nothing_to_do_but_a_step_takes_it():
    c = grouped({}, name="sgd", lr=0.5, momentum=0.0, clip_norm=0.0)
    got, _ = updated(optim.Optimiser(c, PARAMS, epochs=1), PARAMS, GRADIENTS[:1])
    want = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, GRADIENTS[0])
    jax.tree.map(np.testing.assert_array_equal, got, want)


def test_the_optimiser_equals_optax_adamw():
    c = grouped({}, name="adamw", lr=1e-2, weight_decay=0.1, clip_norm=0.0)
    a, state = updated(optim.Optimiser(c, PARAMS, epochs=1), PARAMS, GRADIENTS)
    theirs = optax.adamw(1e-2, 0.9, 0.999, 1e-8, weight_decay=0.1)
    b, sb = PARAMS, theirs.init(PARAMS)
    for gradient in GRADIENTS:
        updates, sb = theirs.update(gradient, sb, b)
        b = optax.apply_updates(b, updates)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), a, b)
    # The structure that stored runs have.
    kept = optax.adamw(1.0, mask=jax.tree.map(lambda _: True, PARAMS)).init(PARAMS)[:2]
    assert jax.tree.structure(state) == jax.tree.structure(kept)


def test_groups_have_their_own_rate_decay_and_clip_and_the_first_match_wins():
    groups = dict(
        plain=dict(match=".*/b", weight_decay=0.0, clip_norm=0.1),
        slow=dict(match=("encoder/.*", "valence/x"), rate=0.1),
    )
    params = PARAMS | {"valence": {"w": jnp.ones(3), "x": jnp.ones(1)}}
    gradients = [jax.tree.map(lambda p: jnp.sin(p + i), params) for i in range(3)]  # noqa: B023
    c = grouped(groups, name="sgd", lr=0.1, weight_decay=0.5, clip="value", clip_norm=0.3)
    rule = optim.Optimiser(c, params, epochs=1)
    assert rule.summary == "parameters by group: plain 1, slow 2, default 1"
    got, _ = updated(rule, params, gradients)
    own = {"encoder/b": dict(lr=0.1, decay=0.0, clip=0.1)}
    own |= {name: dict(lr=0.01, decay=0.5, clip=0.3) for name in ("encoder/w", "valence/x")}
    for name, leaf in optim.paths(got).items():
        options = own.get(name, dict(lr=0.1, decay=0.5, clip=0.3)) | dict(momentum=0.9)
        seen = [optim.paths(g)[name] for g in gradients]
        want = recurrence(optim.paths(params)[name], seen, nesterov=False, **options)
        np.testing.assert_allclose(leaf, want, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("clip", ["global", "subnetwork"])
def test_a_group_with_its_own_norm_is_clipped_apart_and_the_others_together(clip):
    groups = dict(alone=dict(match="valence/.*", clip_norm=2.0), with_=dict(match=".*/b", rate=0.5))
    c = grouped(groups, name="sgd", lr=1.0, momentum=0.0, clip=clip, clip_norm=1.0)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    gradient = {"encoder": {"w": jnp.array([3.0, 0, 0, 0]), "b": jnp.array([4.0, 0])}}
    gradient |= {"valence": {"w": jnp.array([0.0, 8.0, 0])}}
    got, _ = updated(optim.Optimiser(c, PARAMS, epochs=1), zeros, [gradient])
    np.testing.assert_allclose(got["encoder"]["w"], [-0.6, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(got["encoder"]["b"], [-0.4, 0], rtol=1e-6)
    np.testing.assert_allclose(got["valence"]["w"], [0, -2.0, 0], rtol=1e-6)


def test_groups_of_one_recipe_train_as_one_and_keep_the_state_of_a_run_without_groups():
    plain = grouped({}, name="adamw", weight_decay=0.1)
    same = grouped(dict(encoder=dict(match="encoder/.*")), name="adamw", weight_decay=0.1)
    want, a = updated(optim.Optimiser(plain, PARAMS, epochs=1), PARAMS, GRADIENTS)
    got, b = updated(optim.Optimiser(same, PARAMS, epochs=1), PARAMS, GRADIENTS)
    jax.tree.map(np.testing.assert_array_equal, (got, a[1]), (want, b[1]))


def test_a_group_follows_its_own_schedule():
    c = grouped(dict(head=dict(match="valence/.*", schedule="cosine", rate=2.0)), lr=1.0)
    rule = optim.Optimiser(c, PARAMS, epochs=10)
    rates = rule.rates(jnp.float32(5), {"head": 0.5, "default": 1.0})
    assert rates == {"head": pytest.approx(0.5), "default": 1.0}


@pytest.mark.parametrize("of", ["freeze", "group"])
def test_frozen_parameters_get_no_gradient_no_update_and_no_moments(of):
    groups = dict(still=dict(match="encoder/.*", frozen=True)) if of == "group" else {}
    freeze = ("encoder/.*",) if of == "freeze" else ()
    rule = optim.Optimiser(grouped(groups), PARAMS, freeze, epochs=1)
    trained, frozen = rule.split(PARAMS)
    assert set(optim.paths(trained)) == {"valence/w"} and set(frozen) == {"encoder"}
    got, state = updated(rule, PARAMS, GRADIENTS)
    jax.tree.map(np.testing.assert_array_equal, got["encoder"], PARAMS["encoder"])
    assert (got["valence"]["w"] != PARAMS["valence"]["w"]).all()
    assert sum(x.size for x in jax.tree.leaves(state)) == 2 * 3 + 1
    assert "(frozen)" in rule.summary and set(rule.fresh_plateau()["scale"]) == {"default"}


def test_freeze_comes_before_the_groups():
    groups = dict(all=dict(match=".*", rate=0.1))
    rule = optim.Optimiser(grouped(groups), PARAMS, ("encoder/w",), epochs=1)
    assert rule.summary == "parameters by group: freeze 1 (frozen), all 2, default 0"


@pytest.mark.parametrize("freeze", [("encoder/.*",), (".*",)])
def test_freeze_may_have_all_that_a_group_matches(freeze):
    groups = dict(slow=dict(match="encoder/.*", rate=0.1, clip_norm=1.0))
    rule = optim.Optimiser(grouped(groups), PARAMS, freeze, epochs=1)
    assert rule.summary.endswith("slow 0, default 1" if "encoder" in freeze[0] else "0, default 0")
    got, _ = updated(rule, PARAMS, GRADIENTS)
    jax.tree.map(np.testing.assert_array_equal, got["encoder"], PARAMS["encoder"])
    assert (got["valence"]["w"] != PARAMS["valence"]["w"]).all() == ("encoder" in freeze[0])


def test_the_plateau_cuts_the_groups_that_have_it_down_to_the_least_rate():
    c = grouped(dict(head=dict(match="valence/.*", schedule="plateau", rate=0.5)), lr=1.0)
    c.factor, c.patience, c.threshold, c.least_rate = 0.1, 1, 0.1, 0.02
    rule = optim.Optimiser(c, PARAMS, epochs=1)
    state, scales = rule.fresh_plateau(), []
    # Steps of 0.03 are less than a tenth of 0.5, two of them more.
    for value in (0.5, 0.53, 0.56, 0.56, 0.56, 0.56, np.nan, 0.5):
        state = rule.evaluated(state, value, 0.0, 1)
        scales.append(float(state["scale"]["head"]))
    assert np.allclose(scales, [1, 1, 1, 1, 0.1, 0.1, 0.04, 0.04])
    assert float(state["best"]) == np.float32(0.56) and int(state["waited"]) == 1
    assert state["scale"]["default"] == 1


def test_a_training_can_be_extended_where_the_rates_of_its_groups_are_the_same():
    for schedule, alone in (("step", True), ("cosine", False)):
        c = grouped(dict(head=dict(match="valence/.*", schedule=schedule)))
        assert optim.same_rates(c, 2, 4) == alone
    c.group.head.frozen = True
    assert optim.same_rates(c, 2, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(name="sdg"), "config.optim.name = 'sdg': Did you mean 'sgd'"),
        (dict(clip="each"), "config.optim.clip = 'each': Known: "),
        (dict(weight_decay=0.1), "use --config.optim.name=adamw"),
    ],
)
def test_an_unknown_optimiser_names_the_key(changes, message):
    with pytest.raises(UserError, match=message):
        optim.Optimiser(config(**changes), {}, epochs=1)


def test_a_freeze_pattern_that_matches_nothing_is_refused():
    with pytest.raises(UserError, match=r"pattern 'encodr/\.\*' matches no parameter"):
        optim.Optimiser(config(), PARAMS, ("encodr/.*",), epochs=1)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (dict(a=dict(match="encodr/w")), "group.a.match: pattern 'encodr/w' .*mean 'encoder/w'"),
        (dict(a=dict(match=("encoder/w", "x"))), "group.a.match: pattern 'x' matches no"),
        (dict(a=dict(match="(")), r"group.a.match: '\(' is no regular expression"),
        (dict(a=dict(match=".*"), b=dict(match="valence/w")), "group.b.match: groups before it"),
        (dict(a=dict(rate=0.1)), "group.a.match is missing: a regular expression"),
        (dict(a=dict(match=3)), "group.a.match = 3: expected names"),
        (dict(a=dict(match=".*", rat=0.1)), "group.a.rat: no such field. Did you mean 'rate'"),
        (dict(a=dict(match=".*", rate="x")), "group.a.rate = 'x': expected a finite number"),
        (dict(a=dict(match=".*", clip_norm=-1)), "group.a.clip_norm = -1: .* from 0 on"),
        (dict(a=dict(match=".*", schedule="cosin")), "group.a.schedule = 'cosin': .*'cosine'"),
        (dict(a=dict(match=".*", weight_decay=0.1)), "group.a.weight_decay = 0.1: 'adam' has none"),
        (dict(a=".*"), r"group.a = '\.\*': expected dict\(KEY=VALUE\)"),
        (dict(default=dict(match=".*")), "group.default: the name is taken"),
    ],
)
def test_a_wrong_group_is_one_line_that_names_the_key(groups, message):
    with pytest.raises(UserError, match=f"^config.optim.{message}") as caught:
        optim.Optimiser(grouped(groups), PARAMS, epochs=1)
    assert "\n" not in str(caught.value)


def test_a_group_that_is_not_defined_names_the_nearest():
    c = config(groups=("hed",), group=ConfigDict(dict(head=dict(match=".*"))))
    with pytest.raises(UserError, match=r"config.optim.groups names 'hed'.* Did you mean 'head'"):
        optim.Optimiser(c, PARAMS, epochs=1)
