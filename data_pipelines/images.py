"""Pictures of files: uint8, square, RGB or grey, whatever wrote them.

Pillow decodes them, and knows them by their content. They are turned upright as their EXIF says;
palettes, CMYK and other colours become RGB (colour profiles are not applied), what is transparent
white; 16 bit are scaled to 8; of what moves the first picture is taken. Pictures of another size
are resized bilinearly, over all pixels that a new one covers; sides of different length become
alike by stretching, or by black stripes beside them (`letterbox`). A picture of the size itself
keeps its pixels.
"""

from __future__ import annotations

import contextlib
import os
import struct
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from data_pipelines.command import whole
from data_pipelines.files import readable, refuse_pointer

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".pgm", ".ppm", ".pnm"),
)
LEAST = 8  # pixels a side, below which there is no face
_WITH_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_MOST = 100_000_000  # pixels of a picture that is unpacked
# What a broken note of how the camera was held raises.
_DAMAGE = (OSError, ValueError, TypeError, LookupError, SyntaxError, struct.error)
# Of large pictures and broken notes in them. A filter of one call would be that of all threads.
warnings.filterwarnings("ignore", module=r"PIL\.")


def flags(size: int) -> dict[str, dict[str, Any]]:
    """Flags of a source of pictures whose own are `size` x `size`: --size, --grey, --skip-bad."""
    return {
        "size": dict(
            type=whole(LEAST, 1024),
            default=size,
            metavar="PIXELS",
            help=f"side of the pictures in the store; default {size}",
        ),
        "grey": dict(action="store_true", help="store grey pictures instead of RGB"),
        "skip-bad": dict(
            action="store_true",
            help="leave out pictures that are missing, broken or too small, instead of stopping",
        ),
    }


def features(size: int, grey: bool) -> dict[str, dict[str, Any]]:
    """The feature "face" as a StoreWriter is told of it: uint8 [size, size], or [.., 3] of RGB."""
    return {"face": dict(shape=(size, size) if grey else (size, size, 3), dtype="uint8")}


def read(
    path: str | os.PathLike,
    size: int,
    *,
    grey: bool = False,
    letterbox: bool = False,
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:
    """uint8 [size, size, 3], or [size, size] where `grey`: the picture of a file.

    Args:
        letterbox: keep the proportions, as `letterboxed`.
        box: left, top, right and bottom (excluded) of the part that is taken, in pixels of the
            upright picture; of what lies outside of it, nothing is.

    Raises:
        UserError: the file is no picture that can be decoded, is cut off, has less than LEAST
            pixels a side (in the box), or too many.
    """
    with readable(path, "a readable picture"):
        with open(path, "rb") as file:
            start = file.read(256)
            if not start:
                raise ValueError("it has 0 bytes")
            refuse_pointer(path, start)
            file.seek(0)
            image = _decoded(file, start)
        if box is not None:
            image = _cropped(image, box)
        return fit(image, size, grey=grey, letterbox=letterbox)


def fit(
    image: Image.Image, size: int, *, grey: bool = False, letterbox: bool = False
) -> np.ndarray:
    """uint8 [size, size, 3], or [size, size] where `grey`, of an upright picture of 8 bit.

    Args:
        letterbox: keep the proportions, as `letterboxed`.

    Raises:
        ValueError: it has less than LEAST pixels a side.
    """
    if min(image.size) < LEAST:
        across, down = image.size
        raise ValueError(f"{across} x {down} pixels are no face, expected {LEAST} a side or more")
    image = image.convert("L" if grey else "RGB")
    if letterbox:
        image, _ = letterboxed(image, size)
    elif image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.array(image)


def letterboxed(image: Image.Image, size: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """The picture in the middle of a black square, and (left, top, width, height) of it there.

    Its longer side is `size`, its other one that in proportion, cut to whole pixels; one pixel more
    of black is at the right and the bottom where the rest is odd.
    """
    scale = size / max(image.size)
    width, height = (max(1, int(side * scale)) for side in image.size)
    left, top = (size - width) // 2, (size - height) // 2
    square = Image.new(image.mode, (size, size))
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    return square, (left, top, width, height)


def _decoded(file: Any, start: bytes) -> Image.Image:
    """The picture, upright, in mode L or RGB. ValueError where there is none."""
    try:
        with Image.open(file) as image:
            across, down = image.size
            if across * down > _MOST:
                raise ValueError(f"{across:,} x {down:,} pixels, at most {_MOST:,} are unpacked")
            image.load()
            with contextlib.suppress(*_DAMAGE):
                image = ImageOps.exif_transpose(image)
            return _eight_bit(image)
    except Image.UnidentifiedImageError:  # its text has the path in it
        html = start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml"))
        kind = "it is a page of the web" if html else "its content is of no known format"
        raise ValueError(kind) from None
    except Image.DecompressionBombError:
        raise ValueError(f"its pixels are too many, at most {_MOST:,} are unpacked") from None


def _eight_bit(image: Image.Image) -> Image.Image:
    """The picture in mode L or RGB, on white where it is transparent."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("its pixels are no numbers of 16 bit")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floats, expected numbers of 8 or 16 bit")
    if "transparency" in image.info or image.mode in _WITH_ALPHA:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _cropped(image: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    left, top, right, bottom = box
    inside = max(left, 0), max(top, 0), min(right, image.width), min(bottom, image.height)
    if inside[2] - inside[0] < LEAST or inside[3] - inside[1] < LEAST:
        raise ValueError(
            f"left {left}, top {top}, right {right}, bottom {bottom} is no part of "
            f"{image.width} x {image.height} pixels that has {LEAST} a side or more"
        )
    return image.crop(inside)
