"""Grad-CAM: its formulas by hand, which convolution it looks at, and which frames it takes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax import gradcam


class Network(nn.Module):
    """Two convolutions, weights of the channels, a convolution over time; a value a picture."""

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(3, (3, 3), name="first")(x))
        x = nn.Conv(2, (2, 2), (2, 2), name="last")(x)
        mean = x.mean((-3, -2), keepdims=True)
        x = x * nn.sigmoid(nn.Conv(2, (1, 1), name="weights")(mean))
        x = nn.Conv(2, (3,), name="time")(x.mean((-3, -2))[None])[0]
        return x @ jnp.array([1.0, -2.0])


@pytest.fixture(scope="module")
def network():
    pictures = np.random.default_rng(0).random((4, 6, 6, 3), np.float32)
    return pictures, Network().init(jax.random.key(0), pictures)


def test_importance_is_the_mean_size_of_the_gradient_and_one_at_most():
    gradient = np.float32([[1, -3], [0.5, 0.5], [0, 0]])
    np.testing.assert_allclose(gradcam.importance(gradient), [1, 0.25, 0], rtol=1e-6)
    np.testing.assert_array_equal(gradcam.importance(np.zeros((3, 2, 2))), np.zeros(3))


def test_the_map_is_that_of_the_last_convolution_that_leaves_places(network):
    pictures, variables = network
    score = lambda x: Network().apply(variables, x)[2]  # noqa: E731
    places, gradient = jax.jit(lambda x: gradcam.map_and_gradient(score, x))(pictures)
    _, state = Network().apply(variables, pictures, capture_intermediates=True)
    np.testing.assert_allclose(places, state["intermediates"]["last"]["__call__"][0], atol=1e-6)
    assert places.shape == gradient.shape == (4, 3, 3, 2)
    # The convolution over time reaches one picture to each side.
    assert np.abs(gradient).max((1, 2, 3))[0] == 0 and np.abs(gradient[1:]).max((1, 2, 3)).all()


def test_the_gradient_is_that_of_differences(network):
    pictures, variables = network
    kernel, bias = variables["params"]["last"]["kernel"], variables["params"]["last"]["bias"]

    def score(bias):
        params = variables["params"] | {"last": {"kernel": kernel, "bias": bias}}
        return Network().apply({"params": params}, pictures)[1]

    _, gradient = gradcam.map_and_gradient(score, bias)
    # A bias is added at every place of every picture.
    for c in range(2):
        step = np.eye(2, dtype=np.float32)[c] * 1e-2
        difference = (score(bias + step) - score(bias - step)) / 2e-2
        np.testing.assert_allclose(gradient[..., c].sum(), difference, rtol=1e-3)


def test_a_model_without_convolutions_over_pictures_has_no_map():
    dense, x = nn.Dense(1), np.ones((2, 3), np.float32)
    variables = dense.init(jax.random.key(0), x)
    assert gradcam.map_and_gradient(lambda x: dense.apply(variables, x).sum(), x) is None


def test_places_that_raise_the_score_are_shown_and_others_are_not():
    maps = np.zeros((2, 2, 2, 2), np.float32)
    maps[0, 0, 0], maps[0, 1, 1] = (2, 0), (1, 4)
    gradient = np.zeros_like(maps)
    gradient[0, ..., 0], gradient[0, 0, 0, 1] = 1, -2  # means 1 and -0.5
    places = gradcam.cam(maps, gradient)
    np.testing.assert_allclose(places[0], [[1, 0], [0, 0]], atol=1e-6)  # 2, and 1 - 2 < 0
    assert not np.asarray(places[1]).any()
    np.testing.assert_allclose(gradcam.joint(np.float32([0.5, 1]), places)[0, 0, 0], 0.5)


def test_targets_are_spread_evenly_and_each_is_taken_once():
    assert gradcam.uniform(10, 4).tolist() == [0, 3, 6, 9]
    assert gradcam.uniform(3, 9).tolist() == [0, 1, 2] and gradcam.uniform(5, 1).tolist() == [0]


def test_the_target_and_the_most_important_frames_are_shown_in_order():
    share = np.array([0.1, 0.9, 0.2, 1.0, 0.3])
    assert gradcam.shown(share, 0, 3).tolist() == [0, 1, 3]
    assert gradcam.shown(share, 3, 3).tolist() == [1, 3]
    assert gradcam.shown(share, 0, 5).tolist() == [0, 1, 2, 3, 4]
