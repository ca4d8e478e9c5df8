"""The picture of a cartoon face: a person, a pose, a light, and the moves of an expression.

Everything is a polygon or a line in a frame of 100 x 100, y downwards, the eyes near (35, 44) and
(65, 44), as aligned faces have them. Points go through the pose; pixels are drawn at SCALE times
the size and averaged. What is around the face tells nothing of its expression.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_pipelines.twins.faces_latent import MOVES, Face

SIDE, SCALE = 100, 3
SKINS = ((250, 222, 198), (238, 200, 168), (220, 176, 140), (196, 150, 114), (172, 124, 92))
HAIRS = ((28, 24, 24), (70, 46, 30), (126, 84, 48), (206, 172, 108), (150, 150, 150), (120, 52, 30))
IRISES = ((70, 44, 26), (60, 92, 120), (74, 100, 62), (40, 30, 26))
# Shares of the faces.
BEARD, GLASSES, FRINGE, COVERED = 0.15, 0.15, 0.15, 0.08
TURN = np.linspace(0, 2 * math.pi, 40, endpoint=False)
ALONG = np.linspace(-1, 1, 17)

Colour = tuple[int, ...]


@dataclasses.dataclass
class Canvas:
    """Shapes drawn in the frame of the face, under a pose.

    Attributes:
        yaw: -1 to 1, how far the face looks to a side; inner parts move further than its outline.
        roll: radians; scale: of the face; shift: of the face, in the frame.
    """

    yaw: float
    roll: float
    scale: float
    shift: np.ndarray

    def __post_init__(self) -> None:
        self.image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: np.ndarray, colour: Colour, depth: float = 1.0) -> None:
        """A filled polygon [n, 2]; depth: 1 of the middle of a face, 0 of its outline."""
        self._draw.polygon(self._placed(points, depth), fill=colour)

    def line(self, points: np.ndarray, colour: Colour, width: float, depth: float = 1.0) -> None:
        """A line through points [n, 2], round at its bends and ends."""
        placed, half = self._placed(points, depth), width * SCALE * self.scale / 2
        self._draw.line(placed, fill=colour, width=max(1, round(2 * half)))
        for x, y in placed:
            self._draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)

    def _placed(self, points: np.ndarray, depth: float) -> list[tuple[float, float]]:
        centre = np.array([50.0, 55.0])
        x, y = (np.asarray(points, float) - centre).T
        x = x * (1 - 0.12 * depth * abs(self.yaw)) + 7 * depth * self.yaw
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        turned = np.stack([cos * x - sin * y, sin * x + cos * y], 1)
        return [tuple(p) for p in (SCALE * (self.scale * turned + centre + self.shift)).tolist()]


def picture(face: Face, rng: np.random.Generator) -> np.ndarray:
    """uint8 [100, 100, 3]; all but the expression comes from `rng`."""
    canvas = Canvas(
        yaw=float(np.clip(0.35 * rng.standard_normal(), -1, 1)),
        roll=math.radians(5 * rng.standard_normal()),
        scale=rng.uniform(0.92, 1.06),
        shift=1.5 * rng.standard_normal(2),
    )
    skin = _varied(SKINS[rng.integers(len(SKINS))], 6, rng)
    hair = _varied(HAIRS[rng.integers(len(HAIRS))], 10, rng)
    _background(canvas, rng)
    _head(canvas, skin, hair, rng)
    moves = dict(zip(MOVES, face.moves.tolist()))
    _mouth(canvas, moves, skin, hair, rng)
    _nose(canvas, moves["nose"], skin, rng)
    for side in (-1, 1):
        _eye(canvas, moves, side, skin, hair, IRISES[rng.integers(len(IRISES))], rng)
    _things(canvas, hair, rng)
    return _light(canvas.image, rng)


def _varied(colour: Colour, by: float, rng: np.random.Generator) -> Colour:
    return _colour(np.array(colour) + by * rng.standard_normal(3))


def _colour(values: np.ndarray) -> Colour:
    return tuple(np.clip(np.round(values), 0, 255).astype(int).tolist())


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    """Of two colours, `share` of the other."""
    share = min(max(share, 0.0), 1.0)
    return _colour((1 - share) * np.array(one) + share * np.array(other))


def _ellipse(x: float, y: float, across: float, down: float) -> np.ndarray:
    return np.stack([x + across * np.cos(TURN), y + down * np.sin(TURN)], 1)


def _background(canvas: Canvas, rng: np.random.Generator) -> None:
    low, high = rng.integers(80, 200, (2, 3))
    angle = rng.uniform(0, 2 * math.pi)
    share = np.clip(0.5 + _slope(angle), 0, 1)[..., None]
    pixels = (low + share * (high - low)).astype(np.uint8)
    canvas.image.paste(Image.fromarray(pixels).resize(canvas.image.size))
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(-10, 110, 2)
        shape = _ellipse(x, y, *rng.uniform(8, 30, 2))
        canvas.polygon(shape, _colour(rng.integers(60, 220, 3)), depth=0.0)


def _head(canvas: Canvas, skin: Colour, hair: Colour, rng: np.random.Generator) -> None:
    across, down = rng.uniform(31, 37), rng.uniform(40, 46)
    dark = _mixed(skin, (40, 20, 20), 0.25)
    canvas.polygon(_ellipse(50, 50, across + rng.uniform(2, 9), down + 5), hair, depth=0.0)
    canvas.polygon(np.array([[36, 85], [64, 85], [72, 115], [28, 115]]), dark, depth=0.2)
    canvas.polygon(_ellipse(50, 114, 45, 14), _colour(rng.integers(20, 240, 3)), depth=0.0)
    for side in (-1, 1):
        canvas.polygon(_ellipse(50 + side * across, 55, 4, 8), dark, depth=0.0)
    canvas.polygon(_ellipse(50, 56, across, down), skin, depth=0.3)
    line = rng.uniform(20, 27)  # where the hair ends
    crown = np.stack([50 + (across + 3) * ALONG, line + rng.uniform(4, 16) * ALONG**2], 1)
    top = np.stack([50 + (across + 3) * ALONG[::-1], 6 + 24 * ALONG[::-1] ** 4], 1)
    canvas.polygon(np.concatenate([crown, top]), hair, depth=0.3)


def _mouth(
    canvas: Canvas, moves: dict[str, float], skin: Colour, hair: Colour, rng: np.random.Generator
) -> None:
    x, y = 50 + rng.normal(), 77 + rng.normal()
    if rng.random() < BEARD:
        shade = _mixed(skin, hair, rng.uniform(0.3, 0.8))
        canvas.polygon(_ellipse(50, 84, rng.uniform(20, 27), 14), shade, depth=0.8)
    half = 14 * (1 + 0.3 * moves["width"])
    # Each corner has a little of its own: half a mouth tells less than a whole one.
    curve = 10 * (moves["curve"] + 0.2 * rng.standard_normal() * ALONG)
    gap = 9 * max(moves["gap"], 0.0) * np.sqrt(1 - ALONG**2)
    middle = y + curve * (0.5 - ALONG**2)
    across = x + half * ALONG
    upper, lower = (np.stack([across, middle + g], 1) for g in (-0.6 * gap, 1.4 * gap))
    lips = _mixed(_varied((170, 70, 70), 18, rng), skin, rng.uniform(0, 0.5))
    canvas.polygon(np.concatenate([upper, lower[::-1]]), (60, 22, 26))
    teeth = np.minimum(0.9 * gap, 3.0)
    edge = np.stack([across, upper[:, 1] + teeth], 1)
    canvas.polygon(np.concatenate([upper, edge[::-1]])[3:-3], (238, 234, 226))
    width = rng.uniform(2.2, 3.2)
    canvas.line(lower, lips, width)
    canvas.line(upper, _mixed(lips, (40, 10, 10), 0.25), width)


def _nose(canvas: Canvas, up: float, skin: Colour, rng: np.random.Generator) -> None:
    shade = _mixed(skin, (60, 25, 20), rng.uniform(0.25, 0.5))
    size, lifted = rng.uniform(0.8, 1.25), 2.0 * max(up, 0.0)
    base = 64 - lifted
    wings = np.array([[-5, -1.5], [-4, 1], [0, 2], [4, 1], [5, -1.5]]) * size + [50, base]
    canvas.line(wings, shade, 1.3)
    canvas.line(np.array([[48.5, 50], [47, base - 5]]), shade, 0.8)
    deep = _mixed(skin, (60, 25, 20), 0.75 * up)
    if up > 0.1:  # folds across the bridge, and from the wings down
        for k in range(3):
            height = 45 + 4 * k
            canvas.line(np.array([[45, height], [50, height - 2], [55, height]]), deep, 1.8)
        for side in (-1, 1):
            fold = np.array([[8, base - 2], [14, base + 4], [18, base + 12]])
            canvas.line(fold * [side, 1] + [50, 0], deep, 2.0)


def _eye(
    canvas: Canvas,
    moves: dict[str, float],
    side: int,
    skin: Colour,
    hair: Colour,
    iris: Colour,
    rng: np.random.Generator,
) -> None:
    """An eye and its brow; side: -1 left, 1 right in the picture."""
    x, y = 50 + 15 * side, 47.0
    across = 8.5
    open_ = max(4.8 * (1 + 0.7 * moves["eyes"] + 0.1 * rng.standard_normal()), 0.6)
    outline = _ellipse(x, y, across, open_)
    canvas.polygon(outline, (240, 238, 234))
    for radius, colour in ((4.2, iris), (2.2, (15, 12, 12))):
        disc = _ellipse(x, y, radius, radius)
        lid = open_ * np.sqrt(np.maximum(1 - ((disc[:, 0] - x) / across) ** 2, 0))
        disc[:, 1] = np.clip(disc[:, 1], y - lid, y + lid)
        canvas.polygon(disc, colour)
    canvas.line(outline[20:], _mixed(skin, (20, 12, 12), 0.8), 1.6)
    canvas.line(outline[:20], _mixed(skin, (60, 30, 30), 0.4), 0.6)
    height = 35 - 5.0 * (moves["height"] + 0.15 * rng.standard_normal())
    tilt = 5.0 * (moves["tilt"] + 0.2 * rng.standard_normal())
    brow = np.array([[-9, tilt + 0.5], [-1, -0.8], [9, 1.2 - 0.6 * tilt]])  # from the inner end
    dark = _mixed(hair, (30, 20, 20), 0.4)
    canvas.line(brow * [side, 1] + [x, height], dark, rng.uniform(2.6, 3.8))


def _things(canvas: Canvas, hair: Colour, rng: np.random.Generator) -> None:
    """Glasses, a fringe, and what is before a face: a hand, a scarf, dark glasses."""
    if rng.random() < GLASSES:
        for x in (35, 65):
            ring = _ellipse(x, 47, 11.5, 9.5)
            canvas.line(np.concatenate([ring, ring[:1]]), _colour(rng.integers(10, 90, 3)), 1.0)
        canvas.line(np.array([[46.5, 46], [53.5, 46]]), (40, 40, 44), 1.0)
    if rng.random() < FRINGE:
        side = rng.choice([-1, 1])
        strand = np.array([[-36, -28], [10, -28], [-8, -14], [-34, rng.uniform(-10, 2)]])
        canvas.polygon(strand * [side, 1] + [50, 48], hair, depth=0.6)
    if rng.random() < COVERED:
        colour = _colour(rng.integers(20, 235, 3))
        where = rng.integers(3)
        if where == 0:  # a scarf or a hand
            canvas.polygon(_ellipse(50 + rng.normal(), 86, 30, rng.uniform(12, 17)), colour)
        elif where == 1:  # dark glasses
            for x in (35, 65):
                canvas.polygon(_ellipse(x, 46, 13, 10), (24, 24, 28))
        else:
            x, y = rng.uniform([25, 35], [75, 85])
            canvas.polygon(_ellipse(x, y, *rng.uniform(8, 16, 2)), colour)


def _light(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """uint8 [100, 100, 3] of the drawn image: smaller, lit from a side, blurred, with noise."""
    image = image.reduce(SCALE).filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7)))
    pixels = np.asarray(image, np.float64)
    side = 1 + rng.uniform(0, 0.5) * _slope(rng.uniform(0, 2 * math.pi))
    tint = rng.uniform(0.75, 1.05) * (1 + 0.03 * rng.standard_normal(3))
    pixels = pixels * side[..., None] * tint
    pixels += rng.uniform(1, 5) * rng.standard_normal(pixels.shape)
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _slope(angle: float) -> np.ndarray:
    """float64 [100, 100]: rises by 1 across the picture, 0 in its middle."""
    place = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    return place * math.cos(angle) + place[:, None] * math.sin(angle)
