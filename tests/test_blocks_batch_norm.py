import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.batch_norm import BatchNorm

X = np.random.default_rng(0).normal(3.0, 2.0, (4, 5, 3)).astype(np.float32)
MASK = np.random.default_rng(1).random((4, 5)) < 0.6
VARIABLES = {
    "params": {"scale": jnp.array([1.0, 2.0, 0.5]), "bias": jnp.array([0.0, 1.0, -1.0])},
    "batch_stats": {"mean": jnp.array([0.5, 0.0, -1.0]), "var": jnp.array([1.0, 2.0, 3.0])},
}


@jax.jit
def trained(variables, x, mask):
    return BatchNorm().apply(variables, x, mask, train=True, mutable=["batch_stats"])


def expected(values, mean, var):
    """In float64: values [n, C] by their statistics."""
    scale, bias = (np.asarray(VARIABLES["params"][name], np.float64) for name in ("scale", "bias"))
    return (values - mean) / np.sqrt(var + 1e-5) * scale + bias


def test_training_takes_the_batch_s_statistics_and_evaluation_the_running_ones():
    seen = X[MASK].astype(np.float64)
    y, updated = trained(VARIABLES, X, MASK)
    np.testing.assert_allclose(y[MASK], expected(seen, seen.mean(0), seen.var(0)), rtol=1e-4)
    assert not np.asarray(y)[~MASK].any()
    stats = updated["batch_stats"]
    old = {name: np.asarray(x, np.float64) for name, x in VARIABLES["batch_stats"].items()}
    np.testing.assert_allclose(stats["mean"], 0.9 * old["mean"] + 0.1 * seen.mean(0), rtol=1e-6)
    unbiased = seen.var(0, ddof=1)
    np.testing.assert_allclose(stats["var"], 0.9 * old["var"] + 0.1 * unbiased, rtol=1e-6)
    y = BatchNorm().apply(VARIABLES, X)
    np.testing.assert_allclose(y, expected(X, old["mean"], old["var"]), rtol=1e-4, atol=1e-6)


def test_padding_changes_nothing_and_gets_no_gradient_whatever_it_holds():
    def loss(x, mask):
        y, updated = trained(VARIABLES, x, mask)
        return (y**3).sum(), (y, updated)

    padded = np.pad(X, ((0, 2), (0, 3), (0, 0)), constant_values=np.nan)
    mask = np.pad(MASK, ((0, 2), (0, 3)))
    gradient, (y, stats) = jax.grad(loss, has_aux=True)(X, MASK)
    wide, (z, others) = jax.grad(loss, has_aux=True)(padded, mask)
    np.testing.assert_allclose(z[:4, :5], y, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(wide[:4, :5], gradient, rtol=1e-3, atol=1e-3)
    assert not np.asarray(wide)[~mask].any()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), stats, others)


def test_a_mask_of_rows_serves_pictures():
    pictures = np.stack([X, 2 * X], axis=1)  # [B, H, W, C]
    rows = np.array([True, False, True, True])
    y, updated = trained(VARIABLES, pictures, rows)
    alone, same = trained(VARIABLES, pictures[rows], np.ones(3, bool))
    np.testing.assert_allclose(y[rows], alone, rtol=1e-5, atol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updated, same)


def test_a_batch_of_less_than_two_entries_leaves_the_running_statistics():
    for count in (0, 1):
        mask = np.zeros((4, 5), bool)
        mask.flat[:count] = True
        y, updated = trained(VARIABLES, X, mask)
        jax.tree.map(
            np.testing.assert_array_equal, updated["batch_stats"], VARIABLES["batch_stats"]
        )
        assert np.isfinite(y).all()


def test_a_mean_far_from_zero_costs_no_digits():
    far = (X + 1e4).astype(np.float32)
    _, updated = trained(VARIABLES, far, np.ones((4, 5), bool))
    want = 0.9 * VARIABLES["batch_stats"]["var"] + 0.1 * far.reshape(-1, 3).astype(float).var(
        0, ddof=1
    )
    np.testing.assert_allclose(updated["batch_stats"]["var"], want, rtol=1e-4)


def test_fresh_statistics_are_those_of_no_batch():
    fresh = BatchNorm().init(jax.random.key(0), X, MASK, train=True)
    assert not fresh["batch_stats"]["mean"].any() and (fresh["batch_stats"]["var"] == 1).all()


def test_half_precision_is_normalised_in_float32():
    y = BatchNorm().apply(VARIABLES, jnp.asarray(X, jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    want = BatchNorm().apply(VARIABLES, jnp.asarray(X, jnp.bfloat16).astype(jnp.float32))
    np.testing.assert_array_equal(y, want.astype(jnp.bfloat16))
