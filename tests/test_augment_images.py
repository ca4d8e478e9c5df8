"""Changes of pictures: against numpy, PIL's ways, and how they are drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from affect_jax.augment_images import Changes, augment, centre, erased, rotated, ten_crops

ROWS = 400


@pytest.fixture(scope="module")
def pictures():
    """Every pixel is another number."""
    return np.arange(12 * 14 * 3, dtype=np.float32).reshape(12, 14, 3)


def keys(rows=ROWS):
    return jax.vmap(jax.random.key)(jnp.arange(rows))


def many(x, **changes):
    """ROWS copies of a picture, each changed by its own key."""
    run = jax.jit(lambda x: augment(x, keys(), Changes(**changes)))
    return np.asarray(run(jnp.broadcast_to(x, (ROWS, *x.shape))))


def test_a_flip_mirrors_half_of_the_pictures(pictures):
    changed = many(pictures, flip=True)
    mirrored = (changed == pictures[:, ::-1]).all((1, 2, 3))
    assert (mirrored | (changed == pictures).all((1, 2, 3))).all()
    assert mirrored.mean() == pytest.approx(0.5, abs=0.08)


def test_a_crop_comes_from_every_place_as_often(pictures):
    changed = many(pictures, crop=10)
    assert changed.shape == (ROWS, 10, 10, 3)
    # The first pixel says where it is from: rows 0 to 2 and columns 0 to 4.
    row, column = np.divmod(changed[:, 0, 0, 0] / 3, 14)
    for i in range(0, ROWS, 40):
        part = pictures[int(row[i]) :, int(column[i]) :][:10, :10]
        np.testing.assert_array_equal(changed[i], part)
    counts = np.histogram2d(row, column, [range(4), range(6)])[0]
    assert counts.sum() == ROWS and counts.min() > ROWS / 15 / 2


def test_a_quarter_turn_is_that_of_numpy_and_none_is_none(pictures):
    square = pictures[:, :12]
    turned = rotated(square, 90.0)
    np.testing.assert_allclose(turned, np.rot90(square, -1), atol=1e-2)  # float32 of 500
    np.testing.assert_array_equal(rotated(pictures, 0.0), pictures)


def test_pictures_are_turned_to_either_side_and_by_no_more_than_the_angle():
    line = jnp.zeros((21, 21, 1)).at[10, 11:].set(1)
    changed = many(line, rotation=30.0)[..., 0]
    ends = changed[:, :, 18].argmax(1) - 10  # 8 to the right, tan 30 degrees is .58
    assert ends.min() in (-5, -4) and ends.max() in (4, 5)
    assert abs(ends.mean()) < 0.5


def test_a_rectangle_of_the_share_is_erased_to_the_mean_as_often_as_asked(pictures):
    changed = many(pictures, erase=0.3, erase_share=(0.1, 0.2))
    gone = (changed != pictures).all(-1)
    assert gone.any((1, 2)).mean() == pytest.approx(0.3, abs=0.07)
    for one, x in zip(gone, changed, strict=True):
        if one.any():
            height, width = one.any(1).sum(), one.any(0).sum()
            assert one.sum() == height * width  # a rectangle
            assert 0.06 < one.mean() < 0.26  # its sides are whole pixels
            np.testing.assert_allclose(x[one], np.broadcast_to(pictures.mean((0, 1)), x[one].shape))
    assert gone.any(0).mean() > 0.95  # anywhere


def test_a_row_is_changed_by_its_own_key_alone(pictures):
    changes = Changes(crop=8, flip=True, rotation=10.0, erase=0.5)
    run = jax.jit(lambda x, keys: augment(x, keys, changes))
    batch, drawn = jnp.stack([pictures, pictures / 2, pictures * 2]), keys(3)
    changed = run(batch, drawn)
    reordered = run(batch[::-1], drawn[::-1])[::-1]
    np.testing.assert_array_equal(changed, reordered)
    others = run(batch, keys(6)[3:])
    assert (changed != others).any((1, 2, 3)).all()


def test_nothing_asked_is_nothing_changed(pictures):
    np.testing.assert_array_equal(augment(pictures[None], keys(1), Changes()), pictures[None])


def test_ten_crops_are_corners_and_centre_and_their_mirror_images(pictures):
    x = pictures
    views = np.asarray(ten_crops(jnp.asarray(x[None]), 9))[0]
    assert views.shape == (10, 9, 9, 3)
    five = [x[:9, :9], x[:9, -9:], x[-9:, :9], x[-9:, -9:], x[2:11, 2:11]]  # 1.5 and 2.5 to even
    np.testing.assert_array_equal(views[:5], five)
    # The first of the mirrored ones is the upper right corner, seen in a mirror.
    np.testing.assert_array_equal(views[5], x[:9, -9:][:, ::-1])
    mirrored = x[:, ::-1]
    np.testing.assert_array_equal(views[9], mirrored[2:11, 2:11])


def test_the_centre_is_that_of_the_middle(pictures):
    np.testing.assert_array_equal(centre(pictures, 10), pictures[1:11, 2:12])


def test_an_erased_rectangle_that_would_not_fit_is_cut():
    x = jnp.ones((2, 40, 1)).at[0].set(0)
    run = jax.jit(jax.vmap(lambda key: erased(x, key, 1.0, (0.5, 0.5))))
    gone = run(keys(20)) == 0.5
    assert gone.any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(crop=-1), "crop = -1: expected a number from 0 on"),
        (dict(rotation=181.0), "rotation = 181.0: expected a number from 0 to 180"),
        (dict(erase=1.5), "erase = 1.5: expected a number from 0 to 1"),
        (dict(erase_share=(0.5, 0.2)), r"erase_share = \(0.5, 0.2\): expected \(from, to\)"),
        (dict(erase_share=(0.5,)), "expected"),
    ],
)
def test_what_can_not_be_done_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Changes(**changes)
