"""Keys of the system "image" (affect_jax/systems/image.py): pictures before a model."""

from ml_collections import ConfigDict


def image_keys() -> ConfigDict:
    """`config.image` that leaves pictures as they are."""
    i = ConfigDict()
    # > 0: side of the square that is fed of a picture: from a random place in training, elsewhere
    # as `views` says.
    i.crop = 0
    # Of a picture that is scored or predicted: 1, its middle, or 10, corners and middle and their
    # mirror images; a model gives the mean of their predictions and features.
    i.views = 1
    # In training: half of the pictures are mirrored; they are turned by up to so many degrees; of
    # this share of them a rectangle is erased, which has a share of the picture (from, to).
    i.flip = False
    i.rotation = 0.0
    i.erase = 0.0
    i.erase_share = (0.02, 0.3)
    # Subtracted from pictures in [0, 1], and what is left divided by: one number, or three of red,
    # green and blue. Published weights of torchvision were trained with (0.485, 0.456, 0.406) and
    # (0.229, 0.224, 0.225).
    i.mean = (0.0,)
    i.std = (1.0,)
    return i
