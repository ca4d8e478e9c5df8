"""Rules of one kind of layer: against a transpose by hand, a layer's own output, and back."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from affect_jax.interop import rules, to_original, to_variables
from affect_jax.interop.rules import Table
from data_pipelines.errors import UserError


def by_hand(x: np.ndarray) -> np.ndarray:
    """[out, in / groups, *kernel] as [*kernel, in / groups, out]."""
    y = np.empty((*x.shape[2:], x.shape[1], x.shape[0]), x.dtype)
    for place in np.ndindex(*x.shape[2:]):
        for i in range(x.shape[1]):
            for o in range(x.shape[0]):
                y[(*place, i, o)] = x[(o, i, *place)]
    return y


@pytest.mark.parametrize("kernel", [(3,), (3, 2), (3, 2, 4)])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_have_the_channels_last(kernel, groups):
    rng = np.random.default_rng(0)
    state_dict = {
        "c.weight": rng.normal(size=(6, 4 // groups, *kernel)).astype(np.float32),
        "c.bias": rng.normal(size=6).astype(np.float32),
    }
    model = nn.Conv(6, kernel, feature_group_count=groups, name="c")
    template = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, *[5] * len(kernel), 4)))
    table = Table(rules.conv("c", "c"))
    variables, report = to_variables(table, state_dict, {"params": {"c": template["params"]}})
    report.require_complete("weights")
    got = variables["params"]["c"]
    np.testing.assert_array_equal(got["kernel"], by_hand(state_dict["c.weight"]))
    np.testing.assert_array_equal(got["bias"], state_dict["c.bias"])
    back = to_original(table, variables)
    assert back.keys() == state_dict.keys()
    for name, x in state_dict.items():
        np.testing.assert_array_equal(back[name], x)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="norm_0")(x)


def test_batch_norm_brings_its_statistics_both_ways():
    rng = np.random.default_rng(0)
    names = ("weight", "bias", "running_mean", "running_var")
    state_dict = {f"bn.0.{n}": rng.uniform(0.5, 2, 3).astype(np.float32) for n in names}
    x = rng.normal(size=(5, 3)).astype(np.float32)
    template = jax.eval_shape(Normed().init, jax.random.key(0), x)
    table = Table(rules.batch_norm("bn.{i}", "norm_{i}"))
    counted = state_dict | {"bn.0.num_batches_tracked": np.array(9)}
    variables, report = to_variables(table, counted, template)
    report.require_complete("weights")
    assert list(report.unused) == ["bn.0.num_batches_tracked"]
    scale, bias, mean, var = (state_dict[f"bn.0.{n}"] for n in names)
    want = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
    np.testing.assert_allclose(Normed().apply(variables, x), want, rtol=1e-5, atol=1e-6)
    back = to_original(table, variables)
    assert back.keys() == state_dict.keys()
    for name, value in state_dict.items():
        np.testing.assert_array_equal(back[name], value)


def test_statistics_that_are_missing_are_named():
    table = Table(rules.batch_norm("bn", "norm"))
    tree = {"scale": np.zeros(2), "bias": np.zeros(2)}
    template = {"params": {"norm": tree}, "batch_stats": {"norm": {"mean": np.zeros(2)}}}
    state_dict = {"bn.weight": np.ones(2), "bn.bias": np.ones(2)}
    variables, report = to_variables(table, state_dict, template)
    assert report.missing == ("norm/mean",) and variables["batch_stats"] == {}
    # A parameter of the name of a statistic is none.
    with pytest.raises(UserError, match="no rule for the parameter norm/mean"):
        to_original(table, {"params": {"norm": {"mean": np.zeros(2)}}})


def test_a_tensor_with_too_few_axes_is_a_mismatch():
    table = Table(rules.conv("c", "c"))
    template = {"params": {"c": {"kernel": np.zeros((3, 2, 4)), "bias": np.zeros(4)}}}
    state_dict = {"c.weight": np.zeros(5), "c.bias": np.zeros(4)}
    _, report = to_variables(table, state_dict, template)
    assert report.mismatched == ("c.weight (5,) gives (5,), c/kernel is (3, 2, 4)",)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])  # the last is beyond float32
def test_a_tensor_that_is_not_finite_is_a_mismatch(value):
    tensors = {"c.weight": np.ones((3, 2)), "c.bias": np.array([0, value, 0])}
    template = {"c": {"kernel": np.ones((2, 3), np.float32), "bias": np.ones(3, np.float32)}}
    with np.errstate(over="ignore"):
        _, report = to_variables(Table(rules.linear("c", "c")), tensors, {"params": template})
    assert report.mismatched == ("c.bias holds NaN or infinity",)
