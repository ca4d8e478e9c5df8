import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.models.blocks.pooling import POOLINGS, Pool

X = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
# Whole, padded, with a gap, and filling.
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
KERNEL = np.array([[1.0], [-2.0], [0.5]], np.float32)


def pooled(kind, x, mask):
    variables = {"params": {"score": {"kernel": KERNEL}}} if kind == "attention" else {}
    return np.asarray(Pool(kind).apply(variables, x, mask))


def by_hand(kind, x):
    """Valid frames [n, dim] in float64 -> a vector."""
    if kind == "attention":
        score = np.exp(x @ KERNEL[:, 0])
        return (score / score.sum()) @ x
    deviation = np.sqrt(x.var(0) + 1e-5)
    return {
        "mean": x.mean(0),
        "max": x.max(0),
        "last": x[-1],
        "statistics": np.concatenate([x.mean(0), deviation]),
    }[kind]


@pytest.mark.parametrize("kind", ["attention", *POOLINGS])
def test_a_vector_comes_of_the_valid_frames_alone(kind):
    got = pooled(kind, jnp.where(MASK[..., None], X, 1e3), MASK)
    want = [by_hand(kind, X[i][MASK[i]].astype(np.float64)) for i in range(3)]
    np.testing.assert_allclose(got[:3], want, rtol=1e-5, atol=1e-6)
    assert np.isfinite(got).all()


@pytest.mark.parametrize("kind", ["attention", *POOLINGS])
def test_gradients_of_equal_frames_and_of_filling_are_finite(kind):
    grad = jax.grad(lambda x: pooled_sum(kind, x))(jnp.ones((4, 5, 3)))
    assert np.isfinite(grad).all()


def pooled_sum(kind, x):
    variables = {"params": {"score": {"kernel": KERNEL}}} if kind == "attention" else {}
    return Pool(kind).apply(variables, x, MASK).sum()


def test_only_attention_has_a_parameter():
    shapes = {
        kind: jax.eval_shape(Pool(kind).init, jax.random.key(0), X, MASK) for kind in POOLINGS
    }
    assert not any(shapes.values())
    own = jax.eval_shape(Pool("attention").init, jax.random.key(0), X, MASK)["params"]
    assert jax.tree.map(jnp.shape, own) == {"score": {"kernel": (3, 1)}}


def test_a_misspelt_pooling_names_the_nearest():
    with pytest.raises(ValueError, match="pooling = 'avg': no such pooling. Known: .*mean"):
        Pool("avg")
