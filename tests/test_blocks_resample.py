import jax
import jax.numpy as jnp
import numpy as np

from affect_jax.models.blocks.resample import resample_steps


def middles(frames):
    return (np.arange(frames) + 0.5)[None] / frames


def test_frames_between_two_steps_lie_on_a_line_and_those_outside_hold_the_ends():
    steps = np.array([[[0.0, 4], [4, 0]]])
    found = resample_steps(steps, middles(4))
    # The middles of the steps are at 1/4 and 3/4, those of the frames at 1/8, 3/8, 5/8, 7/8.
    np.testing.assert_allclose(found[0], [[0, 4], [1, 3], [3, 1], [4, 0]], atol=1e-6)


def test_as_many_frames_as_steps_are_the_steps_and_one_step_is_all_frames():
    steps = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(resample_steps(steps, middles(5)), steps, atol=1e-6)
    alone = resample_steps(steps[:, :1], middles(7))
    np.testing.assert_allclose(alone, np.broadcast_to(steps[:, :1], (2, 7, 3)), atol=1e-6)


def test_many_frames_are_those_of_numpy():
    steps = np.random.default_rng(1).normal(size=4)
    expected = np.interp(middles(9)[0], (np.arange(4) + 0.5) / 4, steps)
    np.testing.assert_allclose(resample_steps(steps[None], middles(9))[0], expected, atol=1e-6)


def test_a_masked_step_takes_the_nearest_one_and_has_no_gradient():
    steps = jnp.array([[1.0, np.nan, 3, 5], [7, 0, 0, np.nan]])
    mask = np.array([[True, False, True, True], [False] * 4])
    found = resample_steps(steps, middles(4), mask)
    np.testing.assert_allclose(found[0], [1, 1, 3, 5])
    np.testing.assert_array_equal(found[1], 0)
    gradient = jax.grad(lambda x: resample_steps(x, middles(4), mask)[0].sum())(steps)
    np.testing.assert_allclose(gradient[0], [2, 0, 1, 1])
