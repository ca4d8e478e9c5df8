"""Selective state spaces: the recurrence frame by frame, causality, padding, both decays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.mamba import DISCRETISATIONS, CausalConvolution, Mamba, scan

B, T, H, S = 2, 6, 4, 3


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_the_scan_is_the_recurrence_in_float64(discretisation):
    rng = np.random.default_rng(0)
    step, x = rng.random((B, T, H)), rng.normal(size=(B, T, H))
    into, out, decay = (rng.normal(size=shape) for shape in ((B, T, S), (B, T, S), (H, S)))
    given = [a.astype(np.float32) for a in (step, x, into, out, decay)]
    ours = jax.jit(scan, static_argnums=5)(*given, discretisation)
    state, want = np.zeros((B, H, S)), []
    for t in range(T):
        now = step[:, t, :, None]
        kept = np.exp(-now * np.exp(decay)) if discretisation == "zoh" else now * np.exp(-decay)
        state = kept * state + now * x[:, t, :, None] * into[:, t, None]
        want.append((state * out[:, t, None]).sum(-1))
    np.testing.assert_allclose(ours, np.stack(want, 1), rtol=1e-5, atol=1e-5)


def test_a_channel_is_convolved_with_its_own_past():
    x = np.random.default_rng(1).normal(size=(B, T, H)).astype(np.float32)
    module = CausalConvolution(3)
    params = module.init(jax.random.key(0), x)["params"]
    kernel = np.asarray(params["kernel"])[:, 0]
    want = np.stack(
        [
            [np.convolve(x[b, :, h], kernel[::-1, h])[:T] + params["bias"][h] for h in range(H)]
            for b in range(B)
        ]
    ).swapaxes(1, 2)
    np.testing.assert_allclose(module.apply({"params": params}, x), want, atol=1e-6)


def test_no_frame_reads_a_later_one_and_rows_without_frames_are_zero():
    model = Mamba(hidden=H, layers=1, dropout=0.0, state=S, kernel=2)
    x = np.random.default_rng(2).normal(size=(B, T, 3)).astype(np.float32)
    mask = np.arange(T) < np.array([[4], [0]])
    template = jax.eval_shape(model.init, jax.random.key(0), x, mask)
    half = model.clone(dtype=jnp.bfloat16)
    assert jax.eval_shape(half.init, jax.random.key(0), x, mask) == template
    assert jax.eval_shape(half.apply, template, x, mask)[0].dtype == jnp.bfloat16
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), template)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params, x):
        y, _ = model.apply(params, x, mask)
        return (y**3).sum(), y

    (_, y), grad = loss(variables, x)
    changed = np.where(np.arange(T)[:, None] < 2, x, 5.0).astype(np.float32)
    (_, later), _ = loss(variables, changed)
    assert not y[~mask].any()
    np.testing.assert_array_equal(y[:, :2], later[:, :2])
    assert (y != later)[0, 2:4].all()
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grad))


@pytest.mark.parametrize(
    "change", [dict(state=0), dict(kernel=0), dict(rank=-1), dict(discretisation="exact")]
)
def test_settings_that_no_encoder_has_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Mamba(**{**dict(hidden=H, layers=1, dropout=0.0), **change})
