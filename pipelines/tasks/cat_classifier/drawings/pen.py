"""Shapes, coats, and a pen that draws them on a canvas.

Shapes are (N, 2) arrays of points in the coordinates of a figure: x to the right, y down, about -1 to 1.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

FURS: list[Colour] = [
    (216, 134, 58),
    (234, 172, 98),
    (40, 37, 42),
    (66, 62, 66),
    (128, 130, 138),
    (170, 172, 174),
    (240, 236, 228),
    (228, 204, 164),
    (118, 82, 54),
    (82, 56, 44),
    (98, 114, 136),
    (190, 158, 116),
]
PINK: Colour = (226, 150, 152)
DARK: Colour = (26, 22, 24)
WHITE: Colour = (242, 238, 232)

_ANGLES = np.linspace(0, 2 * np.pi, 18, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_STEPS = np.arange(5)[:, None] / 5
_CATMULL_ROM = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
_SPLINE = np.hstack([_STEPS**0, _STEPS, _STEPS**2, _STEPS**3]) @ _CATMULL_ROM


class Coat(NamedTuple):
    """A canvas full of fur, and the matching colours."""

    fur: Image.Image
    tip: Colour  # ears, tail and paws
    pale: Colour  # muzzle and chest
    mark: Colour
    ink: Colour  # outlines
    striped: bool


class Pen(NamedTuple):
    """Draw shapes on an image with a position, a scale, a rotation and optional mirroring."""

    image: Image.Image
    draw: ImageDraw.ImageDraw
    frame: np.ndarray  # (2, 2), from figure coordinates to pixels
    origin: np.ndarray  # (2,), in pixels
    own_coat: Coat | None = None  # a pen for the background has none

    @property
    def coat(self) -> Coat:
        """Return the coat of the figure."""
        assert self.own_coat is not None
        return self.own_coat

    def moved(self, x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> "Pen":
        """Return a pen for a part of the figure, with its own origin, scale and rotation (in radians)."""
        part = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return self._replace(frame=self.frame @ part, origin=self.frame @ (x, y) + self.origin)

    def fill(self, shape: np.ndarray, colour: Colour) -> None:
        """Fill a shape with a colour."""
        self.draw.polygon(self._pixels(shape), fill=colour)

    def fur(self, shape: np.ndarray, tip: bool = False) -> None:
        """Fill a shape with fur, or with the colour of the tips, and outline it."""
        pixels = self._pixels(shape)
        if tip:
            self.draw.polygon(pixels, fill=self.coat.tip)
        else:
            mask = Image.new("1", self.image.size)
            ImageDraw.Draw(mask).polygon(pixels, fill=1)
            self.image.paste(self.coat.fur, mask=mask)
        self.draw.line(pixels + pixels[:2], fill=self.coat.ink, width=2)

    def line(self, shape: Sequence[tuple[float, float]] | np.ndarray, colour: Colour, width: float = 0.0) -> None:
        """Draw a line through points. `width` is in figure coordinates; the line is at least two pixels wide."""
        (a, b), (c, d) = self.frame.tolist()
        pixels = max(2, round(width * abs(a * d - b * c) ** 0.5))
        self.draw.line(self._pixels(np.asarray(shape)), fill=colour, width=pixels)

    def _pixels(self, shape: np.ndarray) -> list[float]:
        return (shape @ self.frame.T + self.origin).ravel().tolist()


def pick(random: np.random.Generator, items: Sequence) -> Any:
    """Return a random item."""
    return items[int(random.random() * len(items))]


def tint(random: np.random.Generator, colour: Colour, spread: int = 14) -> Colour:
    """Return a random variation of a colour."""
    moves = random.integers(-spread, spread + 1, 3).tolist()
    red, green, blue = (min(255, max(0, part + move)) for part, move in zip(colour, moves, strict=True))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """Return a darker colour (factor below 1) or a lighter one."""
    red, green, blue = (min(255, int(part * factor)) for part in colour)
    return red, green, blue


def oval(x: float, y: float, width: float, height: float, turn: float = 0.0) -> np.ndarray:
    """Return an ellipse from its centre, half width, half height and rotation (in radians)."""
    points = _CIRCLE * (width, height)
    if turn:
        points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.add(points, (x, y))


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """Return an upright rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def curve(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return a smooth closed curve through points."""
    return _splines(np.array([points[-1], *points, *points[:2]], float))


def symmetric(points: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return a smooth closed curve through points of the right half, from top to bottom, and their mirror images."""
    return curve([*points, *((-x, y) for x, y in points[::-1] if x)])


def ribbon(points: Sequence[tuple[float, float]], start: float, end: float) -> np.ndarray:
    """Return a tail or a limb: a smooth band through points. Its half width changes from `start` to `end`."""
    middle = np.vstack([_splines(np.array([points[0], *points, points[-1]], float)), points[-1:]])
    along = np.empty_like(middle)
    along[1:-1] = middle[2:] - middle[:-2]
    along[0], along[-1] = middle[1] - middle[0], middle[-1] - middle[-2]
    along /= np.sqrt((along**2).sum(axis=1, keepdims=True)) + 1e-9
    across = along[:, ::-1] * (-1, 1) * np.linspace(start, end, len(middle))[:, None]
    return np.vstack([middle + across, middle[-1:] + along[-1:] * end, (middle - across)[::-1]])


def _splines(points: np.ndarray) -> np.ndarray:
    fours = np.stack([points[:-3], points[1:-2], points[2:-1], points[3:]], axis=1)
    return np.matmul(_SPLINE, fours).reshape(-1, 2)


def with_coat(pen: Pen, random: np.random.Generator) -> Pen:
    """Return the pen with a random coat: plain, striped, patched, calico, with a bib or with dark points."""
    pattern = pick(random, ["plain", "plain", "stripes", "stripes", "stripes", "patches", "calico", "bib", "points"])
    white = tint(random, WHITE, 8)
    base = white if pattern == "calico" else tint(random, pick(random, FURS))
    marks = [tint(random, pick(random, FURS)) for _ in range(2)]
    if pattern == "stripes":
        marks = [shade(base, 0.58 if sum(base) > 230 else 1.7)]
    tips = {"points": shade(base, 0.45), "bib": white, "patches": marks[0]}
    pale = base if pattern in ("plain", "points") and random.random() < 0.6 else white
    fur = Image.new("RGB", pen.image.size, base)
    painter = pen._replace(image=fur, draw=ImageDraw.Draw(fur))
    painter.fill(oval(0, 1.3, 1.4, 0.8, random.normal(0, 0.3)), shade(base, 0.86))
    if pattern == "stripes":
        _stripes(painter, random, marks[0])
    elif pattern in ("patches", "calico"):
        _patches(painter, random, marks)
    ink = shade(base, 0.5 if sum(base) > 230 else 1.9)
    return pen._replace(own_coat=Coat(fur, tips.get(pattern, base), pale, marks[0], ink, pattern == "stripes"))


def _stripes(painter: Pen, random: np.random.Generator, colour: Colour) -> None:
    across = painter.moved(0, 0, turn=random.normal(0, 0.4))
    gap, bend, width = random.uniform(0.17, 0.3), random.uniform(-0.2, 0.2), random.uniform(0.04, 0.09)
    for x in np.arange(-1.5, 1.5, gap).tolist():
        bends = np.add(random.normal(x, 0.04, 5), (0, bend, 0, -bend, 0))
        across.line(np.stack([bends, (-1.5, -0.7, 0, 0.7, 1.5)], axis=1), colour, width)


def _patches(painter: Pen, random: np.random.Generator, colours: list[Colour]) -> None:
    for x, y, width, height, turn in random.uniform(-1, 1, (9, 5)).tolist():
        painter.fill(oval(x, y, 0.22 + 0.16 * width, 0.22 + 0.16 * height, turn), pick(random, colours))
