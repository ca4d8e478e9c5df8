"""Changes of pictures at random, for training: flip, rotation, crop and erasing; and ten crops.

Functions of one picture [H, W, C] and a key; `augment` calls them for each row by its own key.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable

import jax
import jax.numpy as jnp

# Of an erased rectangle, height / width.
ASPECT = (0.3, 1 / 0.3)
Change = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Changes:
    """Changes of pictures in training.

    Attributes:
        crop: side of the square that is taken from a random place; 0: all is taken.
        flip: half of the pictures are mirrored, left for right.
        rotation: largest angle in degrees, to either side.
        erase: share of the pictures of which a rectangle is erased.
        erase_share: (from, to), the rectangle's share of the picture.
    """

    crop: int = 0
    flip: bool = False
    rotation: float = 0.0
    erase: float = 0.0
    erase_share: tuple[float, ...] = (0.02, 0.3)

    def __post_init__(self) -> None:
        for name, most in (("crop", None), ("rotation", 180), ("erase", 1)):
            value = getattr(self, name)
            if value < 0 or (most is not None and value > most):
                wanted = "from 0 on" if most is None else f"from 0 to {most}"
                raise ValueError(f"{name} = {value}: expected a number {wanted}")
        share = self.erase_share
        if len(share) != 2 or not 0 < share[0] <= share[1] < 1:
            raise ValueError(f"erase_share = {share}: expected (from, to), within 0 and 1")


def augment(x: jax.Array, keys: jax.Array, changes: Changes) -> jax.Array:
    """Pictures [B, H, W, C], changed, each by its own key of keys [B]."""
    steps: dict[str, Change] = {}
    if changes.flip:
        steps["flip"] = flipped
    if changes.rotation:
        steps["rotation"] = lambda x, key: rotated(x, _between(key, changes.rotation))
    if changes.crop:
        steps["crop"] = lambda x, key: cropped(x, key, changes.crop)
    if changes.erase:
        steps["erase"] = lambda x, key: erased(x, key, changes.erase, changes.erase_share)

    def row(x: jax.Array, key: jax.Array) -> jax.Array:
        for name, step in steps.items():
            x = step(x, jax.random.fold_in(key, zlib.crc32(name.encode())))
        return x

    return jax.vmap(row)(x, keys)


def flipped(x: jax.Array, key: jax.Array) -> jax.Array:
    """The picture, or as often its mirror image."""
    return jnp.where(jax.random.bernoulli(key), x[:, ::-1], x)


def rotated(x: jax.Array, degrees: jax.Array) -> jax.Array:
    """The picture turned clockwise about its centre, bilinear; its edges go on outside of it."""
    height, width, _ = x.shape
    angle = jnp.deg2rad(degrees)
    down, right = jnp.meshgrid(
        jnp.arange(height) - (height - 1) / 2, jnp.arange(width) - (width - 1) / 2, indexing="ij"
    )
    rows = jnp.cos(angle) * down - jnp.sin(angle) * right + (height - 1) / 2
    columns = jnp.sin(angle) * down + jnp.cos(angle) * right + (width - 1) / 2

    def channel(x: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(x, [rows, columns], order=1, mode="nearest")

    return jax.vmap(channel, -1, -1)(x)


def cropped(x: jax.Array, key: jax.Array, side: int) -> jax.Array:
    """A square [side, side, C] from anywhere in the picture, all places as likely."""
    height, width, channels = x.shape
    corner = jax.random.randint(key, (2,), 0, jnp.array([height - side + 1, width - side + 1]))
    return jax.lax.dynamic_slice(x, (*corner, 0), (side, side, channels))


def erased(x: jax.Array, key: jax.Array, probability: float, share: tuple[float, ...]) -> jax.Array:
    """The picture with a rectangle in its mean colour, with that probability.

    The rectangle has a `share` of the pixels and an aspect of ASPECT, as far as it fits in.

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020.
    """
    height, width, _ = x.shape
    whether, of_share, of_aspect, of_place = jax.random.split(key, 4)
    area = jax.random.uniform(of_share, minval=share[0], maxval=share[1]) * height * width
    low, high = (jnp.log(end) for end in ASPECT)
    aspect = jnp.exp(jax.random.uniform(of_aspect, minval=low, maxval=high))
    size = jnp.sqrt(jnp.array([area * aspect, area / aspect]))
    sides = jnp.array([height, width])
    size = jnp.clip(jnp.round(size), 1, sides)
    corner = jnp.floor(jax.random.uniform(of_place, (2,)) * (sides - size + 1))
    inside = [
        (jnp.arange(n) >= corner[i]) & (jnp.arange(n) < corner[i] + size[i])
        for i, n in enumerate((height, width))
    ]
    gone = inside[0][:, None] & inside[1] & jax.random.bernoulli(whether, probability)
    return jnp.where(gone[..., None], x.mean((0, 1)), x)


def _between(key: jax.Array, most: float) -> jax.Array:
    return jax.random.uniform(key, minval=-most, maxval=most)


def centre(x: jax.Array, side: int) -> jax.Array:
    """[..., H, W, C] -> [..., side, side, C], the middle; halves of a pixel are rounded to even."""
    top, left = (round((n - side) / 2) for n in x.shape[-3:-1])
    return x[..., top : top + side, left : left + side, :]


def ten_crops(x: jax.Array, side: int) -> jax.Array:
    """Ten views of each picture: [..., H, W, C] -> [..., 10, side, side, C].

    The corners (upper left, upper right, lower left, lower right) and the centre, then the same
    five of the mirror image.
    """
    height, width = x.shape[-3:-1]
    bottom, right = height - side, width - side

    def five(x: jax.Array) -> list[jax.Array]:
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
        return [x[..., i : i + side, j : j + side, :] for i, j in corners] + [centre(x, side)]

    return jnp.stack(five(x) + five(x[..., ::-1, :]), -4)
