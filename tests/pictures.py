"""Pictures in files, for tests of sources: smooth ones, each another, that lossy formats keep."""

import pathlib

import numpy as np
from PIL import Image


def pixels(seed, size=(48, 48), grey=False):
    """uint8 [H, W, 3] or [H, W]: colours that change smoothly."""
    rng = np.random.default_rng(seed)
    small = rng.integers(40, 216, (4, 4, 3), np.uint8)
    image = Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BICUBIC)
    return np.array(image.convert("L" if grey else "RGB"))


def save(path, array, **how):
    """Writes a picture; its folder is made."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **how)
    return path
